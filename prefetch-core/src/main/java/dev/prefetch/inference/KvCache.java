package dev.prefetch.inference;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.KvLayer;
import java.util.ArrayList;
import java.util.List;

/** Keys and values of one sequence, all layers. Used by the compute thread only. */
final class KvCache implements AutoCloseable {

    private final KvPool pool;
    private final int promisedPages;
    private final List<DeviceBuffer> pages = new ArrayList<>();
    private final List<KvLayer> layers = new ArrayList<>();
    private boolean closed;

    KvCache(KvPool pool, int promisedPages) {
        this.pool = pool;
        this.promisedPages = promisedPages;
        for (int layer = 0; layer < pool.layers(); layer++) {
            layers.add(new Layer(pool.keyOffset(layer), pool.valueOffset(layer)));
        }
    }

    /** Makes sure that the positions below {@code tokens} have memory. */
    void ensure(int tokens) {
        int needed = KvPool.pagesFor(tokens);
        if (needed > promisedPages) {
            throw new IllegalStateException(
                    "sequence was promised " + promisedPages + " pages of KV cache but needs " + needed);
        }
        while (pages.size() < needed) {
            pages.add(pool.takePage());
        }
    }

    KvLayer layer(int layer) {
        return layers.get(layer);
    }

    @Override
    public void close() {
        if (!closed) {
            closed = true;
            pool.giveBack(pages, promisedPages);
        }
    }

    private final class Layer implements KvLayer {

        private final long keyOffset;
        private final long valueOffset;

        Layer(long keyOffset, long valueOffset) {
            this.keyOffset = keyOffset;
            this.valueOffset = valueOffset;
        }

        @Override
        public int pageTokens() {
            return KvPool.PAGE_TOKENS;
        }

        @Override
        public DeviceBuffer page(int index) {
            return pages.get(index);
        }

        @Override
        public long keyOffset() {
            return keyOffset;
        }

        @Override
        public long valueOffset() {
            return valueOffset;
        }
    }
}
