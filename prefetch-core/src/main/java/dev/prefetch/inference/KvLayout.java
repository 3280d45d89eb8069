package dev.prefetch.inference;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.DeltaShape;
import dev.prefetch.gguf.GgmlType;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * How the keys and values of a model's layers lie in pages of {@value #PAGE_TOKENS} positions. Layers that see everything
 * share one kind of page, layers that see a window only share another: pages of the second kind are needed for the window
 * and the rows of a sweep alone, however long a sequence grows. Layers of linear attention have no keys and values, but a
 * state; those of all of them are one page more, the same for a sequence of any length.
 */
final class KvLayout {

    /** Positions per page. */
    static final int PAGE_TOKENS = 64;

    private final GgmlType type;
    private final Span[] spans;
    private final long[] keyOffsets;
    private final long[] valueOffsets;
    private final long[] pageBytes = new long[Span.values().length];
    private final int window;

    /** Which positions of a sequence a page's layers see. */
    enum Span {
        /** All of them. */
        FULL,
        /** The last few. */
        WINDOW,
        /** None: it holds the state behind the last position. */
        STATE
    }

    /**
     * @param layers the attention of every layer
     * @param type what keys and values are kept as
     * @throws IllegalArgumentException when a head is not a whole number of the type's blocks
     */
    KvLayout(List<AttentionShape> layers, GgmlType type) {
        this(layers, type, null);
    }

    /**
     * @param layers the attention of every layer, null where it is linear
     * @param type what keys and values are kept as
     * @param delta shape of linear attention; null where there is none
     * @throws IllegalArgumentException when a head is not a whole number of the type's blocks
     */
    KvLayout(List<@Nullable AttentionShape> layers, GgmlType type, @Nullable DeltaShape delta) {
        this.type = type;
        int count = layers.size();
        spans = new Span[count];
        keyOffsets = new long[count];
        valueOffsets = new long[count];
        int widest = 0;
        for (int layer = 0; layer < count; layer++) {
            AttentionShape shape = layers.get(layer);
            spans[layer] = shape == null ? Span.STATE : shape.window() > 0 ? Span.WINDOW : Span.FULL;
            int span = spans[layer].ordinal();
            keyOffsets[layer] = pageBytes[span];
            if (shape == null) {
                pageBytes[span] = Math.addExact(pageBytes[span], stateBytes(delta));
                continue;
            }
            widest = Math.max(widest, shape.window());
            valueOffsets[layer] = keyOffsets[layer] + bytes(shape, shape.keyDim());
            pageBytes[span] = Math.addExact(valueOffsets[layer], bytes(shape, shape.valueDim()));
        }
        window = widest;
    }

    private static long stateBytes(@Nullable DeltaShape delta) {
        if (delta == null) {
            throw new IllegalArgumentException("a layer has neither attention nor the shape of a linear one");
        }
        return Math.addExact(delta.convolutionBytes(), delta.matrixBytes());
    }

    private long bytes(AttentionShape shape, int headDim) {
        return Math.multiplyExact(type.byteSize(headDim), (long) PAGE_TOKENS * shape.kvHeads());
    }

    /** What keys and values are kept as. */
    GgmlType type() {
        return type;
    }

    int layers() {
        return spans.length;
    }

    Span span(int layer) {
        return spans[layer];
    }

    long keyOffset(int layer) {
        return keyOffsets[layer];
    }

    /** Byte offset of the state of a layer of linear attention. */
    long stateOffset(int layer) {
        if (spans[layer] != Span.STATE) {
            throw new IllegalArgumentException("layer " + layer + " has no state");
        }
        return keyOffsets[layer];
    }

    /** Whether there are layers with a state. */
    boolean hasState() {
        return pageBytes(Span.STATE) > 0;
    }

    long valueOffset(int layer) {
        return valueOffsets[layer];
    }

    /** Bytes of a page; 0 when no layer is of that kind. */
    long pageBytes(Span span) {
        return pageBytes[span.ordinal()];
    }

    /** Whether any layer sees a window only. */
    boolean slides() {
        return pageBytes(Span.WINDOW) > 0;
    }

    /** First position that the layers with a window see from a position on. */
    int firstSeen(int position) {
        return Math.max(0, position - window + 1);
    }

    /** Pages of {@link Span#FULL} that a number of positions needs. */
    static int pagesFor(int tokens) {
        return Math.ceilDiv(tokens, PAGE_TOKENS);
    }

    /**
     * Most pages of {@link Span#WINDOW} that a sequence holds at a time.
     *
     * @param tokens positions it may come to have
     * @param rows most of them computed in one sweep
     */
    int windowPages(int tokens, int rows) {
        if (!slides()) {
            return 0;
        }
        // Wherever they begin, so they may touch one page more than they fill.
        long seen = (long) window - 1 + rows;
        return (int) Math.min(pagesFor(tokens), Math.ceilDiv(seen, PAGE_TOKENS) + 1);
    }

    /** Bytes of a sequence that may come to have so many positions, so many of them computed in one sweep, with its state. */
    long sequenceBytes(int tokens, int rows) {
        long full = Math.multiplyExact(pageBytes(Span.FULL), (long) pagesFor(tokens));
        long fixed = Math.addExact(full, pageBytes(Span.STATE));
        return Math.addExact(fixed, Math.multiplyExact(pageBytes(Span.WINDOW), (long) windowPages(tokens, rows)));
    }
}
