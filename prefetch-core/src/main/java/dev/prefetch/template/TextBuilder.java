package dev.prefetch.template;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** Builds a {@link Text} piece by piece, keeping the marks, and charging a {@link Budget} when it has one. */
final class TextBuilder {

    private final @Nullable Budget budget;
    private final StringBuilder chars = new StringBuilder();
    private int[] flips = new int[4];
    private int flipCount;
    private boolean marking;

    /** For results that are no longer than their (already charged) operands. */
    TextBuilder() {
        this.budget = null;
    }

    TextBuilder(Budget budget) {
        this.budget = budget;
    }

    /** Length so far, in UTF-16 units. */
    int units() {
        return chars.length();
    }

    TextBuilder append(String string) {
        return append(string, false);
    }

    TextBuilder append(String string, boolean marked) {
        if (!string.isEmpty()) {
            charge(string.length());
            mark(marked);
            chars.append(string);
        }
        return this;
    }

    TextBuilder append(char c, boolean marked) {
        charge(1);
        mark(marked);
        chars.append(c);
        return this;
    }

    TextBuilder append(Text text) {
        return append(text, 0, text.units());
    }

    TextBuilder append(Text text, int begin, int end) {
        if (begin < end) {
            charge(end - begin);
            for (int from = begin; from < end; ) {
                int to = text.runEnd(from, end);
                mark(text.isMarked(from));
                chars.append(text.string(), from, to);
                from = to;
            }
        }
        return this;
    }

    TextBuilder repeat(Text text, long times) {
        if (budget != null && times > 0) {
            // Before the loop: a product far beyond the limit must fail at once.
            long total = Math.multiplyHigh(text.units(), times) != 0 ? Long.MAX_VALUE : text.units() * times;
            if (total > budget.limits().maxStringChars()) {
                budget.allocateString(total);
            }
        }
        for (long i = 0; i < times && !text.isEmpty(); i++) {
            append(text);
        }
        return this;
    }

    Text toText() {
        return new Text(chars.toString(), Arrays.copyOf(flips, flipCount), false);
    }

    private void charge(int more) {
        if (budget != null) {
            budget.growString(chars.length(), more);
        }
    }

    private void mark(boolean marked) {
        if (marked != marking) {
            if (flipCount == flips.length) {
                flips = Arrays.copyOf(flips, flipCount * 2);
            }
            flips[flipCount++] = chars.length();
            marking = marked;
        }
    }
}
