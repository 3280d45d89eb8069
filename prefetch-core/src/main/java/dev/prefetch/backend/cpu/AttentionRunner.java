package dev.prefetch.backend.cpu;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.gguf.GgmlType;
import java.util.Arrays;

/**
 * Attention with the online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867) over blocks of positions.
 *
 * <p>The query heads that share a key/value head go through a block together, while it is in the cache. Blocks begin at
 * multiples of their size and at page borders, whatever the first row of the call: the result of a row does not depend on
 * how a prompt is cut into calls.
 *
 * <p>Keys and values that are not kept as f32 are expanded a block at a time, once for all heads of the group and for
 * several rows.
 */
final class AttentionRunner implements AutoCloseable {

    /** Positions per block: keys and values of a block stay in the second-level cache for every head of the group. */
    private static final int BLOCK = 64;

    /** Bytes between the scores of two heads. */
    private static final long SCORE_BYTES = 4L * BLOCK;

    /** Most rows for which keys and values are expanded once: the expansion then costs next to nothing. */
    private static final int EXPANDED_ROWS = 16;

    /** Multiplications below which waking the other threads costs more than they save. */
    private static final long PARALLEL_WORK = 1 << 17;

    private final Kernels kernels;
    private final WorkerPool pool;
    private final Scratch[] scratch;
    private final SharedKeyAttention sharedKeys;

    AttentionRunner(Kernels kernels, WorkerPool pool) {
        this.kernels = kernels;
        this.pool = pool;
        this.scratch = new Scratch[pool.threads()];
        Arrays.setAll(scratch, i -> new Scratch("attention scores"));
        this.sharedKeys = new SharedKeyAttention(kernels, pool);
    }

    /**
     * Attention of {@code count} rows, the first at {@code position}; {@code q} and {@code out} are addresses of rows,
     * {@code sinks} that of one score per head, or 0.
     */
    void run(AttentionShape shape, KvPages pages, long q, long sinks, int count, int position, long out) {
        if (sinks == 0 && SharedKeyAttention.suits(shape)) {
            sharedKeys.run(shape, pages, q, count, position, out);
            return;
        }
        boolean expanded = pages.type() != GgmlType.F32;
        int group = shape.heads() / shape.kvHeads();
        // Few rows and few groups: give every head to a thread of its own; it only costs cache hits. Where keys and
        // values
        // must be expanded it costs that again for every head, so only where threads would have nothing to do.
        int busy = expanded ? pool.threads() : 2 * pool.threads();
        int headsPerItem = (long) count * shape.kvHeads() < busy ? 1 : group;
        int itemsPerRow = shape.heads() / headsPerItem;
        int rowsPerItem = expanded ? Math.clamp((long) count * itemsPerRow / busy, 1, EXPANDED_ROWS) : 1;
        long work = (long) count * shape.heads() * (position + count) * (shape.keyDim() + shape.valueDim());
        int items = Math.multiplyExact(Math.ceilDiv(count, rowsPerItem), itemsPerRow);
        pool.run(items, work < PARALLEL_WORK ? items : 1, (from, to, worker) -> {
            for (int item = from; item < to; item++) {
                int row = item / itemsPerRow * rowsPerItem;
                int rows = Math.min(rowsPerItem, count - row);
                Tile tile = new Tile(
                        row,
                        rows,
                        item % itemsPerRow * headsPerItem,
                        headsPerItem,
                        position + row,
                        position + (shape.causal() ? row + rows : count));
                tile(shape, pages, q, sinks, tile, out, scratch[worker]);
            }
        });
    }

    /**
     * Rows and query heads of one key/value head that go through the blocks together.
     *
     * @param position of the first row
     * @param end behind the last position that any of them sees
     */
    private record Tile(int row, int rows, int firstHead, int heads, int position, int end) {}

