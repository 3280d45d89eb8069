package dev.prefetch.grammar;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.RoundingMode;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Numbers between bounds, digit by digit. Numbers are written without exponent and with at most
 * {@value JsonTexts#DIGITS} digits behind the point; integers without a bound have at most {@value #INTEGER_DIGITS} digits.
 */
final class NumberRange {

    /** Fewer than a double can tell apart, so that reading a number does not round it out of its bounds. */
    private static final int FRACTION_DIGITS = 10;

    private static final int INTEGER_DIGITS = 18;
    private static final BigInteger LARGEST = BigInteger.TEN.pow(INTEGER_DIGITS).subtract(BigInteger.ONE);

    private NumberRange() {}

    /**
     * A bound.
     *
     * @param value the number
     * @param strict whether the number itself is outside
     */
    record Bound(BigDecimal value, boolean strict) {

        Bound negated() {
            return new Bound(value.negate(), strict);
        }
    }

    /** Integers between bounds, or null when there is none. */
    static @Nullable Expr integers(@Nullable Bound lower, @Nullable Bound upper) {
        BigInteger low = lower == null ? null : firstInteger(lower);
        BigInteger high = upper == null ? null : firstInteger(upper.negated()).negate();
        List<Expr> options = new ArrayList<>();
        if (high == null || high.signum() >= 0) {
            BigInteger from = low == null || low.signum() < 0 ? BigInteger.ZERO : low;
            addIntegers(options, Expr.EMPTY, from, high);
        }
        if (low == null || low.signum() < 0) {
            BigInteger from = high == null || high.signum() >= 0 ? BigInteger.ONE : high.negate();
            addIntegers(options, Expr.text("-"), from, low == null ? null : low.negate());
        }
        return options.isEmpty() ? null : Expr.choice(options);
    }

    /** The smallest integer within a lower bound. */
    private static BigInteger firstInteger(Bound lower) {
        BigInteger ceiling = lower.value().setScale(0, RoundingMode.CEILING).toBigIntegerExact();
        boolean itself = lower.strict() && new BigDecimal(ceiling).compareTo(lower.value()) == 0;
        return itself ? ceiling.add(BigInteger.ONE) : ceiling;
    }

    private static void addIntegers(List<Expr> options, Expr sign, BigInteger from, @Nullable BigInteger to) {
        Expr digits = naturals(from, to);
        if (digits != null) {
            options.add(Expr.seq(sign, digits));
        }
    }

    /** Whole numbers from 0 up, between two of them; null when there is none. */
    private static @Nullable Expr naturals(BigInteger from, @Nullable BigInteger to) {
        BigInteger last = to == null ? LARGEST.max(from) : to;
        if (from.compareTo(last) > 0) {
            return null;
        }
        List<Expr> options = new ArrayList<>();
        int longest = last.toString().length();
        for (int length = from.toString().length(); length <= longest; length++) {
            BigInteger least = length == 1 ? BigInteger.ZERO : BigInteger.TEN.pow(length - 1);
            BigInteger most = BigInteger.TEN.pow(length).subtract(BigInteger.ONE);
            options.add(sameLength(from.max(least).toString(), last.min(most).toString()));
        }
        return Expr.choice(options);
    }

    private static Expr sameLength(String low, String high) {
        if (low.isEmpty()) {
            return Expr.EMPTY;
        }
        if (low.charAt(0) == high.charAt(0)) {
            return Expr.seq(Expr.text(low.substring(0, 1)), sameLength(low.substring(1), high.substring(1)));
        }
        int rest = low.length() - 1;
        if (low.chars().allMatch(c -> c == '0') && high.chars().allMatch(c -> c == '9')) {
            return Expr.repeat(JsonTexts.DIGIT, rest + 1, rest + 1);
        }
        List<Expr> options = new ArrayList<>();
        options.add(Expr.seq(Expr.text(low.substring(0, 1)), sameLength(low.substring(1), "9".repeat(rest))));
        if (high.charAt(0) - low.charAt(0) > 1) {
            options.add(Expr.seq(
                    Expr.range(low.charAt(0) + 1, high.charAt(0) - 1), Expr.repeat(JsonTexts.DIGIT, rest, rest)));
        }
        options.add(Expr.seq(Expr.text(high.substring(0, 1)), sameLength("0".repeat(rest), high.substring(1))));
        return Expr.choice(options);
    }

    /** Numbers between bounds, or null when there is none. */
    static @Nullable Expr numbers(@Nullable Bound lower, @Nullable Bound upper) {
        List<Expr> options = new ArrayList<>();
        Bound zero = new Bound(BigDecimal.ZERO, false);
        if (upper == null || upper.value().signum() >= 0) {
            Bound from = lower == null || lower.value().signum() < 0 ? zero : lower;
            Expr positive = decimals(from, upper);
            if (positive != null) {
                options.add(positive);
            }
        }
        if (lower == null || lower.value().signum() < 0) {
            Bound from =
                    upper == null || upper.value().signum() >= 0 ? new Bound(BigDecimal.ZERO, true) : upper.negated();
            Expr negative = decimals(from, lower == null ? null : lower.negated());
            if (negative != null) {
                options.add(Expr.seq(Expr.text("-"), negative));
            }
        }
        return options.isEmpty() ? null : Expr.choice(options);
    }

    /** Numbers without sign between bounds that are not negative. */
    private static @Nullable Expr decimals(Bound low, @Nullable Bound high) {
        BigInteger lowInteger = low.value().toBigInteger();
        String lowFraction = fraction(low.value());
        List<Expr> options = new ArrayList<>();
        if (high == null) {
            add(options, lowInteger, atLeast(lowFraction, low.strict()));
            addAnyFraction(options, naturals(lowInteger.add(BigInteger.ONE), null));
            return options.isEmpty() ? null : Expr.choice(options);
        }
        int order = low.value().compareTo(high.value());
        if (order > 0 || order == 0 && (low.strict() || high.strict())) {
            return null;
        }
        BigInteger highInteger = high.value().toBigInteger();
        String highFraction = fraction(high.value());
        if (lowInteger.equals(highInteger)) {
            add(options, lowInteger, between(lowFraction, highFraction, low.strict(), high.strict()));
        } else {
            add(options, lowInteger, atLeast(lowFraction, low.strict()));
            addAnyFraction(options, naturals(lowInteger.add(BigInteger.ONE), highInteger.subtract(BigInteger.ONE)));
            add(options, highInteger, atMost(highFraction, high.strict()));
        }
        return options.isEmpty() ? null : Expr.choice(options);
    }

    /** The digits behind the point, without zeros at the end. */
    private static String fraction(BigDecimal value) {
        String text = value.stripTrailingZeros().toPlainString();
        int point = text.indexOf('.');
        return point < 0 ? "" : text.substring(point + 1);
    }

    private static void add(List<Expr> options, BigInteger integer, Digits fraction) {
        if (!fraction.isImpossible()) {
            options.add(Expr.seq(Expr.text(integer.toString()), fraction.behindPoint()));
        }
    }

    private static void addAnyFraction(List<Expr> options, @Nullable Expr integers) {
        if (integers != null) {
            options.add(Expr.seq(integers, new Digits(true, some()).behindPoint()));
        }
    }

    /**
     * Digits behind a point or behind other digits.
     *
     * @param none whether there may be none
     * @param some what there may be else, at least one digit; null for nothing
     */
    private record Digits(boolean none, @Nullable Expr some) {

        static final Digits IMPOSSIBLE = new Digits(false, null);

        boolean isImpossible() {
            return !none && some == null;
        }

        Expr behindPoint() {
            return some == null ? Expr.EMPTY : either(Expr.seq(Expr.text("."), some));
        }

        /** Behind another digit. */
        Expr behindDigit() {
            return some == null ? Expr.EMPTY : either(some);
        }

        private Expr either(Expr digits) {
            return none ? Expr.optional(digits) : digits;
        }
    }

    private static Expr some() {
        return Expr.repeat(JsonTexts.DIGIT, 1, FRACTION_DIGITS);
    }

    private static Expr any() {
        return Expr.repeat(JsonTexts.DIGIT, 0, FRACTION_DIGITS);
    }

    private static Expr notAllZero() {
        return Expr.seq(Expr.repeat(Expr.text("0"), 0, FRACTION_DIGITS - 1), Expr.range('1', '9'), any());
    }

    /** Fractions of at least (strictly: more than) 0.bound. */
    private static Digits atLeast(String bound, boolean strict) {
        if (bound.isEmpty()) {
            return strict ? new Digits(false, notAllZero()) : new Digits(true, some());
        }
        char digit = bound.charAt(0);
        List<Expr> options = new ArrayList<>();
        if (digit < '9') {
            options.add(Expr.seq(Expr.range(digit + 1, '9'), any()));
        }
        addBehind(options, digit, atLeast(bound.substring(1), strict));
        return new Digits(false, Expr.choice(options));
    }

    /** Fractions of at most (strictly: less than) 0.bound. */
    private static Digits atMost(String bound, boolean strict) {
        if (bound.isEmpty()) {
            return strict ? Digits.IMPOSSIBLE : new Digits(true, null);
        }
        char digit = bound.charAt(0);
        List<Expr> options = new ArrayList<>();
        if (digit > '0') {
            options.add(Expr.seq(Expr.range('0', digit - 1), any()));
        }
        addBehind(options, digit, atMost(bound.substring(1), strict));
        return new Digits(true, options.isEmpty() ? null : Expr.choice(options));
    }

    /** Fractions between 0.low and 0.high; low is at most high. */
    private static Digits between(String low, String high, boolean strictLow, boolean strictHigh) {
        if (low.isEmpty() && !strictLow) {
            return atMost(high, strictHigh);
        }
        if (high.isEmpty()) {
            // Then low is nothing, too, and the number itself is excluded.
            return Digits.IMPOSSIBLE;
        }
        char from = low.isEmpty() ? '0' : low.charAt(0);
        char to = high.charAt(0);
        String lowRest = low.isEmpty() ? "" : low.substring(1);
        String highRest = high.substring(1);
        List<Expr> options = new ArrayList<>();
        if (from == to) {
            Digits rest = between(lowRest, highRest, strictLow, strictHigh);
            addBehind(options, from, rest);
        } else {
            addBehind(options, from, atLeast(lowRest, strictLow));
            if (to - from > 1) {
                options.add(Expr.seq(Expr.range(from + 1, to - 1), any()));
            }
            addBehind(options, to, atMost(highRest, strictHigh));
        }
        return options.isEmpty() ? Digits.IMPOSSIBLE : new Digits(false, Expr.choice(options));
    }

    private static void addBehind(List<Expr> options, char digit, Digits rest) {
        if (!rest.isImpossible()) {
            options.add(Expr.seq(Expr.text(String.valueOf(digit)), rest.behindDigit()));
        }
    }
}
