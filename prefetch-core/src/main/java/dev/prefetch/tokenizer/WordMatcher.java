package dev.prefetch.tokenizer;

/**
 * The split expression that Llama 3, Qwen 2 and most byte-level vocabularies after them share, with its variations:
 *
 * <pre>
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d)              contractions, BEFORE_WORDS
 * | [^\r\n\p{L}\p{N}]?\p{L}+                  words, LETTERS
 * | \p{N}{1,3}                                digits
 * |  ?[^\s\p{L}\p{N}]+[\r\n]*                 symbols, with the characters of afterSymbols behind them
 * | \s*[\r\n]+ | \s+(?!\S) | \s+              white space
 * </pre>
 *
 * It matches at every position.
 *
 * @param contractions where English contractions are split off
 * @param words what a word is
 * @param digits the longest run of numbers that is one piece
 * @param afterSymbols characters that are taken along behind symbols
 */
record WordMatcher(Contractions contractions, Words words, int digits, String afterSymbols)
        implements Splitter.Matcher {

    enum Contractions {
        NONE,
        /** A piece of their own, tried first. */
        BEFORE_WORDS,
        /** The end of a word. */
        IN_WORDS
    }

    enum Words {
        /** {@code \p{L}+} */
        LETTERS,
        /** {@code [\p{L}\p{M}]+}; marks are no symbols then. */
        LETTERS_AND_MARKS,
        /**
         * A new word begins at each capital after a small letter:
         * {@code [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*}
         */
        CASED,
        /** Runs of Han, {@code \p{Han}+}, and {@link #CASED} words without any. */
        CASED_BESIDE_HAN
    }

    @Override
    public int end(int[] text, int position, int to) {
        if (contractions == Contractions.BEFORE_WORDS) {
            int end = Scan.contraction(true, text, position, to);
            if (end > position) {
                return end;
            }
        }
        if (words == Words.CASED_BESIDE_HAN) {
            int end = Scan.run(CharacterClass.HAN, text, position, to);
            if (end > position) {
                return end;
            }
        }
        int end = switch (words) {
            case LETTERS, LETTERS_AND_MARKS -> word(text, position, to);
            case CASED -> casedWord(CharacterClass.UPPER, CharacterClass.LOWER, text, position, to);
            case CASED_BESIDE_HAN ->
                casedWord(CharacterClass.UPPER_NOT_HAN, CharacterClass.LOWER_NOT_HAN, text, position, to);
        };
        if (end > position) {
            return contractions == Contractions.IN_WORDS ? Scan.contraction(true, text, end, to) : end;
        }
        end = Scan.run(CharacterClass.NUMBER, digits, text, position, to);
        if (end > position) {
            return end;
        }
        end = symbols(text, position, to);
        return end > position ? end : Scan.whiteSpaceByLine(text, position, to);
    }

    /** Whether the character may stand in front of a word and belong to it: {@code [^\r\n\p{L}\p{N}]}. */
    private static boolean isPrefix(int c) {
        return !Scan.isNewline(c) && !CharacterClass.LETTER.contains(c) && !CharacterClass.NUMBER.contains(c);
    }

    private int word(int[] text, int position, int to) {
        CharacterClass letters =
                words == Words.LETTERS_AND_MARKS ? CharacterClass.LETTER_OR_MARK : CharacterClass.LETTER;
        // A prefix that is no letter leaves nothing to go back to; a mark is both, and is a word by itself.
        int start = isPrefix(text[position]) && Scan.at(letters, text, position + 1, to) ? position + 1 : position;
        return Scan.run(letters, text, start, to);
    }

    private static int casedWord(CharacterClass upper, CharacterClass lower, int[] text, int position, int to) {
        boolean prefix = isPrefix(text[position]);
        if (prefix) {
            int end = endingInLower(upper, lower, text, position + 1, to);
            if (end > position + 1) {
                return end;
            }
        }
        // A mark is a prefix and a part of words: without a word behind it, it is one by itself.
        int end = endingInLower(upper, lower, text, position, to);
        if (end > position) {
            return end;
        }
        // No character of the run counts as lower: it is one word of capitals.
        int start = prefix ? position + 1 : position;
        end = Scan.run(upper, text, start, to);
        return end > start ? end : position;
    }

    /**
     * The first alternative of {@link Words#CASED}; {@code position} itself when it does not match. As a backtracking
     * matcher would, it gives back upper characters only until one that counts as lower, too, is free.
     */
    private static int endingInLower(CharacterClass upper, CharacterClass lower, int[] text, int position, int to) {
        int upperEnd = Scan.run(upper, text, position, to);
        int lowerEnd = Scan.run(lower, text, upperEnd, to);
        if (lowerEnd > upperEnd) {
            return lowerEnd;
        }
        for (int i = upperEnd - 1; i >= position; i--) {
            if (lower.contains(text[i])) {
                return i + 1;
            }
        }
        return position;
    }

    private int symbols(int[] text, int position, int to) {
        int start = text[position] == ' ' ? position + 1 : position;
        int end = start;
        while (end < to && isSymbol(text[end])) {
            end++;
        }
        if (end == start) {
            return position;
        }
        while (end < to && afterSymbols.indexOf(text[end]) >= 0) {
            end++;
        }
        return end;
    }

    private boolean isSymbol(int c) {
        CharacterClass letters =
                words == Words.LETTERS_AND_MARKS ? CharacterClass.LETTER_OR_MARK : CharacterClass.LETTER;
        return !CharacterClass.isWhiteSpace(c) && !letters.contains(c) && !CharacterClass.NUMBER.contains(c);
    }
}
