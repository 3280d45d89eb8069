package dev.prefetch.tokenizer;

/**
 * A set of code points, as the bracket expressions of pre-tokenizers name them. The general categories are Unicode's, in
 * the version the running JDK has.
 */
@FunctionalInterface
interface CharacterClass {

    int LETTER_CATEGORIES = 1 << Character.UPPERCASE_LETTER
            | 1 << Character.LOWERCASE_LETTER
            | 1 << Character.TITLECASE_LETTER
            | 1 << Character.MODIFIER_LETTER
            | 1 << Character.OTHER_LETTER;
    int MARK_CATEGORIES =
            1 << Character.NON_SPACING_MARK | 1 << Character.ENCLOSING_MARK | 1 << Character.COMBINING_SPACING_MARK;
    int NUMBER_CATEGORIES =
            1 << Character.DECIMAL_DIGIT_NUMBER | 1 << Character.LETTER_NUMBER | 1 << Character.OTHER_NUMBER;
    int PUNCTUATION_CATEGORIES = 1 << Character.CONNECTOR_PUNCTUATION
            | 1 << Character.DASH_PUNCTUATION
            | 1 << Character.START_PUNCTUATION
            | 1 << Character.END_PUNCTUATION
            | 1 << Character.INITIAL_QUOTE_PUNCTUATION
            | 1 << Character.FINAL_QUOTE_PUNCTUATION
            | 1 << Character.OTHER_PUNCTUATION;
    int SYMBOL_CATEGORIES = 1 << Character.MATH_SYMBOL
            | 1 << Character.CURRENCY_SYMBOL
            | 1 << Character.MODIFIER_SYMBOL
            | 1 << Character.OTHER_SYMBOL;

    /** {@code \p{L}} */
    CharacterClass LETTER = categories(LETTER_CATEGORIES);

    /** {@code \p{N}} */
    CharacterClass NUMBER = categories(NUMBER_CATEGORIES);

    /** {@code \p{M}} */
    CharacterClass MARK = categories(MARK_CATEGORIES);

    /** {@code \d} */
    CharacterClass DIGIT = categories(1 << Character.DECIMAL_DIGIT_NUMBER);

    /** {@code \w} */
    CharacterClass WORD = c -> Character.isAlphabetic(c)
            || (1 << Character.getType(c)
                            & (MARK_CATEGORIES
                                    | 1 << Character.DECIMAL_DIGIT_NUMBER
                                    | 1 << Character.CONNECTOR_PUNCTUATION))
                    != 0
            || c == 0x200C
            || c == 0x200D;

    /** {@code \p{P}} */
    CharacterClass PUNCTUATION = categories(PUNCTUATION_CATEGORIES);

    /** {@code [\p{P}\p{S}]} */
    CharacterClass PUNCTUATION_OR_SYMBOL = categories(PUNCTUATION_CATEGORIES | SYMBOL_CATEGORIES);

    /** {@code [\p{L}\p{M}]} */
    CharacterClass LETTER_OR_MARK = categories(LETTER_CATEGORIES | MARK_CATEGORIES);

    /** {@code [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]} */
    CharacterClass UPPER = categories((LETTER_CATEGORIES | MARK_CATEGORIES) & ~(1 << Character.LOWERCASE_LETTER));

    /** {@code [\p{Ll}\p{Lm}\p{Lo}\p{M}]} */
    CharacterClass LOWER = categories((LETTER_CATEGORIES | MARK_CATEGORIES)
            & ~(1 << Character.UPPERCASE_LETTER | 1 << Character.TITLECASE_LETTER));

    /** {@code \p{Han}} */
    CharacterClass HAN = c -> Character.UnicodeScript.of(c) == Character.UnicodeScript.HAN;

    /** {@link #UPPER} without Han. */
    CharacterClass UPPER_NOT_HAN = c -> UPPER.contains(c) && !HAN.contains(c);

    /** {@link #LOWER} without Han. */
    CharacterClass LOWER_NOT_HAN = c -> LOWER.contains(c) && !HAN.contains(c);

    /** Whether the set has the code point. */
    boolean contains(int codePoint);

    /** The code points of some general categories, given as a bit set of {@link Character#getType(int)} values. */
    static CharacterClass categories(int categories) {
        return c -> (1 << Character.getType(c) & categories) != 0;
    }

    /** The code points of some inclusive ranges: first, last, first, last, ... in ascending order. */
    static CharacterClass ranges(int... bounds) {
        for (int i = 1; i < bounds.length; i++) {
            if (bounds[i - 1] > bounds[i] || bounds.length % 2 != 0) {
                throw new IllegalArgumentException("ranges are not in order at index " + i);
            }
        }
        return c -> {
            int low = 0;
            int high = bounds.length / 2 - 1;
            while (low <= high) {
                int middle = low + high >>> 1;
                if (c < bounds[2 * middle]) {
                    high = middle - 1;
                } else if (c > bounds[2 * middle + 1]) {
                    low = middle + 1;
                } else {
                    return true;
                }
            }
            return false;
        };
    }

    /** This set and another. */
    default CharacterClass or(CharacterClass other) {
        return c -> contains(c) || other.contains(c);
    }

    /** {@code \s}: Unicode's White_Space property, which no method of {@link Character} gives. */
    static boolean isWhiteSpace(int c) {
        if (c < 0x80) {
            return c == ' ' || c >= '\t' && c <= '\r';
        }
        return c == 0x85
                || c == 0xA0
                || c == 0x1680
                || c >= 0x2000 && c <= 0x200A
                || c == 0x2028
                || c == 0x2029
                || c == 0x202F
                || c == 0x205F
                || c == 0x3000;
    }
}
