package dev.prefetch.template;

import dev.prefetch.template.Expression.BinaryOperator;
import java.math.BigInteger;

/** Python's arithmetic on integers, here of 64 bits, and floats. */
final class Arithmetic {

    private Arithmetic() {}

    static Object apply(BinaryOperator operator, Number left, Number right) {
        if (left instanceof BigInteger || right instanceof BigInteger) {
            throw overflow();
        }
        try {
            return left instanceof Long a && right instanceof Long b
                    ? integers(operator, a, b)
                    : (Object) floats(operator, left.doubleValue(), right.doubleValue());
        } catch (ArithmeticException e) {
            throw overflow();
        }
    }

    static boolean equal(Number left, Number right) {
        if (left instanceof Long a && right instanceof Long b) {
            return a.longValue() == b.longValue();
        }
        if (left instanceof BigInteger || right instanceof BigInteger) {
            return left.equals(right);
        }
        return left.doubleValue() == right.doubleValue();
    }

    private static Object integers(BinaryOperator operator, long a, long b) {
        return switch (operator) {
            case ADD -> Math.addExact(a, b);
            case SUBTRACT -> Math.subtractExact(a, b);
            case MULTIPLY -> Math.multiplyExact(a, b);
            case DIVIDE -> (double) a / (double) nonZero(b);
            case FLOOR_DIVIDE -> Math.floorDivExact(a, nonZero(b));
            case MODULO -> Math.floorMod(a, nonZero(b));
            case POWER -> b >= 0 ? (Object) power(a, b) : (Object) Math.pow(nonZero(a), b);
        };
    }

    private static double floats(BinaryOperator operator, double a, double b) {
        if (b == 0) {
            switch (operator) {
                case DIVIDE, FLOOR_DIVIDE, MODULO -> throw divisionByZero();
                default -> {}
            }
        }
        return switch (operator) {
            case ADD -> a + b;
            case SUBTRACT -> a - b;
            case MULTIPLY -> a * b;
            case DIVIDE -> a / b;
            case FLOOR_DIVIDE -> Math.floor(a / b);
            case MODULO -> {
                double remainder = a % b;
                // Python's result has the sign of the divisor.
                yield remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
            }
            case POWER -> Math.pow(a, b);
        };
    }

    private static long power(long base, long exponent) {
        if (base == 0 || base == 1) {
            return exponent == 0 ? 1 : base;
        }
        if (base == -1) {
            return (exponent & 1) == 0 ? 1 : -1;
        }
        long result = 1;
        // At most 63 rounds before a base of at least 2 overflows.
        for (long i = 0; i < exponent; i++) {
            result = Math.multiplyExact(result, base);
        }
        return result;
    }

    private static long nonZero(long divisor) {
        if (divisor == 0) {
            throw divisionByZero();
        }
        return divisor;
    }

    private static TemplateFault divisionByZero() {
        return TemplateFault.evaluation("division by zero");
    }

    private static TemplateFault overflow() {
        return TemplateFault.limit("an integer would exceed the limit of 64 bits");
    }
}
