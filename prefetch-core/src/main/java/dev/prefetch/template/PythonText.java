package dev.prefetch.template;

import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.util.Iterator;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Values as text, the way Python's {@code str} and {@code repr} write them. */
final class PythonText {

    private static final Text NONE = Text.of("None");
    private static final Text TRUE = Text.of("True");
    private static final Text FALSE = Text.of("False");

    private PythonText() {}

    /** {@code str(value)}; undefined is empty. */
    static Text print(Budget budget, Object value) {
        return switch (value) {
            case Text text -> text;
            case Undefined _ -> Text.EMPTY;
            case None _ -> NONE;
            case Boolean flag -> flag ? TRUE : FALSE;
            case Long number -> Text.of(number.toString());
            default -> {
                TextBuilder out = new TextBuilder(budget);
                represent(budget, value, out);
                yield out.toText();
            }
        };
    }

    /** {@code repr(value)}. */
    static void represent(Budget budget, Object value, TextBuilder out) {
        budget.step();
        budget.enter();
        switch (value) {
            case Text text -> quote(text, out);
            case Undefined _ -> out.append("Undefined");
            case Double number -> out.append(number(number));
            case ListValue list -> {
                out.append(list.tuple() ? "(" : "[");
                representAll(budget, list.iterator(), out);
                out.append(list.tuple() ? list.size() == 1 ? ",)" : ")" : "]");
            }
            case DictValue dict -> representDict(budget, dict.entries(), out);
            case DictView view -> {
                out.append(Values.typeName(view)).append("([");
                representAll(budget, view.iterator(), out);
                out.append("])");
            }
            case Namespace namespace -> {
                out.append("<Namespace {");
                String separator = "";
                for (Map.Entry<String, Object> entry : namespace.attributes().entrySet()) {
                    out.append(separator);
                    quote(Text.of(entry.getKey()), out);
                    represent(budget, entry.getValue(), out.append(": "));
                    separator = ", ";
                }
                out.append("}>");
            }
            case None _, Boolean _ -> out.append(print(budget, value));
            case Number number -> out.append(number.toString());
            case RangeValue range -> out.append(range.toString());
            default -> out.append("<").append(Values.typeName(value)).append(">");
        }
        budget.leave();
    }

    private static void representAll(Budget budget, Iterator<Object> items, TextBuilder out) {
        String separator = "";
        while (items.hasNext()) {
            represent(budget, items.next(), out.append(separator));
            separator = ", ";
        }
    }

    private static void representDict(Budget budget, Iterable<Map.Entry<Object, Object>> entries, TextBuilder out) {
        out.append("{");
        String separator = "";
        for (Map.Entry<Object, Object> entry : entries) {
            represent(budget, entry.getKey(), out.append(separator));
            represent(budget, entry.getValue(), out.append(": "));
            separator = ", ";
        }
        out.append("}");
    }

    /** Single quotes, unless the string contains some and no double quotes. */
    private static void quote(Text text, TextBuilder out) {
        String string = text.string();
        char quote = string.indexOf('\'') >= 0 && string.indexOf('"') < 0 ? '"' : '\'';
        out.append(quote, false);
        for (int i = 0; i < string.length(); ) {
            int c = string.codePointAt(i);
            int next = i + Character.charCount(c);
            String escaped = escape(c, quote);
            if (escaped == null) {
                out.append(text, i, next);
            } else {
                out.append(escaped, text.isMarked(i));
            }
            i = next;
        }
        out.append(quote, false);
    }

    private static @Nullable String escape(int c, char quote) {
        return switch (c) {
            case '\\' -> "\\\\";
            case '\n' -> "\\n";
            case '\r' -> "\\r";
            case '\t' -> "\\t";
            default -> {
                if (c == quote) {
                    yield "\\" + quote;
                }
                if (PythonChars.isPrintable(c)) {
                    yield null;
                }
                yield c < 0x100
                        ? String.format("\\x%02x", c)
                        : c < 0x10000 ? String.format("\\u%04x", c) : String.format("\\U%08x", c);
            }
        };
    }

    /** {@code repr(float)}: the shortest digits that read back, with an exponent below 1e-4 and from 1e16. */
    static String number(double value) {
        if (Double.isNaN(value)) {
            return "nan";
        }
        if (Double.isInfinite(value)) {
            return value > 0 ? "inf" : "-inf";
        }
        if (value == 0) {
            return 1 / value < 0 ? "-0.0" : "0.0";
        }
        BigDecimal decimal = shortest(Math.abs(value));
        String sign = value < 0 ? "-" : "";
        String digits = decimal.unscaledValue().toString();
        int exponent = digits.length() - decimal.scale() - 1;
        if (exponent >= -4 && exponent < 16) {
            String plain = decimal.toPlainString();
            return sign + plain + (plain.indexOf('.') < 0 ? ".0" : "");
        }
        String mantissa = digits.length() == 1 ? digits : digits.charAt(0) + "." + digits.substring(1);
        return sign + mantissa + "e" + (exponent < 0 ? "-" : "+") + (Math.abs(exponent) < 10 ? "0" : "")
                + Math.abs(exponent);
    }

    /** Java always writes two digits, and takes 4.9E-324 where Python's 5e-324 reads back too. */
    private static BigDecimal shortest(double value) {
        BigDecimal decimal = new BigDecimal(Double.toString(value)).stripTrailingZeros();
        if (decimal.precision() == 2) {
            BigDecimal oneDigit = decimal.round(new MathContext(1, RoundingMode.HALF_EVEN));
            if (oneDigit.doubleValue() == value) {
                return oneDigit;
            }
        }
        return decimal;
    }
}
