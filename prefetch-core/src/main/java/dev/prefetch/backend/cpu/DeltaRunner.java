package dev.prefetch.backend.cpu;

import dev.prefetch.backend.DeltaShape;
import java.util.Arrays;

/**
 * The convolution and the delta rule of a gated delta network. Channels have nothing to do with each other, and neither have
 * heads, so each is one thread's for all rows of a call; rows follow one another. The result is the same however a sequence
 * is cut into calls and whatever the number of threads.
 */
final class DeltaRunner implements AutoCloseable {

    /** Channels that one item convolves: their weights and the rows in front stay in the first-level cache. */
    private static final int CHANNELS = 256;

    /** Multiplications below which waking the other threads costs more than they save. */
    private static final long PARALLEL_WORK = 1 << 16;

    private final Kernels kernels;
    private final WorkerPool pool;
    private final Scratch[] scratch;

    DeltaRunner(Kernels kernels, WorkerPool pool) {
        this.kernels = kernels;
        this.pool = pool;
        this.scratch = new Scratch[pool.threads()];
        Arrays.setAll(scratch, i -> new Scratch("a delta network"));
    }

    /** {@code x} and {@code out} are addresses of the first row, {@code state} that of the oldest row before it. */
    void convolve(DeltaShape shape, long weights, long state, long x, int count, int position, long out) {
        int items = Math.ceilDiv(shape.channels(), CHANNELS);
        long work = (long) count * shape.channels() * shape.kernel();
        pool.run(items, work < PARALLEL_WORK ? items : 1, (from, to, worker) -> {
            for (int item = from; item < to; item++) {
                int first = item * CHANNELS;
                int channels = Math.min(CHANNELS, shape.channels() - first);
                long taps = taps(weights, shape.kernel(), first, channels, scratch[worker]);
                Rows rows = new Rows(state + 4L * first, x + 4L * first, 4L * shape.channels(), shape.kernel() - 1);
                if (position == 0) {
                    for (int i = 0; i < shape.kernel() - 1; i++) {
                        Memory.clear(rows.at(i - rows.before), 4L * channels);
                    }
                }
                convolve(rows, taps, channels, count, out + 4L * first);
                remember(rows, channels, count);
            }
        });
    }

    /** The weights by position: {@code [kernel x channels]}. */
    private static long taps(long weights, int kernel, int first, int channels, Scratch memory) {
        long taps = memory.ensure(4L * kernel * channels);
        for (int c = 0; c < channels; c++) {
            for (int j = 0; j < kernel; j++) {
                float weight = Memory.getFloat(weights + 4L * kernel * (first + c) + 4L * j);
                Memory.putFloat(taps + 4L * (channels * j + c), weight);
            }
        }
        return taps;
    }

    private void convolve(Rows rows, long taps, int channels, int count, long out) {
        for (int t = 0; t < count; t++) {
            long result = out + rows.stride * t;
            Memory.clear(result, 4L * channels);
            for (int j = 0; j <= rows.before; j++) {
                kernels.addProduct(result, taps + 4L * channels * j, rows.at(t - rows.before + j), channels);
            }
            kernels.silu(result, channels);
        }
    }

    /** Leaves the last rows in the state; where there are few new ones, older ones move. */
    private static void remember(Rows rows, int channels, int count) {
        for (int i = -rows.before; i < 0; i++) {
            if (count > 0) {
                Memory.copy(rows.at(i + count), rows.at(i), 4L * channels);
            }
        }
    }

    /**
     * Some channels of consecutive rows: those of negative index are in the state.
     *
     * @param state the row of index {@code -before}
     * @param x the row of index 0
     * @param stride bytes between rows of both
     */
    private record Rows(long state, long x, long stride, int before) {

        long at(int index) {
            return index < 0 ? state + stride * (before + index) : x + stride * index;
        }
    }

    /** Addresses of first rows; {@code state} that of the first matrix. */
    record Rule(long qkv, long alpha, long beta, long decay, long decayBias, long state, long out) {}

    void rule(DeltaShape shape, float epsilon, Rule rule, int count, int position) {
        int heads = shape.valueHeads();
        long work = 2L * count * shape.valueDim() * shape.headDim();
        pool.run(heads, work < PARALLEL_WORK ? heads : 1, (from, to, worker) -> {
            for (int head = from; head < to; head++) {
                head(shape, epsilon, rule, head, count, position, scratch[worker]);
            }
        });
    }

    private void head(DeltaShape shape, float epsilon, Rule rule, int head, int count, int position, Scratch memory) {
        int dim = shape.headDim();
        long matrix = rule.state + 4L * dim * dim * head;
        if (position == 0) {
            Memory.clear(matrix, 4L * dim * dim);
        }
        long q = memory.ensure(8L * dim);
        long k = q + 4L * dim;
        float decay = Memory.getFloat(rule.decay + 4L * head);
        float bias = Memory.getFloat(rule.decayBias + 4L * head);
        long keyHead = 4L * dim * shape.keyHead(head);
        for (int t = 0; t < count; t++) {
            long row = rule.qkv + 4L * shape.channels() * t;
            long scores = 4L * shape.valueHeads() * t + 4L * head;
            unit(row + keyHead, dim, epsilon, 1 / Math.sqrt(dim), q);
            unit(row + 4L * shape.keyDim() + keyHead, dim, epsilon, 1, k);
            double rate = decay * softplus((double) Memory.getFloat(rule.alpha + scores) + bias);
            double beta = 1 / (1 + Math.exp(-Memory.getFloat(rule.beta + scores)));
            kernels.deltaStep(
                    matrix,
                    dim,
                    q,
                    k,
                    row + 8L * shape.keyDim() + 4L * dim * head,
                    (float) Math.exp(rate),
                    (float) beta,
                    rule.out + 4L * shape.valueDim() * t + 4L * dim * head);
        }
    }

    /** {@code out = x * length / |x|}. */
    private void unit(long x, int dim, float epsilon, double length, long out) {
        kernels.scale(x, dim, (float) (length / Math.max(Math.sqrt(squares(x, dim)), epsilon)), out);
    }

    /** Two sums, which hide half of the latency of addition. */
    private static double squares(long x, int dim) {
        double even = 0;
        double odd = 0;
        for (int i = 0; i + 1 < dim; i += 2) {
            double a = Memory.getFloat(x + 4L * i);
            double b = Memory.getFloat(x + 4L * i + 4);
            even += a * a;
            odd += b * b;
        }
        double last = dim % 2 == 0 ? 0 : Memory.getFloat(x + 4L * (dim - 1));
        return even + odd + last * last;
    }

    private static double softplus(double x) {
        return x > 20 ? x : Math.log1p(Math.exp(x));
    }

    @Override
    public void close() {
        for (Scratch memory : scratch) {
            memory.close();
        }
    }
}
