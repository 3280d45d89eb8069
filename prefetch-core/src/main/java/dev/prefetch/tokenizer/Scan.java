package dev.prefetch.tokenizer;

/** The building blocks of the splitters: each scans forward once and never back. */
final class Scan {

    private Scan() {}

    /** End of the run of the class that starts at {@code position}; {@code position} itself when there is none. */
    static int run(CharacterClass characters, int[] text, int position, int to) {
        int end = position;
        while (end < to && characters.contains(text[end])) {
            end++;
        }
        return end;
    }

    /** Like {@link #run}, but at most {@code limit} characters. */
    static int run(CharacterClass characters, int limit, int[] text, int position, int to) {
        return run(characters, text, position, (int) Math.min(to, (long) position + limit));
    }

    /** Whether a character of the class stands at {@code position}, inside the range. */
    static boolean at(CharacterClass characters, int[] text, int position, int to) {
        return position < to && characters.contains(text[position]);
    }

    static boolean isNewline(int c) {
        return c == '\n' || c == '\r';
    }

    /** {@code 's|'t|'re|'ve|'m|'ll|'d}; {@code position} itself when none stands there. */
    static int contraction(boolean anyCase, int[] text, int position, int to) {
        if (position + 1 >= to || text[position] != '\'') {
            return position;
        }
        int first = fold(anyCase, text[position + 1]);
        switch (first) {
            case 's', 't', 'm', 'd' -> {
                return position + 2;
            }
            case 'r', 'v', 'l' -> {
                int second = position + 2 < to ? fold(anyCase, text[position + 2]) : -1;
                return second == (first == 'l' ? 'l' : 'e') ? position + 3 : position;
            }
            default -> {
                return position;
            }
        }
    }

    private static int fold(boolean anyCase, int c) {
        return anyCase && c >= 'A' && c <= 'Z' ? c | 0x20 : c;
    }

    /**
     * {@code \s+(?!\S)|\s+}: the white space at {@code position}, without its last character where text follows, so that
     * a word keeps the space in front of it.
     */
    static int whiteSpace(int[] text, int position, int to) {
        int end = run(CharacterClass::isWhiteSpace, text, position, to);
        return end < to && end - position > 1 ? end - 1 : end;
    }

    /** {@code \s*[\r\n]+|\s+(?!\S)|\s+}: up to the last newline of the white space, or all of it. */
    static int whiteSpaceByLine(int[] text, int position, int to) {
        int afterNewline = position;
        int end = position;
        for (; end < to && CharacterClass.isWhiteSpace(text[end]); end++) {
            if (isNewline(text[end])) {
                afterNewline = end + 1;
            }
        }
        if (afterNewline > position) {
            return afterNewline;
        }
        return end < to && end - position > 1 ? end - 1 : end;
    }
}
