package dev.prefetch.inference;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.inference.KvLayout.Span;
import dev.prefetch.inference.PromptCache.Match;
import dev.prefetch.inference.PromptCache.Node;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Keys and values of one sequence, all layers, and the state of those that have one instead: first the pages it shares with others, which it only reads, then its own.
 * Pages of layers with a window are its own, and given back once the window has left them. Used by the compute thread only.
 */
final class KvCache implements AutoCloseable {

    private final KvPool pool;
    private final KvLayout layout;
    private final List<Node> nodes = new ArrayList<>();
    /** By page; the first are those of {@link #nodes}. Nothing when no layer sees everything. */
    private final List<DeviceBuffer> full = new ArrayList<>();
    /** By page; null where the window has left it. Nothing when no layer has a window. */
    private final List<@Nullable DeviceBuffer> window = new ArrayList<>();

    /** What layers of linear attention have kept of the positions so far; null before the first, or without such layers. */
    private @Nullable DeviceBuffer state;
    /** Position that the state goes on at. */
    private int statePosition;
    /** Null where there is no state, or nothing is kept. */
    private final @Nullable StateSnapshots snapshots;

    private final List<KvLayer> layers = new ArrayList<>();
    private final int cachedTokens;
    private int promisedPages;
    private long promisedBytes;
    private int firstWindowPage;
    private int givenPage = -1;
    private boolean closed;

    /** @param match what comes from the prompt cache, pinned here; null for nothing */
    KvCache(KvPool pool, int tokens, @Nullable Match match) {
        this.pool = pool;
        this.layout = pool.layout();
        this.promisedPages = KvLayout.pagesFor(tokens);
        this.promisedBytes = layout.sequenceBytes(tokens, pool.mostRows());
        this.cachedTokens = match == null ? 0 : match.tokens();
        for (int layer = 0; layer < layout.layers(); layer++) {
            layers.add(new Layer(layer));
        }
        this.snapshots = layout.hasState() && pool.cached().enabled() && match != null
                ? new StateSnapshots(pool, match.knownTokens())
                : null;
        if (match != null) {
            for (Node node : match.shared()) {
                pool.cached().pin(node);
                adopt(node);
                promisedBytes -= layout.pageBytes(Span.FULL);
            }
        }
    }

    private void adopt(Node node) {
        nodes.add(node);
        if (node.full() != null) {
            full.add(node.full());
        }
    }

    /**
     * Takes over or copies what cannot be shared.
     *
     * @throws dev.prefetch.backend.OutOfDeviceMemoryException when memory for it cannot be had
     */
    void takeOver(Match match) {
        Node partial = match.partial();
        if (partial != null && match.takesPartial()) {
            pool.cached().take(partial);
        }
        match.copying(true);
        try {
            if (partial != null && partial.full() != null) {
                full.add(match.takesPartial() ? partial.full() : pool.copyOf(Span.FULL, partial.full()));
            }
            if (layout.slides()) {
                takeOverWindows(match);
            }
            if (layout.hasState() && cachedTokens > 0) {
                Node last = match.shared().getLast();
                state = match.takesState()
                        ? pool.cached().takeState(last)
                        : pool.copyOf(Span.STATE, pool.cached().stateOf(last));
                statePosition = cachedTokens;
            }
        } finally {
            match.copying(false);
        }
    }

    private void takeOverWindows(Match match) {
        int pages = KvLayout.pagesFor(cachedTokens);
        firstWindowPage = Math.min(pages, layout.firstSeen(cachedTokens) / KvLayout.PAGE_TOKENS);
        List<Node> sources = new ArrayList<>(match.shared());
        if (match.partial() != null) {
            sources.add(match.partial());
        }
        for (int page = 0; page < pages; page++) {
            window.add(page < firstWindowPage ? null : lentWindow(match, page));
        }
        // Only now may pages be allocated: what was lent cannot be given up for them.
        for (int page = firstWindowPage; page < pages; page++) {
            if (window.get(page) == null) {
                DeviceBuffer source = sources.get(page).window();
                if (source == null) {
                    throw new IllegalStateException("page " + page + " of a match is gone");
                }
                window.set(page, pool.copyOf(Span.WINDOW, source));
            }
        }
    }

    private @Nullable DeviceBuffer lentWindow(Match match, int page) {
        if (page < match.shared().size()) {
            return pool.cached().lendWindow(match.shared().get(page));
        }
        Node partial = match.partial();
        return partial != null && match.takesPartial() ? partial.window() : null;
    }

    /** Positions that were there when the sequence began. */
    int cachedTokens() {
        return cachedTokens;
    }

    /** Positions that memory is promised for. */
    int promisedTokens() {
        return promisedPages * KvLayout.PAGE_TOKENS;
    }

    /** Asks for the memory of so many positions in all; false when there is no room for them now. */
    boolean promise(int tokens) {
        int pages = KvLayout.pagesFor(tokens);
        if (pages > promisedPages) {
            long more = layout.sequenceBytes(tokens, pool.mostRows())
                    - layout.sequenceBytes(promisedTokens(), pool.mostRows());
            if (!pool.promiseMore(more)) {
                return false;
            }
            promisedPages = pages;
            promisedBytes += more;
        }
        return true;
    }

    /** Makes sure that the positions {@code from .. to} can be computed: that they and what they see have memory. */
    void ensure(int from, int to) {
        int needed = KvLayout.pagesFor(to);
        if (needed > promisedPages) {
            throw new IllegalStateException(
                    "sequence was promised " + promisedPages + " pages of KV cache but needs " + needed);
        }
        if (layout.hasState()) {
            advance(from, to);
        }
        if (layout.slides()) {
            leaveWindowsBefore(layout.firstSeen(from) / KvLayout.PAGE_TOKENS);
            while (window.size() < needed) {
                window.add(pool.takePage(Span.WINDOW));
            }
        }
        if (layout.pageBytes(Span.FULL) > 0) {
            while (full.size() < needed) {
                full.add(pool.takePage(Span.FULL));
            }
        }
    }

