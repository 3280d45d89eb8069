package dev.prefetch.backend.cpu;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.KvLayer;

/** Addresses of the pages that an operation touches, each checked once. */
final class KvPages {

    private final int pageTokens;
    private final int firstPage;
    private final long keyOffset;
    private final long valueOffset;
    private final long keyHeadBytes;
    private final long valueHeadBytes;
    private final int keyDim;
    private final int valueDim;
    /** Of the pages from {@link #firstPage} on; may be longer. */
    private final long[] addresses;

    /**
     * Checks the pages of the positions {@code from <= p < to}.
     *
     * @param reused where the addresses are kept if it is long enough, so that a long context does not cost an array per
     *     operation
     * @throws IndexOutOfBoundsException when a page is too small
     */
    KvPages(AttentionShape shape, KvLayer cache, int from, int to, boolean written, long[] reused) {
        pageTokens = cache.pageTokens();
        if (pageTokens < 1 || cache.keyOffset() < 0 || cache.valueOffset() < 0) {
            throw new IllegalArgumentException("bad cache: " + pageTokens + " tokens per page, offsets "
                    + cache.keyOffset() + " and " + cache.valueOffset());
        }
        keyDim = shape.keyDim();
        valueDim = shape.valueDim();
        keyOffset = cache.keyOffset();
        valueOffset = cache.valueOffset();
        keyHeadBytes = 4L * pageTokens * keyDim;
        valueHeadBytes = 4L * pageTokens * valueDim;
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

    int pageTokens() {
        return pageTokens;
    }

    /** Address of the key of a head at a position; those of the following positions of the page follow. */
    long key(int kvHead, int position) {
        return addresses[position / pageTokens - firstPage]
                + keyOffset
                + kvHead * keyHeadBytes
                + 4L * (position % pageTokens) * keyDim;
    }

    /** Address of the value of a head at a position; those of the following positions of the page follow. */
    long value(int kvHead, int position) {
        return addresses[position / pageTokens - firstPage]
                + valueOffset
                + kvHead * valueHeadBytes
                + 4L * (position % pageTokens) * valueDim;
    }
}
