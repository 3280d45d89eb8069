package dev.prefetch.backend;

import dev.prefetch.gguf.GgmlType;

/**
 * Keys and values of one layer of one sequence, in pages of a fixed number of positions.
 *
 * <p>Position {@code p} lies in page {@code p / pageTokens}. Inside a page, at {@code keyOffset}, lie the keys as
 * {@code [kvHeads x pageTokens x keyDim]}, and at {@code valueOffset} the values as
 * {@code [kvHeads x pageTokens x valueDim]}, both row-major and of {@link #type()}; blocks of a type that has them run
 * along the dimensions of a head. The same pages hold all layers, at different offsets.
 */
public interface KvLayer {

    /** What keys and values are kept as; one of {@link Device#kvTypes()}. */
    GgmlType type();

    /** Positions per page. */
    int pageTokens();

    /** The page that holds positions {@code index * pageTokens()} and following; allocated before it is used. */
    DeviceBuffer page(int index);

    /** Byte offset of this layer's keys in every page. */
    long keyOffset();

    /** Byte offset of this layer's values in every page. */
    long valueOffset();
}