    /** A state cannot be taken back: every position is computed once, in order. */
    private void advance(int from, int to) {
        if (from != statePosition) {
            throw new IllegalStateException(
                    "the state goes on at position " + statePosition + ", so " + from + " cannot be computed");
        }
        if (state == null) {
            state = pool.takePage(Span.STATE);
        }
        statePosition = to;
    }

    /** Memory of the states of all layers of linear attention; see {@link #stateOffset}. */
    DeviceBuffer state() {
        if (state == null) {
            throw new IllegalStateException("there is no state before the first position is computed");
        }
        return state;
    }

    /**
     * Says that the next sweep computes the prompt's positions {@code from .. to}, so that copies of the state can be made on
     * its way; {@link #keep} keeps them.
     *
     * @param end the last position at which somebody may go on, where the sweep ends the prompt; else 0
     */
    void passes(int from, int to, int end) {
        if (snapshots != null) {
            snapshots.plan(from, to, end);
        }
    }

    /** Copies of the state that are to be made in this sweep, in ascending order of their positions. */
    List<StateSnapshots.Snapshot> snapshots() {
        return snapshots == null ? List.of() : snapshots.pending();
    }

    /**
     * Where the state of a layer begins, in bytes: the rows that the convolution sees, then the matrices. Both are undefined
     * at position 0.
     */
    long stateOffset(int layer) {
        return layout.stateOffset(layer);
    }

    private void leaveWindowsBefore(int page) {
        while (firstWindowPage < Math.min(page, window.size())) {
            leaveWindow(firstWindowPage++);
        }
    }

    private void leaveWindow(int page) {
        DeviceBuffer buffer = window.set(page, null);
        if (buffer == null) {
            return;
        }
        if (page < nodes.size()) {
            pool.cached().leaveWindow(nodes.get(page), buffer);
        } else {
            pool.free(Span.WINDOW, buffer);
        }
    }

    /**
     * Gives full pages to the prompt cache, which shares them from now on.
     *
     * @param tokens the sequence's tokens
     * @param count how many of them were computed by prefill kernels, from the first on
     */
    void keep(int[] tokens, int count) {
        if (!pool.cached().enabled()) {
            return;
        }
        for (int page = nodes.size(); (page + 1) * KvLayout.PAGE_TOKENS <= count; page++) {
            DeviceBuffer own = layout.pageBytes(Span.FULL) > 0 ? full.get(page) : null;
            DeviceBuffer shown = layout.slides() ? window.get(page) : null;
            Node node = pool.cached().keepFull(last(), tokens, page, own, shown);
            nodes.add(node);
            if (own != null && node.full() != null && node.full() != own) {
                full.set(page, node.full());
                pool.free(Span.FULL, own);
            }
            promisedBytes -= layout.pageBytes(Span.FULL);
            pool.unpromise(layout.pageBytes(Span.FULL));
        }
        if (snapshots != null) {
            snapshots.keep(nodes);
        }
    }

    private @Nullable Node last() {
        return nodes.isEmpty() ? null : nodes.getLast();
    }

    /** Gives everything back, and to the prompt cache what a prompt has filled of its last page. */
    void close(int[] tokens, int count) {
        if (!closed) {
            keep(tokens, count);
            keepPartial(tokens, count);
            close();
        }
    }

    private void keepPartial(int[] tokens, int count) {
        int page = nodes.size();
        int from = page * KvLayout.PAGE_TOKENS;
        if (!pool.cached().enabled() || layout.hasState() || count <= from) {
            return;
        }
        DeviceBuffer own = layout.pageBytes(Span.FULL) > 0 ? full.get(page) : null;
        DeviceBuffer windowPage = layout.slides() ? window.get(page) : null;
        if (layout.slides() && windowPage == null) {
            return;
        }
        if (pool.cached().keepPartial(last(), tokens, from, count - from, own, windowPage)) {
            // Pages behind it, of the answer, stay this sequence's; this one is not any more.
            givenPage = page;
            if (windowPage != null) {
                window.set(page, null);
            }
        }
    }

    KvLayer layer(int layer) {
        return layers.get(layer);
    }

    @Override
    public void close() {
        if (closed) {
            return;
        }
        closed = true;
        leaveWindowsBefore(window.size());
        for (int page = nodes.size(); page < full.size(); page++) {
            if (page != givenPage) {
                pool.free(Span.FULL, full.get(page));
            }
        }
        if (state != null) {
            pool.free(Span.STATE, state);
        }
        if (snapshots != null) {
            snapshots.discard();
        }
        for (Node node : nodes) {
            pool.cached().unpin(node);
        }
        pool.unpromise(promisedBytes);
        pool.cached().limit();
    }

    private final class Layer implements KvLayer {

        private final int index;
        private final boolean slides;

        Layer(int index) {
            this.index = index;
            this.slides = layout.span(index) == Span.WINDOW;
        }

        @Override
        public GgmlType type() {
            return layout.type();
        }

        @Override
        public int pageTokens() {
            return KvLayout.PAGE_TOKENS;
        }

        @Override
        public DeviceBuffer page(int page) {
            if (!slides) {
                return full.get(page);
            }
            DeviceBuffer buffer = window.get(page);
            if (buffer == null) {
                throw new IllegalStateException("the window has left page " + page);
            }
            return buffer;
        }

        @Override
        public long keyOffset() {
            return layout.keyOffset(index);
        }

        @Override
        public long valueOffset() {
            return layout.valueOffset(index);
        }
    }
}
