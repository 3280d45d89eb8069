package dev.prefetch.template;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.UnaryOperator;

/**
 * The string of the template language: characters, and for each whether it came from {@link InputText}. Immutable.
 *
 * <p>The marks are the sorted offsets at which they flip, starting from "not marked". A string without marks and one
 * that is marked throughout share a constant, so that the usual cases cost one reference.
 *
 * <p>Marks and the markup flag play no part in {@link #equals} and {@link #hashCode}: a template must not be able to see
 * them.
 */
final class Text {

    private static final int[] UNMARKED = {};
    private static final int[] MARKED = {0};

    static final Text EMPTY = new Text("", UNMARKED, false);

    private final String string;
    private final int[] flips;
    private final boolean markup;

    Text(String string, int[] flips, boolean markup) {
        this.string = string;
        this.flips = flips.length == 0 ? UNMARKED : flips.length == 1 && flips[0] == 0 ? MARKED : flips;
        this.markup = markup;
    }

    /** A string the template wrote. */
    static Text of(String string) {
        return string.isEmpty() ? EMPTY : new Text(string, UNMARKED, false);
    }

    /** A string from outside: every character marked. */
    static Text input(String string) {
        return string.isEmpty() ? EMPTY : new Text(string, MARKED, false);
    }

    String string() {
        return string;
    }

    boolean isEmpty() {
        return string.isEmpty();
    }

    /** Length in UTF-16 units. */
    int units() {
        return string.length();
    }

    /** Length in code points, which is what the template language counts. */
    int length() {
        return string.codePointCount(0, string.length());
    }

    /** Whether filter {@code safe} made it: then {@code +} escapes HTML in the other operand, as in Jinja. */
    boolean isMarkup() {
        return markup;
    }

    Text withMarkup(boolean flag) {
        return flag == markup ? this : new Text(string, flips, flag);
    }

    /** Whether all characters have the same origin. */
    boolean isUniform() {
        return flips == UNMARKED || flips == MARKED;
    }

    boolean isMarked(int index) {
        int found = Arrays.binarySearch(flips, index);
        int flipsUpTo = found >= 0 ? found + 1 : -found - 1;
        return (flipsUpTo & 1) == 1;
    }

    /** The end of the run of one origin that {@code index} lies in, at most {@code limit}. */
    int runEnd(int index, int limit) {
        if (isUniform()) {
            return limit;
        }
        int found = Arrays.binarySearch(flips, index);
        int next = found >= 0 ? found + 1 : -found - 1;
        return next < flips.length ? Math.min(flips[next], limit) : limit;
    }

    /** The characters from {@code begin} to {@code end}, in UTF-16 units. */
    Text substring(int begin, int end) {
        if (begin == 0 && end == string.length()) {
            return this;
        }
        String part = string.substring(begin, end);
        if (isUniform() || part.isEmpty()) {
            return new Text(part, part.isEmpty() ? UNMARKED : flips, markup);
        }
        TextBuilder builder = new TextBuilder();
        builder.append(this, begin, end);
        return builder.toText().withMarkup(markup);
    }

    /** Applies a change that may alter lengths (such as upper-casing) to each run, so that marks stay exact. */
    Text mapRuns(UnaryOperator<String> change) {
        if (isUniform()) {
            String changed = change.apply(string);
            return new Text(changed, changed.isEmpty() ? UNMARKED : flips, markup);
        }
        TextBuilder builder = new TextBuilder();
        for (int from = 0; from < string.length(); ) {
            int to = runEnd(from, string.length());
            builder.append(change.apply(string.substring(from, to)), isMarked(from));
            from = to;
        }
        return builder.toText().withMarkup(markup);
    }

    Text upper() {
        return mapRuns(s -> s.toUpperCase(Locale.ROOT));
    }

    Text lower() {
        return mapRuns(s -> s.toLowerCase(Locale.ROOT));
    }

    List<RenderedText.Span> spans() {
        List<RenderedText.Span> spans = new ArrayList<>();
        for (int from = 0; from < string.length(); ) {
            int to = runEnd(from, string.length());
            spans.add(new RenderedText.Span(string.substring(from, to), isMarked(from)));
            from = to;
        }
        return List.copyOf(spans);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Text text && string.equals(text.string);
    }

    @Override
    public int hashCode() {
        return string.hashCode();
    }

    @Override
    public String toString() {
        return string;
    }
}
