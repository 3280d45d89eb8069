package dev.prefetch.backend.cpu;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.gguf.GgmlType;
import java.util.Arrays;

/**
 * Attention in which many heads share all keys and values, as the absorbed form of latent attention has it: the online
 * softmax over blocks of positions, in which every query of every row has a vector lane of its own.
 *
 * <p>How it works: a block of keys is read once for up to {@link #MOST_LANES} queries, whose scores are a product of two
 * matrices; so is what they find in the block's values. Where there are fewer queries than threads could share, threads share
 * the positions while they score and the columns of the values afterwards. In either way a query's sums run in ascending
 * order of elements and of positions, block by block; blocks begin at multiples of their size and at page borders. So its
 * result depends neither on the other queries nor on how the work is divided.
 */
final class SharedKeyAttention implements AutoCloseable {

    /** Fewest heads for which this is worth while. */
    private static final int FEWEST_HEADS = 16;

    /** What the columns of values must be a multiple of: the lanes of two of the widest vectors. */
    private static final int COLUMNS = 32;

    private static final int BLOCK = 64;

    /** Most queries that go through a block together: with it they stay in the second-level cache. */
    private static final int MOST_LANES = 128;

    /** Elements of a key at a time, whose part of the packed queries stays in the first-level cache. */
    private static final int DEPTH = 256;

    /** Blocks whose scores are kept while threads share one group of queries. */
    private static final int SCORED_BLOCKS = 16;

    /** Multiplications below which waking the other threads costs more than they save. */
    private static final long PARALLEL_WORK = 1 << 17;

    private final Kernels kernels;
    private final WorkerPool pool;
    private final int tile;
    private final Scratch[] perWorker;
    private final Scratch shared = new Scratch("attention scores");

    SharedKeyAttention(Kernels kernels, WorkerPool pool) {
        this.kernels = kernels;
        this.pool = pool;
        this.tile = kernels.tileTokens();
        this.perWorker = new Scratch[pool.threads()];
        Arrays.setAll(perWorker, i -> new Scratch("attention scores"));
    }

    /** Whether attention of that shape, without sinks, is computed here: a matter of the shape alone. */
    static boolean suits(AttentionShape shape) {
        return shape.causal()
                && shape.kvHeads() == 1
                && shape.heads() >= FEWEST_HEADS
                && shape.window() == 0
                && shape.softCap() == 0
                && shape.valueDim() % COLUMNS == 0;
    }

    /** See {@link AttentionRunner#run}. */
    void run(AttentionShape shape, KvPages pages, long q, int count, int position, long out) {
        Call call = new Call(shape, pages, q, position, out);
        int queries = Math.multiplyExact(count, shape.heads());
        long work = (long) queries * (position + count) * (shape.keyDim() + shape.valueDim());
        boolean alone = work < PARALLEL_WORK;
        if (!alone && Math.ceilDiv(queries, tile) < pool.threads()) {
            shareEach(call, queries);
            return;
        }
        int lanes = MOST_LANES;
        while (lanes > tile && Math.ceilDiv(queries, lanes) < 4 * pool.threads()) {
            lanes /= 2;
        }
        int each = lanes;
        int items = Math.ceilDiv(queries, each);
        pool.run(items, alone ? items : 1, (from, to, worker) -> {
            for (int item = from; item < to; item++) {
                group(call, item * each, Math.min(each, queries - item * each), perWorker[worker]);
            }
        });
    }

    /** Addresses are those of the first row of the call, which stands at {@code position}. */
    private record Call(AttentionShape shape, KvPages pages, long q, int position, long out) {

        int keyDim() {
            return shape.keyDim();
        }

        int valueDim() {
            return shape.valueDim();
        }

        boolean expanded() {
            return pages.type() != GgmlType.F32;
        }

        /** Positions that a query sees. */
        int seen(int query) {
            return position + query / shape.heads() + 1;
        }

        int blockEnd(int from, int end) {
            int pageEnd = (from / pages.pageTokens() + 1) * pages.pageTokens();
            return Math.min(end, Math.min(pageEnd, (from / BLOCK + 1) * BLOCK));
        }
    }

    /** Where the running softmax of some queries stands: {@code [lanes]} each. */
    private record State(long maxima, long sums, long factors, long limits) {

        static State at(long address, int lanes) {
            return new State(address, address + 4L * lanes, address + 8L * lanes, address + 12L * lanes);
        }

        static long bytes(int lanes) {
            return 16L * lanes;
        }

        void begin(int lanes) {
            for (long at = 0; at < 4L * lanes; at += 4) {
                Memory.putFloat(maxima + at, Float.NEGATIVE_INFINITY);
                Memory.putFloat(sums + at, 0);
            }
        }
    }

    private int tiles(int lanes) {
        return Math.ceilDiv(lanes, tile);
    }

    private long queryBytes(Call call, int lanes) {
        return 4L * tiles(lanes) * tile * call.keyDim();
    }

