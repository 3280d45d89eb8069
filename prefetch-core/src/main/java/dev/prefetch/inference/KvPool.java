package dev.prefetch.inference;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.inference.KvLayout.Span;
import dev.prefetch.inference.PromptCache.Match;
import dev.prefetch.inference.PromptCache.Node;
import java.util.ArrayDeque;
import java.util.Collections;
import java.util.EnumMap;
import java.util.IdentityHashMap;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Memory for the keys and values of all sequences, in pages as the {@link KvLayout} says.
 *
 * <p>Memory is promised to a sequence before it is used: some when it starts, more as it grows, allocated when it is first
 * used, and reused afterwards. What is promised and what running sequences share never exceeds the capacity; pages that
 * nobody uses are kept by the {@link PromptCache} for as long as nobody needs their place. Used by the compute thread only, except
 * for the constructor.
 */
final class KvPool implements AutoCloseable {

    private final Device device;
    private final KvLayout layout;
    private final int mostRows;
    private final long capacityBytes;
    private final PromptCache cached;
    private final Map<Span, ArrayDeque<DeviceBuffer>> free = new EnumMap<>(Span.class);
    private final Set<DeviceBuffer> all = Collections.newSetFromMap(new IdentityHashMap<>());
    private long allocatedBytes;
    private long promisedBytes;

    /**
     * @param mostRows most rows of one sequence in a sweep
     * @param capacityBytes bytes of all pages together
     * @param cacheBytes of them, what pages that nobody uses may take; 0 keeps none
     */
    KvPool(Device device, KvLayout layout, int mostRows, long capacityBytes, long cacheBytes) {
        this.device = device;
        this.layout = layout;
        this.mostRows = mostRows;
        this.capacityBytes = capacityBytes;
        this.cached = new PromptCache(layout, cacheBytes, this::free);
        for (Span span : Span.values()) {
            free.put(span, new ArrayDeque<>());
        }
    }

    /** Whether a sequence of that many positions can be promised its memory now. */
    boolean hasRoomFor(int tokens) {
        return layout.sequenceBytes(tokens, mostRows) <= capacityBytes - bytesInUse();
    }

    /** Bytes promised to sequences or shared by them. */
    long bytesInUse() {
        return promisedBytes + cached.pinnedBytes();
    }

    /** Bytes of pages that nobody uses and that are kept for later prompts. */
    long idleBytes() {
        return cached.idleBytes();
    }

    /** Promises the memory of {@code tokens} positions to a sequence that shares nothing. */
    KvCache open(int tokens) {
        if (!hasRoomFor(tokens)) {
            throw new IllegalStateException("KV cache has " + (capacityBytes - bytesInUse()) + " bytes left but "
                    + layout.sequenceBytes(tokens, mostRows) + " are needed");
        }
        promise(layout.sequenceBytes(tokens, mostRows));
        return new KvCache(this, tokens, null);
    }

    /**
     * Promises memory to a sequence that begins with some tokens. What the prompt cache has of them is shared or copied.
     *
     * @param prompt the tokens it begins with
     * @param most how many of them may come from the cache
     * @param tokens positions it is promised memory for
     * @return null when there is no room for it now
     * @throws OutOfDeviceMemoryException when memory that was promised cannot be had
     */
    @Nullable
    KvCache open(int[] prompt, int most, int tokens) {
        Match match = roomFor(cached.match(prompt, most), tokens);
        if (match == null) {
            return null;
        }
        promise(bytesOf(match, tokens));
        KvCache cache = new KvCache(this, tokens, match);
        try {
            cache.takeOver(match);
            return cache;
        } catch (RuntimeException | Error e) {
            cache.close();
            throw e;
        }
    }

    /** As much of the match as there is room for; null when there is none for the sequence at all. */
    private @Nullable Match roomFor(Match match, int tokens) {
        if (fits(match, tokens)) {
            return match;
        }
        Match taking = cached.takingPartial(match);
        if (taking != null && fits(taking, tokens)) {
            return taking;
        }
        if (layout.hasState()) {
            Match nothing = match.withoutPages();
            return fits(nothing, tokens) ? nothing : null;
        }
        Match fullPages = cached.fullPages(match.shared());
        return fits(fullPages, tokens) ? fullPages : null;
    }

