package dev.prefetch.template;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.RoundingMode;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** Filters that make a number. */
final class NumberFilters {

    /** More digits than any number in a template has; parsing more would be quadratic. */
    private static final int MAX_DIGITS = 400;

    private static final int MAX_PRECISION = 300;

    private static final Pattern FLOAT =
            Pattern.compile("[+-]?(?:\\d++(?:\\.\\d*+)?|\\.\\d++)(?:[eE][+-]?\\d++)?|[+-]?(?i:inf|infinity|nan)");
    private static final Pattern PREFIX = Pattern.compile("([+-]?)0([xXoObB])(.*)");

    private NumberFilters() {}

    static Object abs(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("abs");
        return switch (Operators.number(value)) {
            case Long number when number == Long.MIN_VALUE -> throw tooLarge();
            case Long number -> Math.abs(number);
            case Double number -> Math.abs(number);
            case BigInteger number -> number.abs();
            case null, default -> {
                Operators.requireDefined(value);
                throw TemplateFault.evaluation("abs() needs a number, got a " + Values.typeName(value));
            }
        };
    }

    /** The integer in a value, or the default where there is none. */
    static Object toInt(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("int", "default", "base");
        Operators.requireDefined(value);
        Number number = Operators.number(value);
        if (value instanceof Text text) {
            number = parseInteger(text.string(), Math.clamp(bound.integer(1, 10), 0, 37));
            number = number == null ? parseFloat(text.string()) : number;
        }
        return switch (number) {
            case Double d when Double.isNaN(d) || Double.isInfinite(d) -> bound.get(0, 0L);
            case Double d when Math.abs(d) >= 0x1p63 -> throw tooLarge();
            case Double d -> d.longValue();
            case null -> bound.get(0, 0L);
            default -> number;
        };
    }

    static Object toFloat(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("float", "default");
        Operators.requireDefined(value);
        Number number = value instanceof Text text ? parseFloat(text.string()) : Operators.number(value);
        return number == null ? bound.get(0, 0.0) : (Object) number.doubleValue();
    }

    private static @Nullable Long parseInteger(String string, int base) {
        String digits = checked(string);
        int radix = base;
        Matcher prefix = PREFIX.matcher(digits);
        if (prefix.matches()) {
            int prefixRadix = switch (prefix.group(2)) {
                case "x", "X" -> 16;
                case "o", "O" -> 8;
                default -> 2;
            };
            if (base == prefixRadix || base == 0) {
                digits = prefix.group(1) + prefix.group(3);
                radix = prefixRadix;
            }
        } else if (base == 0) {
            radix = 10;
        }
        if (radix < 2 || radix > 36) {
            throw TemplateFault.evaluation("int() needs a base of 0 or from 2 to 36");
        }
        try {
            BigInteger parsed = new BigInteger(digits, radix);
            if (parsed.bitLength() > 63) {
                throw tooLarge();
            }
            return parsed.longValue();
        } catch (NumberFormatException e) {
            return null;
        }
    }

    private static @Nullable Double parseFloat(String string) {
        String digits = checked(string);
        if (!FLOAT.matcher(digits).matches()) {
            return null;
        }
        char last = Character.toLowerCase(digits.charAt(digits.length() - 1));
        if (last == 'n' || last == 'f' || last == 'y') {
            return last == 'n'
                    ? Double.NaN
                    : digits.startsWith("-") ? Double.NEGATIVE_INFINITY : Double.POSITIVE_INFINITY;
        }
        return Double.valueOf(digits);
    }

    /** The digits without white space around them and without single underscores between them. */
    private static String checked(String string) {
        int begin = PythonChars.skipSpace(string, 0, string.length());
        int end = PythonChars.skipSpaceBack(string, begin, string.length());
        String digits = string.substring(begin, end).replaceAll("(?<=[0-9a-fA-F])_(?=[0-9a-fA-F])", "");
        if (digits.length() > MAX_DIGITS) {
            boolean number = digits.chars().allMatch(c -> "+-.0123456789eE".indexOf(c) >= 0);
            if (number) {
                throw TemplateFault.limit("a number would exceed the limit of " + MAX_DIGITS + " digits");
            }
            return "";
        }
        return digits;
    }

    static Object round(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("round", "precision", "method");
        String method = bound.text(1, Text.of("common")).string();
        RoundingMode mode = switch (method) {
            // Half to even on the exact binary value, as Python rounds.
            case "common" -> RoundingMode.HALF_EVEN;
            case "ceil" -> RoundingMode.CEILING;
            case "floor" -> RoundingMode.FLOOR;
            default -> throw TemplateFault.evaluation("round() has the methods common, ceil and floor");
        };
        Operators.requireDefined(value);
        Number number = Operators.number(value);
        if (number == null) {
            throw TemplateFault.evaluation("round() needs a number, got a " + Values.typeName(value));
        }
        long precision = bound.integer(0, 0);
        if (Math.abs(precision) > MAX_PRECISION) {
            throw TemplateFault.limit("round() has a limit of " + MAX_PRECISION + " digits");
        }
        if (!(number instanceof Double) && mode == RoundingMode.HALF_EVEN) {
            return precision >= 0 ? number : roundInteger(number, (int) precision);
        }
        double decimal = number.doubleValue();
        if (Double.isNaN(decimal) || Double.isInfinite(decimal)) {
            return decimal;
        }
        if (mode != RoundingMode.HALF_EVEN) {
            // Jinja scales in binary floating point, and so must this to give the same digits.
            double scale = Math.pow(10, precision);
            return mode == RoundingMode.CEILING
                    ? Math.ceil(decimal * scale) / scale
                    : Math.floor(decimal * scale) / scale;
        }
        return new BigDecimal(decimal).setScale((int) precision, mode).doubleValue();
    }

    private static Object roundInteger(Number number, int precision) {
        BigDecimal exact = new BigDecimal(number.toString()).setScale(precision, RoundingMode.HALF_EVEN);
        BigInteger rounded = exact.toBigInteger();
        return rounded.bitLength() > 63 ? (Object) rounded : rounded.longValue();
    }

    private static TemplateFault tooLarge() {
        return TemplateFault.limit("an integer would exceed the limit of 64 bits");
    }
}