    private long scoreBytes(int lanes) {
        return 4L * tiles(lanes) * tile * BLOCK;
    }

    /** Packs queries: {@code [tile][keyDim][tileTokens]}. */
    private void pack(Call call, int first, int lanes, long packed) {
        for (int t = 0; t < tiles(lanes); t++) {
            long from = call.q() + 4L * call.keyDim() * (first + t * tile);
            int present = Math.min(tile, lanes - t * tile);
            kernels.packTokens(
                    from, 4L * call.keyDim(), present, tile, call.keyDim(), packed + 4L * t * tile * call.keyDim());
        }
    }

    /** Queries that one thread takes through all blocks. */
    private void group(Call call, int first, int lanes, Scratch memory) {
        long expandedBytes = call.expanded() ? 4L * BLOCK * (call.keyDim() + call.valueDim()) : 0;
        int padded = tiles(lanes) * tile;
        long queries = memory.ensure(queryBytes(call, lanes) + expandedBytes + scoreBytes(lanes) + State.bytes(padded));
        long expanded = queries + queryBytes(call, lanes);
        long scores = expanded + expandedBytes;
        State state = State.at(scores + scoreBytes(lanes), padded);
        state.begin(padded);
        pack(call, first, lanes, queries);
        int end = call.seen(first + lanes - 1);
        int to;
        for (int from = 0; from < end; from = to) {
            to = call.blockEnd(from, end);
            long keys = keys(call, from, to, expanded);
            score(call, queries, lanes, keys, to - from, scores);
            long values = values(call, from, to, 0, call.valueDim(), expanded + 4L * BLOCK * call.keyDim());
            softmax(call, first, lanes, from, to, scores, scores, state);
            accumulate(call, first, lanes, from, to, scores, state, values, 0, call.valueDim());
        }
        divide(call, first, lanes, state, 0, call.valueDim());
    }

    /** All threads take the same queries through the blocks: first by positions, then by columns of the values. */
    private void shareEach(Call call, int lanes) {
        int end = call.seen(lanes - 1);
        int padded = tiles(lanes) * tile;
        int chunks = Math.min(pool.threads(), call.valueDim() / COLUMNS);
        int chunkColumns = Math.ceilDiv(call.valueDim() / COLUMNS, chunks) * COLUMNS;
        long queries = shared.ensure(
                queryBytes(call, lanes) + SCORED_BLOCKS * scoreBytes(lanes) + chunks * State.bytes(padded));
        long scores = queries + queryBytes(call, lanes);
        long states = scores + SCORED_BLOCKS * scoreBytes(lanes);
        pack(call, 0, lanes, queries);
        for (int chunk = 0; chunk < chunks; chunk++) {
            State.at(states + chunk * State.bytes(padded), padded).begin(padded);
        }
        int[] borders = new int[SCORED_BLOCKS + 1];
        while (borders[0] < end) {
            int blocks = 0;
            while (blocks < SCORED_BLOCKS && borders[blocks] < end) {
                borders[blocks + 1] = call.blockEnd(borders[blocks], end);
                blocks++;
            }
            pool.run(blocks, 1, (first, last, worker) -> {
                for (int b = first; b < last; b++) {
                    long expanded = perWorker[worker].ensure(call.expanded() ? 4L * BLOCK * call.keyDim() : 0);
                    long keys = keys(call, borders[b], borders[b + 1], expanded);
                    score(call, queries, lanes, keys, borders[b + 1] - borders[b], scores + b * scoreBytes(lanes));
                }
            });
            int scored = blocks;
            boolean last = borders[blocks] == end;
            pool.run(Math.ceilDiv(call.valueDim(), chunkColumns), 1, (firstChunk, lastChunk, worker) -> {
                for (int chunk = firstChunk; chunk < lastChunk; chunk++) {
                    int column = chunk * chunkColumns;
                    int columns = Math.min(chunkColumns, call.valueDim() - column);
                    State state = State.at(states + chunk * State.bytes(padded), padded);
                    for (int b = 0; b < scored; b++) {
                        columnsOfBlock(
                                call,
                                lanes,
                                borders[b],
                                borders[b + 1],
                                scores + b * scoreBytes(lanes),
                                state,
                                column,
                                columns,
                                perWorker[worker]);
                    }
                    if (last) {
                        divide(call, 0, lanes, state, column, columns);
                    }
                }
            });
            borders[0] = borders[blocks];
        }
    }

    private void columnsOfBlock(
            Call call, int lanes, int from, int to, long scores, State state, int column, int columns, Scratch memory) {
        long weights = memory.ensure(scoreBytes(lanes) + 4L * BLOCK * columns);
        softmax(call, 0, lanes, from, to, scores, weights, state);
        long values = values(call, from, to, column, columns, weights + scoreBytes(lanes));
        accumulate(call, 0, lanes, from, to, weights, state, values, column, columns);
    }

