package dev.prefetch.backend.cpu;

import dev.prefetch.backend.AttentionShape;
import java.util.Arrays;

/**
 * Attention with the online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867) over blocks of positions.
 *
 * <p>The query heads that share a key/value head go through a block together, while it is in the cache. Blocks begin at
 * multiples of their size and at page borders, whatever the first row of the call: the result of a row does not depend on
 * how a prompt is cut into calls.
 */
final class AttentionRunner implements AutoCloseable {

    /** Positions per block: keys and values of a block stay in the second-level cache for every head of the group. */
    private static final int BLOCK = 64;

    /** Multiplications below which waking the other threads costs more than they save. */
    private static final long PARALLEL_WORK = 1 << 17;

    private final Kernels kernels;
    private final WorkerPool pool;
    private final Scratch[] scratch;

    AttentionRunner(Kernels kernels, WorkerPool pool) {
        this.kernels = kernels;
        this.pool = pool;
        this.scratch = new Scratch[pool.threads()];
        Arrays.setAll(scratch, i -> new Scratch("attention scores"));
    }

    /**
     * Attention of {@code count} rows, the first at {@code position}; {@code q} and {@code out} are addresses of rows,
     * {@code sinks} that of one score per head, or 0.
     */
    void run(AttentionShape shape, KvPages pages, long q, long sinks, int count, int position, long out) {
        int group = shape.heads() / shape.kvHeads();
        // Few rows and few groups: give every head to a thread of its own; it only costs cache hits.
        int headsPerItem = (long) count * shape.kvHeads() < 2L * pool.threads() ? 1 : group;
        int itemsPerRow = shape.heads() / headsPerItem;
        long work = (long) count * shape.heads() * (position + count) * (shape.keyDim() + shape.valueDim());
        int items = Math.multiplyExact(count, itemsPerRow);
        pool.run(items, work < PARALLEL_WORK ? items : 1, (from, to, worker) -> {
            for (int item = from; item < to; item++) {
                int row = item / itemsPerRow;
                int head = item % itemsPerRow * headsPerItem;
                heads(shape, pages, q, sinks, row, head, headsPerItem, position + row, out, scratch[worker]);
            }
        });
    }

    private void heads(
            AttentionShape shape,
            KvPages pages,
            long q,
            long sinks,
            int row,
            int firstHead,
            int headCount,
            int position,
            long out,
            Scratch memory) {
        long scores = memory.ensure(4L * (BLOCK + 2L * headCount));
        long maxima = scores + 4L * BLOCK;
        long sums = maxima + 4L * headCount;
        int kvHead = firstHead / (shape.heads() / shape.kvHeads());
        long queries = q + 4L * shape.keyDim() * ((long) row * shape.heads() + firstHead);
        long results = out + 4L * shape.valueDim() * ((long) row * shape.heads() + firstHead);
        Memory.clear(results, 4L * shape.valueDim() * headCount);
        for (int h = 0; h < headCount; h++) {
            // A sink is a score that comes first and has no value: exp(sink - sink) is the sum so far.
            float sink = sinks == 0 ? Float.NEGATIVE_INFINITY : Memory.getFloat(sinks + 4L * (firstHead + h));
            Memory.putFloat(maxima + 4L * h, sink);
            Memory.putFloat(sums + 4L * h, sinks == 0 ? 0 : 1);
        }
        int from = shape.window() == 0 ? 0 : Math.max(0, position - shape.window() + 1);
        while (from <= position) {
            int to = Math.min(position + 1, blockEnd(from, pages.pageTokens()));
            long keys = pages.key(kvHead, from);
            long values = pages.value(kvHead, from);
            for (int h = 0; h < headCount; h++) {
                long query = queries + 4L * shape.keyDim() * h;
                long result = results + 4L * shape.valueDim() * h;
                block(shape, query, keys, values, to - from, scores, maxima + 4L * h, sums + 4L * h, result);
            }
            from = to;
        }
        for (int h = 0; h < headCount; h++) {
            long result = results + 4L * shape.valueDim() * h;
            kernels.scale(result, shape.valueDim(), 1 / Memory.getFloat(sums + 4L * h), result);
        }
    }

    private static int blockEnd(int from, int pageTokens) {
        int pageEnd = (from / pageTokens + 1) * pageTokens;
        return Math.min(pageEnd, (from / BLOCK + 1) * BLOCK);
    }

    /** Takes one block into the running maximum, sum and weighted values of a head. */
    private void block(
            AttentionShape shape,
            long query,
            long keys,
            long values,
            int positions,
            long scores,
            long maximum,
            long sum,
            long result) {
        kernels.scores(query, keys, positions, shape.keyDim(), shape.scale(), scores);
        if (shape.softCap() > 0) {
            kernels.softCap(scores, positions, shape.softCap());
        }
        float before = Memory.getFloat(maximum);
        float now = Math.max(before, kernels.max(scores, positions));
        float factor = before == now ? 1 : (float) Math.exp(before - now);
        float blockSum = kernels.expAndSum(scores, positions, now);
        Memory.putFloat(maximum, now);
        Memory.putFloat(sum, Memory.getFloat(sum) * factor + blockSum);
        kernels.accumulate(scores, values, positions, shape.valueDim(), factor, result);
    }

    @Override
    public void close() {
        for (Scratch memory : scratch) {
            memory.close();
        }
    }
}
