package dev.prefetch.template;

/** Searching and comparing with bounded work: linear in the text, whatever the pattern. */
final class TextSearch {

    /** Up to here the simple search is linear enough, and the JDK's is vectorised. */
    private static final int SHORT_PATTERN = 32;

    private TextSearch() {}

    /** As {@link String#indexOf(String, int)}, without its quadratic worst case. */
    static int indexOf(String text, String pattern, int from) {
        if (pattern.length() <= SHORT_PATTERN) {
            return text.indexOf(pattern, from);
        }
        return search(text, pattern, from, text.length(), true);
    }

    /** The last occurrence that lies within {@code from} and {@code to}, or -1. */
    static int lastIndexOf(String text, String pattern, int from, int to) {
        if (pattern.length() <= SHORT_PATTERN) {
            int found = text.lastIndexOf(pattern, to - pattern.length());
            return found >= from ? found : -1;
        }
        return search(text, pattern, from, to, false);
    }

    /** Knuth, Morris and Pratt. */
    private static int search(String text, String pattern, int from, int to, boolean first) {
        if (pattern.length() > to - from) {
            return -1;
        }
        int[] borders = borders(pattern);
        int matched = 0;
        int last = -1;
        for (int i = from; i < to; i++) {
            while (matched > 0 && text.charAt(i) != pattern.charAt(matched)) {
                matched = borders[matched - 1];
            }
            if (text.charAt(i) == pattern.charAt(matched)) {
                matched++;
            }
            if (matched == pattern.length()) {
                last = i + 1 - matched;
                if (first) {
                    return last;
                }
                matched = borders[matched - 1];
            }
        }
        return last;
    }

    private static int[] borders(String pattern) {
        int[] borders = new int[pattern.length()];
        int length = 0;
        for (int i = 1; i < pattern.length(); i++) {
            while (length > 0 && pattern.charAt(i) != pattern.charAt(length)) {
                length = borders[length - 1];
            }
            if (pattern.charAt(i) == pattern.charAt(length)) {
                length++;
            }
            borders[i] = length;
        }
        return borders;
    }

    /** Order by code point, as in Python; Java's order by UTF-16 unit puts U+FFxx behind all emoji. */
    static int compareCodePoints(String a, String b) {
        int common = Math.min(a.length(), b.length());
        for (int i = 0; i < common; i++) {
            char x = a.charAt(i);
            char y = b.charAt(i);
            if (x != y) {
                boolean xSurrogate = Character.isSurrogate(x);
                boolean ySurrogate = Character.isSurrogate(y);
                return xSurrogate == ySurrogate ? Character.compare(x, y) : xSurrogate ? 1 : -1;
            }
        }
        return Integer.compare(a.length(), b.length());
    }
}