    /** Address of the keys of a block, expanded where they are not kept as they are used. */
    private long keys(Call call, int from, int to, long expanded) {
        long kept = call.pages().key(0, from);
        if (!call.expanded()) {
            return kept;
        }
        kernels.expand(call.pages().type(), kept, (to - from) * call.keyDim(), expanded);
        return expanded;
    }

    /** Address of some columns of the values of a block; see {@link #valueStride}. */
    private long values(Call call, int from, int to, int column, int columns, long expanded) {
        GgmlType type = call.pages().type();
        long kept = call.pages().value(0, from) + type.byteSize(column);
        if (!call.expanded()) {
            return kept;
        }
        if (columns == call.valueDim()) {
            kernels.expand(type, kept, (to - from) * columns, expanded);
            return expanded;
        }
        for (int j = 0; j < to - from; j++) {
            kernels.expand(type, kept + j * type.byteSize(call.valueDim()), columns, expanded + 4L * j * columns);
        }
        return expanded;
    }

    private static long valueStride(Call call, int columns) {
        return 4L * (call.expanded() ? columns : call.valueDim());
    }

    /** {@code scores [tile][position][tileTokens]}, not yet scaled. */
    private void score(Call call, long queries, int lanes, long keys, int positions, long scores) {
        int dim = call.keyDim();
        for (int t = 0; t < tiles(lanes); t++) {
            for (int k = 0; k < dim; k += DEPTH) {
                kernels.multiplyLanes(
                        keys + 4L * k,
                        4L * dim,
                        4,
                        positions,
                        Math.min(DEPTH, dim - k),
                        queries + 4L * tile * ((long) t * dim + k),
                        4L * tile,
                        scores + 4L * t * tile * BLOCK,
                        4L * tile,
                        Math.min(tile, lanes - t * tile),
                        k > 0);
            }
        }
    }

    private void softmax(Call call, int first, int lanes, int from, int to, long scores, long weights, State state) {
        boolean limited = call.seen(first) < to;
        for (int lane = 0; limited && lane < lanes; lane++) {
            Memory.putFloat(state.limits() + 4L * lane, Math.clamp(call.seen(first + lane) - from, 0, to - from));
        }
        for (int t = 0; t < tiles(lanes); t++) {
            long at = 4L * t * tile;
            kernels.softmaxLanes(
                    scores + at * BLOCK,
                    to - from,
                    call.shape().scale(),
                    limited ? state.limits() + at : 0,
                    state.maxima() + at,
                    state.sums() + at,
                    state.factors() + at,
                    Math.min(tile, lanes - t * tile),
                    weights + at * BLOCK);
        }
    }

    /** Adds what the queries find in some columns of a block. */
    private void accumulate(
            Call call,
            int first,
            int lanes,
            int from,
            int to,
            long weights,
            State state,
            long values,
            int column,
            int columns) {
        long outStride = 4L * call.valueDim();
        long stride = valueStride(call, columns);
        int next;
        for (int lane = 0; lane < lanes; lane = next) {
            int t = lane / tile;
            next = Math.min(lanes, (t + 1) * tile);
            int positions = to - from;
            if (call.seen(first + lane) < to) {
                // One row's queries: what later rows see must not even be multiplied with 0.
                int row = (first + lane) / call.shape().heads();
                next = Math.min(next, (row + 1) * call.shape().heads() - first);
                positions = call.seen(first + lane) - from;
            }
            if (positions <= 0) {
                continue;
            }
            long target = call.out() + outStride * (first + lane) + 4L * column;
            if (from > 0) {
                rescale(state.factors() + 4L * lane, next - lane, target, outStride, columns);
            }
            for (int c = 0; c < columns; c += tile) {
                kernels.multiplyLanes(
                        weights + 4L * ((long) t * tile * BLOCK + lane % tile),
                        4,
                        4L * tile,
                        next - lane,
                        positions,
                        values + 4L * c,
                        stride,
                        target + 4L * c,
                        outStride,
                        tile,
                        from > 0);
            }
        }
    }

    private void rescale(long factors, int lanes, long target, long stride, int columns) {
        for (int lane = 0; lane < lanes; lane++) {
            float factor = Memory.getFloat(factors + 4L * lane);
            if (factor != 1) {
                kernels.scale(target + stride * lane, columns, factor, target + stride * lane);
            }
        }
    }

    private void divide(Call call, int first, int lanes, State state, int column, int columns) {
        for (int lane = 0; lane < lanes; lane++) {
            long result = call.out() + 4L * call.valueDim() * (first + lane) + 4L * column;
            kernels.scale(result, columns, 1 / Memory.getFloat(state.sums() + 4L * lane), result);
        }
    }

    @Override
    public void close() {
        shared.close();
        for (Scratch memory : perWorker) {
            memory.close();
        }
    }
}