    private boolean fits(Match match, int tokens) {
        return bytesOf(match, tokens) + cached.heldBytes(match) <= capacityBytes - bytesInUse();
    }

    private long bytesOf(Match match, int tokens) {
        return layout.sequenceBytes(tokens, mostRows) - match.shared().size() * layout.pageBytes(Span.FULL);
    }

    private void promise(long bytes) {
        promisedBytes += bytes;
    }

    /** Promises a sequence more; false when there is no room for it now. */
    boolean promiseMore(long bytes) {
        if (bytes > capacityBytes - bytesInUse()) {
            return false;
        }
        promise(bytes);
        return true;
    }

    void unpromise(long bytes) {
        promisedBytes -= bytes;
    }

    /**
     * A page for a sequence that it was promised to.
     *
     * @throws OutOfDeviceMemoryException when it cannot be had
     */
    DeviceBuffer takePage(Span span) {
        long bytes = layout.pageBytes(span);
        while (true) {
            DeviceBuffer page = free.get(span).poll();
            if (page != null) {
                return page;
            }
            if (allocatedBytes + bytes <= capacityBytes) {
                try {
                    return allocate(bytes);
                } catch (OutOfDeviceMemoryException e) {
                    if (!cached.evict()) {
                        throw e;
                    }
                }
            } else if (!shrink(span) && !cached.evict()) {
                throw new IllegalStateException("KV cache of " + capacityBytes + " bytes has no page left, but "
                        + promisedBytes + " were promised and " + cached.pinnedBytes() + " are shared");
            }
        }
    }

    /**
     * A page for what is kept from the last time; nothing is given up for it.
     *
     * @throws OutOfDeviceMemoryException when it cannot be had
     */
    DeviceBuffer newPage(Span span) {
        DeviceBuffer page = free.get(span).poll();
        return page != null ? page : allocate(layout.pageBytes(span));
    }

    private DeviceBuffer allocate(long bytes) {
        DeviceBuffer page = device.allocate(bytes, "a page of the KV cache");
        all.add(page);
        allocatedBytes += bytes;
        return page;
    }

    /** Gives a free page of the other kind back to the device; false when there is none. */
    private boolean shrink(Span wanted) {
        for (Span span : Span.values()) {
            DeviceBuffer page = span == wanted ? null : free.get(span).poll();
            if (page != null) {
                all.remove(page);
                allocatedBytes -= layout.pageBytes(span);
                page.close();
                return true;
            }
        }
        return false;
    }

    void free(Span span, DeviceBuffer page) {
        free.get(span).add(page);
    }

    /** A page of its own with what another one holds. */
    DeviceBuffer copyOf(Span span, DeviceBuffer page) {
        DeviceBuffer copy = takePage(span);
        device.compute().ops().copy(page, 0, copy, 0, page.byteSize());
        return copy;
    }

    /**
     * Memory for a copy of a state, which counts as in use until it is kept or dropped; null when there is no room for it
     * beside what is in use.
     *
     * @throws OutOfDeviceMemoryException when it cannot be had
     */
    @Nullable
    DeviceBuffer takeForSnapshot() {
        long bytes = layout.pageBytes(Span.STATE);
        if (bytes > capacityBytes - bytesInUse() || !cached.makeRoomFor(bytes)) {
            return null;
        }
        DeviceBuffer page = takePage(Span.STATE);
        promise(bytes);
        return page;
    }

    /** Leaves a copy of the state behind a node's last token to that node. */
    void keepSnapshot(Node node, DeviceBuffer page) {
        unpromise(layout.pageBytes(Span.STATE));
        cached.leaveState(node, page);
    }

    void dropSnapshot(DeviceBuffer page) {
        unpromise(layout.pageBytes(Span.STATE));
        free(Span.STATE, page);
    }

    /** What decides the bits of what is in the pages. */
    String numerics() {
        return device.numerics();
    }

    KvLayout layout() {
        return layout;
    }

    int mostRows() {
        return mostRows;
    }

    PromptCache cached() {
        return cached;
    }

    /** Pages in the hands of sequences and of the prompt cache; for tests of leaks. */
    int pagesTaken() {
        return all.size() - free.values().stream().mapToInt(ArrayDeque::size).sum();
    }

    @Override
    public void close() {
        all.forEach(DeviceBuffer::close);
    }
}
