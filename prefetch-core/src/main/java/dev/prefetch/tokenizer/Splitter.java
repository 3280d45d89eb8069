package dev.prefetch.tokenizer;

/** One step of a pre-tokenizer: cuts a piece of text into smaller pieces. Stateless. */
@FunctionalInterface
interface Splitter {

    /**
     * Cuts {@code text[from, to)}: appends the end of every piece, in order, the last being {@code to}. What lies outside
     * the range does not exist for the step. Takes time linear in the length of the range, whatever the text.
     */
    void split(int[] text, int from, int to, IntList ends);

    /**
     * What a step cuts out, in the manner of a regular expression that is searched for again and again; the text between
     * two finds stays one piece.
     */
    @FunctionalInterface
    interface Matcher {

        /**
         * The end of the match that starts at {@code position}, or {@code position} when there is none. Deciding that
         * there is none must take constant time, and a match must take time linear in its length.
         */
        int end(int[] text, int position, int to);
    }

    /** Cuts out every match. */
    static Splitter each(Matcher matcher) {
        return (text, from, to, ends) -> {
            int done = from;
            int position = from;
            while (position < to) {
                int end = matcher.end(text, position, to);
                if (end == position) {
                    position++;
                    continue;
                }
                if (done < position) {
                    ends.add(position);
                }
                ends.add(end);
                done = position = end;
            }
            if (done < to) {
                ends.add(to);
            }
        };
    }
}
