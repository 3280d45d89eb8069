package dev.prefetch.cuda;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.gguf.GgmlType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import jcuda.driver.CUstream;

/**
 * Tables of page addresses on the device. Layers with a window see only the last pages of a sequence, the others all of
 * them; both change every few dozen tokens only, so tables are kept from layer to layer and from sweep to sweep: as many as
 * are in use, which are up to two for every running sequence.
 */
final class PageTables {

    /**
     * Lookups, for each table there is, after which an unused one may be replaced. With fewer, tables that are needed again
     * in every sweep would push each other out: layers without a window may be several layers apart.
     */
    private static final int UNUSED_LOOKUPS = 16;

    /** Device memory of the tables of a few dozen sequences. */
    static final long USUAL_BYTES = 64 * DeviceScratch.rounded(1);

    private final CudaDevice device;
    private final CUstream stream;
    private final ArgumentRing ring;
    private final List<Entry> entries = new ArrayList<>();
    private long[] wanted = new long[16];
    private int last;
    private long clock;

    PageTables(CudaDevice device, CUstream stream, ArgumentRing ring) {
        this.device = device;
        this.stream = stream;
        this.ring = ring;
    }

    /**
     * The table of the pages of the positions {@code from <= p < to}, which are checked.
     *
     * @throws IndexOutOfBoundsException when a page is too small
     * @throws IllegalArgumentException when there are no kernels for the cache's type, or a head is not a whole number of
     *     its blocks
     */
    Table table(AttentionShape shape, KvLayer cache, int from, int to) {
        int pageTokens = cache.pageTokens();
        if (pageTokens < 1 || cache.keyOffset() < 0 || cache.valueOffset() < 0) {
            throw new IllegalArgumentException("bad cache: " + pageTokens + " tokens per page, offsets "
                    + cache.keyOffset() + " and " + cache.valueOffset());
        }
        GgmlType type = cache.type();
        checkType(type);
        int alignment = WeightFormat.alignment(type);
        if (cache.keyOffset() % alignment != 0 || cache.valueOffset() % alignment != 0) {
            throw new IllegalArgumentException("offsets of keys and values must be multiples of " + alignment
                    + " but are " + cache.keyOffset() + " and " + cache.valueOffset());
        }
        long rows = (long) pageTokens * shape.kvHeads();
        long keyBytes = Math.multiplyExact(rows, type.byteSize(shape.keyDim()));
        long valueBytes = Math.multiplyExact(rows, type.byteSize(shape.valueDim()));
        long needed =
                Math.max(Math.addExact(cache.keyOffset(), keyBytes), Math.addExact(cache.valueOffset(), valueBytes));
        int first = from / pageTokens;
        int count = to <= from ? 0 : (to - 1) / pageTokens - first + 1;
        if (count > wanted.length) {
            wanted = new long[Math.max(count, 2 * wanted.length)];
        }
        for (int i = 0; i < count; i++) {
            CudaBuffer page = device.own(cache.page(first + i), "page");
            if (needed > page.byteSize()) {
                throw new IndexOutOfBoundsException(
                        "page " + (first + i) + " needs " + needed + " bytes but its buffer has " + page.byteSize());
            }
            wanted[i] = page.address();
        }
        return find(first, count);
    }

    /** @throws IllegalArgumentException when there are no kernels for it */
    static void checkType(GgmlType type) {
        if (!AttentionLauncher.KV_TYPES.contains(type)) {
            throw new IllegalArgumentException(
                    "the CUDA backend keeps keys and values as one of " + AttentionLauncher.KV_TYPES + ", not " + type);
        }
    }

    private Table find(int first, int count) {
        clock++;
        for (int i = 0; i < entries.size(); i++) {
            // Sequences come in the same order in every layer: the one after the last is the likely one.
            int candidate = (last + 1 + i) % entries.size();
            Entry entry = entries.get(candidate);
            if (entry.holds(first, wanted, count)) {
                last = candidate;
                entry.lastUse = clock;
                return new Table(entry.address, entry.firstPage);
            }
        }
        last = unused();
        Entry entry = entries.get(last);
        entry.pages = new long[0];
        entry.address = entry.memory.ensure(8L * Math.max(1, count));
        ring.copy(wanted, count, entry.address);
        entry.firstPage = first;
        entry.pages = Arrays.copyOf(wanted, count);
        entry.lastUse = clock;
        return new Table(entry.address, first);
    }

    /** Index of the table that was not used for the longest time, or of a new one when all of them are in use. */
    private int unused() {
        int oldest = 0;
        for (int i = 1; i < entries.size(); i++) {
            if (entries.get(i).lastUse < entries.get(oldest).lastUse) {
                oldest = i;
            }
        }
        long inUseSince = clock - (long) UNUSED_LOOKUPS * entries.size();
        if (!entries.isEmpty() && entries.get(oldest).lastUse < inUseSince) {
            return oldest;
        }
        entries.add(new Entry(new DeviceScratch(device, stream, "a table of cache pages")));
        return entries.size() - 1;
    }

    void close() {
        for (Entry entry : entries) {
            entry.memory.close();
        }
    }

    /**
     * A table on the device.
     *
     * @param address of the first entry
     * @param firstPage the page it stands for
     */
    record Table(long address, int firstPage) {}

    private static final class Entry {
        private final DeviceScratch memory;
        private long[] pages = {};
        private int firstPage;
        private long address;
        private long lastUse;

        private Entry(DeviceScratch memory) {
            this.memory = memory;
        }

        private boolean holds(int first, long[] addresses, int count) {
            int offset = first - firstPage;
            return count > 0
                    && offset >= 0
                    && offset + count <= pages.length
                    && Arrays.equals(pages, offset, offset + count, addresses, 0, count);
        }
    }
}