    private void tile(AttentionShape shape, KvPages pages, long q, long sinks, Tile tile, long out, Scratch memory) {
        boolean expanded = pages.type() != GgmlType.F32;
        int keyDim = shape.keyDim();
        int valueDim = shape.valueDim();
        int lanes = tile.rows() * tile.heads();
        long expandedBytes = expanded ? 4L * BLOCK * (keyDim + valueDim) : 0;
        long keys = memory.ensure(expandedBytes + (SCORE_BYTES + 4L) * tile.heads() + 8L * lanes);
        long values = keys + 4L * BLOCK * keyDim;
        long scores = keys + expandedBytes;
        long factors = scores + SCORE_BYTES * tile.heads();
        long maxima = factors + 4L * tile.heads();
        long sums = maxima + 4L * lanes;
        for (int r = 0; r < tile.rows(); r++) {
            begin(sinks, tile, maxima + 4L * r * tile.heads(), sums + 4L * r * tile.heads());
            Memory.clear(rowOf(out, shape, tile, r, valueDim), 4L * valueDim * tile.heads());
        }
        int kvHead = tile.firstHead() / (shape.heads() / shape.kvHeads());
        int end = tile.end();
        int to;
        for (int from = firstSeen(shape, tile.position()); from < end; from = to) {
            to = Math.min(end, blockEnd(from, pages.pageTokens()));
            if (expanded) {
                kernels.expand(pages.type(), pages.key(kvHead, from), (to - from) * keyDim, keys);
                kernels.expand(pages.type(), pages.value(kvHead, from), (to - from) * valueDim, values);
            } else {
                keys = pages.key(kvHead, from);
                values = pages.value(kvHead, from);
            }
            for (int r = 0; r < tile.rows(); r++) {
                // What a row sees of the block: the same as if it were alone.
                int first = Math.max(from, firstSeen(shape, tile.position() + r));
                int seen = shape.causal() ? tile.position() + r + 1 : end;
                int positions = Math.min(to, seen) - first;
                if (positions <= 0) {
                    continue;
                }
                long rowKeys = keys + 4L * keyDim * (first - from);
                long rowValues = values + 4L * valueDim * (first - from);
                long query = rowOf(q, shape, tile, r, keyDim);
                long result = rowOf(out, shape, tile, r, valueDim);
                // First the keys and then the values, so that either stay in the first-level cache for all heads.
                for (int h = 0; h < tile.heads(); h++) {
                    long state = 4L * (r * tile.heads() + h);
                    weights(
                            shape,
                            query + 4L * keyDim * h,
                            rowKeys,
                            positions,
                            scores + SCORE_BYTES * h,
                            maxima + state,
                            sums + state,
                            factors + 4L * h);
                }
                for (int h = 0; h < tile.heads(); h++) {
                    kernels.accumulate(
                            scores + SCORE_BYTES * h,
                            rowValues,
                            positions,
                            valueDim,
                            Memory.getFloat(factors + 4L * h),
                            result + 4L * valueDim * h);
                }
            }
        }
        for (int r = 0; r < tile.rows(); r++) {
            for (int h = 0; h < tile.heads(); h++) {
                long result = rowOf(out, shape, tile, r, valueDim) + 4L * valueDim * h;
                kernels.scale(result, valueDim, 1 / Memory.getFloat(sums + 4L * (r * tile.heads() + h)), result);
            }
        }
    }

    private static void begin(long sinks, Tile tile, long maxima, long sums) {
        for (int h = 0; h < tile.heads(); h++) {
            // A sink is a score that comes first and has no value: exp(sink - sink) is the sum so far.
            float sink = sinks == 0 ? Float.NEGATIVE_INFINITY : Memory.getFloat(sinks + 4L * (tile.firstHead() + h));
            Memory.putFloat(maxima + 4L * h, sink);
            Memory.putFloat(sums + 4L * h, sinks == 0 ? 0 : 1);
        }
    }

    private static long rowOf(long base, AttentionShape shape, Tile tile, int row, int dim) {
        return base + 4L * dim * ((long) (tile.row() + row) * shape.heads() + tile.firstHead());
    }

    private static int firstSeen(AttentionShape shape, int position) {
        return shape.window() == 0 ? 0 : Math.max(0, position - shape.window() + 1);
    }

    private static int blockEnd(int from, int pageTokens) {
        int pageEnd = (from / pageTokens + 1) * pageTokens;
        return Math.min(pageEnd, (from / BLOCK + 1) * BLOCK);
    }

    /**
     * Takes the keys of a block into the running maximum and sum of a head, and leaves the weights of its values and the factor for what
     * was found before.
     */
    private void weights(
            AttentionShape shape,
            long query,
            long keys,
            int positions,
            long scores,
            long maximum,
            long sum,
            long factor) {
        kernels.scores(query, keys, positions, shape.keyDim(), shape.scale(), scores);
        if (shape.softCap() > 0) {
            kernels.softCap(scores, positions, shape.softCap());
        }
        float before = Memory.getFloat(maximum);
        float now = Math.max(before, kernels.max(scores, positions));
        float shrinking = before == now ? 1 : (float) Math.exp(before - now);
        float blockSum = kernels.expAndSum(scores, positions, now);
        Memory.putFloat(maximum, now);
        Memory.putFloat(sum, Memory.getFloat(sum) * shrinking + blockSum);
        Memory.putFloat(factor, shrinking);
    }

    @Override
    public void close() {
        sharedKeys.close();
        for (Scratch memory : scratch) {
            memory.close();
        }
    }
}
