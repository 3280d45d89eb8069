package dev.prefetch.gguf;

import java.util.List;

/**
 * An entry of the tensor directory, checked to lie inside its file.
 *
 * @param name unique name, for example {@code blk.0.attn_q.weight}
 * @param type element format
 * @param dimensions extents, fastest first: {@code [cols, rows, experts]}; 1 to 4 of them, each at least 1
 * @param offset where the data starts, in bytes from the start of the file; see {@link GgufFile} for split models
 * @param byteSize length of the data
 */
public record GgufTensor(String name, GgmlType type, List<Long> dimensions, long offset, long byteSize) {

    public GgufTensor {
        dimensions = List.copyOf(dimensions);
    }

    /** Extent of dimension {@code i}, or 1 beyond the last. */
    public long dimension(int i) {
        return i < dimensions.size() ? dimensions.get(i) : 1;
    }

    /** The same tensor in a file that begins at an offset of a larger whole. */
    GgufTensor movedBy(long start) {
        return start == 0 ? this : new GgufTensor(name, type, dimensions, Math.addExact(start, offset), byteSize);
    }

    /** Number of elements. */
    public long elements() {
        return dimensions.stream().reduce(1L, Math::multiplyExact);
    }
}
