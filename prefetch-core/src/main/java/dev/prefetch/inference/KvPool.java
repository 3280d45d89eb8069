package dev.prefetch.inference;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;

/**
 * Memory for the keys and values of all sequences, in pages of {@value #PAGE_TOKENS} positions that hold every layer.
 * Pages are promised to a sequence when it starts, so that it cannot run out half-way, allocated when they are first
 * used, and reused afterwards. Used by the compute thread only, except for the constructor.
 */
final class KvPool implements AutoCloseable {

    /** Positions per page. */
    static final int PAGE_TOKENS = 64;

    private final Device device;
    private final int layers;
    private final long keyBytes;
    private final long valueBytes;
    private final int capacityPages;
    private final ArrayDeque<DeviceBuffer> free = new ArrayDeque<>();
    private final List<DeviceBuffer> all = new ArrayList<>();
    private int promisedPages;

    KvPool(Device device, int layers, AttentionShape shape, int capacityPages) {
        this.device = device;
        this.layers = layers;
        this.keyBytes = (long) PAGE_TOKENS * shape.kvHeads() * shape.keyDim() * Float.BYTES;
        this.valueBytes = pageBytes(1, shape) - keyBytes;
        this.capacityPages = capacityPages;
    }

    /** Pages that a number of positions needs. */
    static int pagesFor(int tokens) {
        return Math.ceilDiv(tokens, PAGE_TOKENS);
    }

    /** Bytes of one page of a model with that many layers. */
    static long pageBytes(int layers, AttentionShape shape) {
        long perPosition = (long) shape.kvHeads() * (shape.keyDim() + shape.valueDim()) * Float.BYTES;
        return Math.multiplyExact(layers * (long) PAGE_TOKENS, perPosition);
    }

    /** Whether a sequence of that many positions can be promised its pages now. */
    boolean hasRoomFor(int tokens) {
        return pagesFor(tokens) <= capacityPages - promisedPages;
    }

    /** Pages promised to sequences. */
    int promisedPages() {
        return promisedPages;
    }

    /** Promises the pages of a sequence of at most {@code tokens} positions. */
    KvCache open(int tokens) {
        if (!hasRoomFor(tokens)) {
            throw new IllegalStateException("KV cache has " + (capacityPages - promisedPages) + " pages left but "
                    + pagesFor(tokens) + " are needed");
        }
        int pages = pagesFor(tokens);
        promisedPages += pages;
        return new KvCache(this, pages);
    }

    DeviceBuffer takePage() {
        DeviceBuffer page = free.poll();
        if (page == null) {
            page = device.allocate(layers * (keyBytes + valueBytes), "a page of the KV cache");
            all.add(page);
        }
        return page;
    }

    void giveBack(List<DeviceBuffer> pages, int promised) {
        free.addAll(pages);
        promisedPages -= promised;
    }

    int layers() {
        return layers;
    }

    long keyOffset(int layer) {
        return layer * (keyBytes + valueBytes);
    }

    long valueOffset(int layer) {
        return keyOffset(layer) + keyBytes;
    }

    @Override
    public void close() {
        all.forEach(DeviceBuffer::close);
    }
}
