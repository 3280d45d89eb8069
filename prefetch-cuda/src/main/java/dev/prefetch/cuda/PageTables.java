package dev.prefetch.cuda;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.KvLayer;
import java.util.Arrays;
import jcuda.driver.CUstream;

/**
 * Tables of page addresses on the device. The pages of a sequence are the same for all of its layers and change every few
 * dozen tokens, so the tables of the last sequences are kept.
 */
final class PageTables {

    private static final int KEPT = 32;

    private final CudaDevice device;
    private final ArgumentRing ring;
    private final Entry[] entries = new Entry[KEPT];
    private long[] wanted = new long[16];
    private int last;
    private long clock;

    PageTables(CudaDevice device, CUstream stream, ArgumentRing ring) {
        this.device = device;
        this.ring = ring;
        Arrays.setAll(entries, i -> new Entry(new DeviceScratch(device, stream, "a table of cache pages")));
    }

    /**
     * The table of the pages of the positions {@code from <= p < to}, which are checked.
     *
     * @throws IndexOutOfBoundsException when a page is too small
     */
    Table table(AttentionShape shape, KvLayer cache, int from, int to) {
        int pageTokens = cache.pageTokens();
        if (pageTokens < 1 || cache.keyOffset() < 0 || cache.valueOffset() < 0) {
            throw new IllegalArgumentException("bad cache: " + pageTokens + " tokens per page, offsets "
                    + cache.keyOffset() + " and " + cache.valueOffset());
        }
        if (cache.keyOffset() % Float.BYTES != 0 || cache.valueOffset() % Float.BYTES != 0) {
            throw new IllegalArgumentException("offsets of keys and values must be multiples of 4 but are "
                    + cache.keyOffset() + " and " + cache.valueOffset());
        }
        long perHead = Float.BYTES * (long) pageTokens;
        long needed = Math.max(
                Math.addExact(cache.keyOffset(), Math.multiplyExact(perHead, (long) shape.kvHeads() * shape.keyDim())),
                Math.addExact(
                        cache.valueOffset(), Math.multiplyExact(perHead, (long) shape.kvHeads() * shape.valueDim())));
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

    private Table find(int first, int count) {
        clock++;
        int oldest = 0;
        for (int i = 0; i < KEPT; i++) {
            // Sequences come in the same order in every layer: the one after the last is the likely one.
            int candidate = (last + 1 + i) % KEPT;
            Entry entry = entries[candidate];
            if (entry.holds(first, wanted, count)) {
                last = candidate;
                entry.lastUse = clock;
                return new Table(entry.address, entry.firstPage);
            }
            if (entry.lastUse < entries[oldest].lastUse) {
                oldest = candidate;
            }
        }
        Entry entry = entries[oldest];
        entry.pages = new long[0];
        entry.address = entry.memory.ensure(8L * Math.max(1, count));
        ring.copy(wanted, count, entry.address);
        entry.firstPage = first;
        entry.pages = Arrays.copyOf(wanted, count);
        entry.lastUse = clock;
        last = oldest;
        return new Table(entry.address, first);
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
