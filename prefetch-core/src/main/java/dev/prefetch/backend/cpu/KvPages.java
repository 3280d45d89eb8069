package dev.prefetch.backend.cpu;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.gguf.GgmlType;
import java.util.Collections;
import java.util.EnumSet;
import java.util.Set;

/** Addresses of the pages that an operation touches, each checked once. */
final class KvPages {

    /** What keys and values can be kept as. */
    static final Set<GgmlType> TYPES =
            Collections.unmodifiableSet(EnumSet.of(GgmlType.F32, GgmlType.F16, GgmlType.Q8_0));

    private final GgmlType type;
    private final int pageTokens;
    private final int firstPage;
    private final long keyOffset;
    private final long valueOffset;
    private final long keyHeadBytes;
    private final long valueHeadBytes;
    private final long keyBytes;
    private final long valueBytes;
    /** Of the pages from {@link #firstPage} on; may be longer. */
    private final long[] addresses;

    /**
     * Checks the pages of the positions {@code from <= p < to}.
     *
     * @param reused where the addresses are kept if it is long enough, so that a long context does not cost an array per
     *     operation
     * @throws IndexOutOfBoundsException when a page is too small
     * @throws IllegalArgumentException when a head is not a whole number of the type's blocks
     */
    KvPages(AttentionShape shape, KvLayer cache, int from, int to, boolean written, long[] reused) {
        pageTokens = cache.pageTokens();
        if (pageTokens < 1 || cache.keyOffset() < 0 || cache.valueOffset() < 0) {
            throw new IllegalArgumentException("bad cache: " + pageTokens + " tokens per page, offsets "
                    + cache.keyOffset() + " and " + cache.valueOffset());
        }
        type = cache.type();
        if (!TYPES.contains(type)) {
            throw new IllegalArgumentException("no KV cache of type " + type + "; there are " + TYPES);
        }
        keyBytes = type.byteSize(shape.keyDim());
        valueBytes = type.byteSize(shape.valueDim());
        keyOffset = cache.keyOffset();
        valueOffset = cache.valueOffset();
        keyHeadBytes = pageTokens * keyBytes;
        valueHeadBytes = pageTokens * valueBytes;
        firstPage = from / pageTokens;
        int pages = to <= from ? 0 : (to - 1) / pageTokens - firstPage + 1;
        addresses = reused.length >= pages ? reused : new long[2 * pages];
        long needed = Math.max(
                Math.addExact(keyOffset, Math.multiplyExact(keyHeadBytes, (long) shape.kvHeads())),
                Math.addExact(valueOffset, Math.multiplyExact(valueHeadBytes, (long) shape.kvHeads())));
        for (int i = 0; i < pages; i++) {
            CpuBuffer page = CpuOps.buffer(cache.page(firstPage + i), "page");
            if (needed > page.byteSize()) {
                throw new IndexOutOfBoundsException("page " + (firstPage + i) + " needs " + needed
                        + " bytes but its buffer has " + page.byteSize());
            }
            if (written && page.isReadOnly()) {
                throw new IllegalArgumentException("page " + (firstPage + i) + " is a read-only buffer");
            }
            addresses[i] = page.address();
        }
    }

    /** The array in use, to be given to the next. */
    long[] addresses() {
        return addresses;
    }

    GgmlType type() {
        return type;
    }

    int pageTokens() {
        return pageTokens;
    }

    /** Address of the key of a head at a position; those of the following positions of the page follow. */
    long key(int kvHead, int position) {
        return addresses[position / pageTokens - firstPage]
                + keyOffset
                + kvHead * keyHeadBytes
                + (position % pageTokens) * keyBytes;
    }

    /** Address of the value of a head at a position; those of the following positions of the page follow. */
    long value(int kvHead, int position) {
        return addresses[position / pageTokens - firstPage]
                + valueOffset
                + kvHead * valueHeadBytes
                + (position % pageTokens) * valueBytes;
    }
}
