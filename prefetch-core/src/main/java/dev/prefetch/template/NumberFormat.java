package dev.prefetch.template;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.MathContext;
import java.math.RoundingMode;
import java.util.Locale;

/** Digits of a number for {@code %} and {@code format}: the sign and the padding are the callers'. */
final class NumberFormat {

    static final int MAX_PRECISION = 100;

    private NumberFormat() {}

    /**
     * The absolute value in one of the types {@code d b o x X e E f F g G}.
     *
     * @param precision digits behind the point ({@code e}, {@code f}) or in all ({@code g})
     */
    static String digits(Number number, char type, int precision) {
        return switch (type) {
            case 'd' -> integer(number).toString();
            case 'b' -> integer(number).toString(2);
            case 'o' -> integer(number).toString(8);
            case 'x' -> integer(number).toString(16);
            case 'X' -> integer(number).toString(16).toUpperCase(Locale.ROOT);
            default -> {
                double value = Math.abs(number.doubleValue());
                String digits = Double.isNaN(value)
                        ? "nan"
                        : Double.isInfinite(value) ? "inf" : floating(value, Character.toLowerCase(type), precision);
                yield Character.isUpperCase(type) ? digits.toUpperCase(Locale.ROOT) : digits;
            }
        };
    }

    static boolean isNegative(Number number) {
        return number instanceof BigInteger big
                ? big.signum() < 0
                : number instanceof Double d ? d < 0 || 1 / d < 0 : number.longValue() < 0;
    }

    private static BigInteger integer(Number number) {
        BigInteger exact = number instanceof BigInteger big
                ? big
                : number instanceof Double d
                        ? new BigDecimal(d).toBigInteger()
                        : BigInteger.valueOf(number.longValue());
        return exact.abs();
    }

    private static String floating(double value, char type, int precision) {
        BigDecimal exact = new BigDecimal(value);
        return switch (type) {
            case 'f' -> exact.setScale(precision, RoundingMode.HALF_EVEN).toPlainString();
            case 'e' -> scientific(exact, precision);
            default -> general(exact, Math.max(1, precision));
        };
    }

    private static String scientific(BigDecimal exact, int precision) {
        if (exact.signum() == 0) {
            return (precision == 0 ? "0" : "0." + "0".repeat(precision)) + "e+00";
        }
        BigDecimal rounded = exact.round(new MathContext(precision + 1, RoundingMode.HALF_EVEN));
        int exponent = rounded.precision() - rounded.scale() - 1;
        String digits = rounded.movePointLeft(exponent)
                .setScale(precision, RoundingMode.UNNECESSARY)
                .toPlainString();
        return digits + "e" + (exponent < 0 ? "-" : "+") + (Math.abs(exponent) < 10 ? "0" : "") + Math.abs(exponent);
    }

    private static String general(BigDecimal exact, int precision) {
        if (exact.signum() == 0) {
            return "0";
        }
        BigDecimal rounded = exact.round(new MathContext(precision, RoundingMode.HALF_EVEN));
        int exponent = rounded.precision() - rounded.scale() - 1;
        if (exponent >= -4 && exponent < precision) {
            return rounded.stripTrailingZeros().toPlainString();
        }
        BigDecimal stripped = rounded.stripTrailingZeros();
        return scientific(stripped, stripped.precision() - 1);
    }
}
