package dev.prefetch.tokenizer;

import java.util.List;

/**
 * How a vocabulary of byte pairs cuts text into the pieces within which merging stays.
 *
 * @param steps applied one after the other, each to the pieces the one before left
 * @param symbols what merging starts from
 * @param wholeWordsFirst whether a piece that is a token is taken as it is, whatever the merges say
 * @param wholeLineBreaksFirst the same for pieces of line breaks alone
 * @param addsBegin whether a begin token is wanted unless the file says otherwise; where symbols are characters, whatever
 *     the file says
 */
record PreTokenizer(
        List<Splitter> steps,
        Symbols symbols,
        boolean wholeWordsFirst,
        boolean wholeLineBreaksFirst,
        boolean addsBegin) {

    enum Symbols {
        /** Bytes, written as GPT-2 does. */
        BYTES,
        CHARACTERS,
        /** Characters, with U+2581 for the space. */
        CHARACTERS_WITH_MARKED_SPACES
    }

    /** A byte-level one. */
    PreTokenizer(List<Splitter> steps, boolean wholeWordsFirst, boolean addsBegin) {
        this(steps, Symbols.BYTES, wholeWordsFirst, false, addsBegin);
    }

    PreTokenizer {
        steps = List.copyOf(steps);
    }

    /** The ends of the pieces of {@code text}, in order. */
    IntList split(int[] text) {
        IntList ends = new IntList(text.length / 4);
        if (text.length > 0) {
            ends.add(text.length);
        }
        for (Splitter step : steps) {
            IntList finer = new IntList(ends.size());
            int from = 0;
            for (int i = 0; i < ends.size(); i++) {
                step.split(text, from, ends.get(i), finer);
                from = ends.get(i);
            }
            ends = finer;
        }
        return ends;
    }
}
