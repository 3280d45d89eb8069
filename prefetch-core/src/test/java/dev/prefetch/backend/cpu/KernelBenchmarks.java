package dev.prefetch.backend.cpu;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Micro-benchmarks of every family of CPU kernels, and of what the machine can do: how fast it reads memory and how many
 * fused multiply-adds it computes. {@link KernelTable} runs them and prints rates.
 *
 * <p>Each is a class of its own with one benchmark, so that each has its own parameters; {@link #bytes} and {@link #flops}
 * say what an operation moves and computes.
 */
public final class KernelBenchmarks {

    static final int COLS = 4096;

    private static final int HEADS = 32;
    private static final int KV_HEADS = 8;
    private static final int HEAD_DIM = 128;
    private static final int PAGE_TOKENS = 64;

    /** Items of a parallel probe: several for each thread, so that a slow core does not hold the others. */
    private static final int PROBE_ITEMS = 64;

    private static final int FMA_CHAINS = 12;
    private static final int FMA_ROUNDS = 20_000;

    private KernelBenchmarks() {}

    /** A device, and how all benchmarks are run. */
    @State(Scope.Benchmark)
    @BenchmarkMode(Mode.AverageTime)
    @OutputTimeUnit(TimeUnit.NANOSECONDS)
    @Warmup(iterations = 3, time = 1)
    @Measurement(iterations = 5, time = 1)
    @Fork(
            value = 1,
            jvmArgsAppend = {"--add-modules", "jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"})
    public abstract static class Base {

        @Param({"1", "2"})
        public int threads;

        final SplittableRandom random = new SplittableRandom(1);
        private CpuDevice device;

        final CpuDevice device() {
            if (device == null) {
                device = new CpuDevice(threads, KernelSelection.select());
            }
            return device;
        }

        final DeviceBuffer floats(int n) {
            return TestData.buffer(device(), TestData.randomFloats(random, n));
        }

        /** So many bytes of weights of a type, packed as those that stay in memory are; the same few rows again and again. */
        final Weight weights(GgmlType type, long bytes) {
            return TestData.repeatedRows(device(), random, type, weightRows(type, bytes), COLS, true);
        }

        @TearDown
        public void close() {
            device().close();
        }
    }

    /** Reads memory in order, several streams at a time. */
    public static class MemoryRead extends Base {

        @Param("256")
        public int megabytes;

        private long address;
        private long itemBytes;
        private final int[] sums = new int[PROBE_ITEMS];
        private WorkerPool pool;

        @Setup
        public void prepare() {
            DeviceBuffer buffer = device().allocate((long) megabytes << 20, "probe");
            address = ((CpuBuffer) buffer).address();
            Memory.clear(address, buffer.byteSize());
            itemBytes = buffer.byteSize() / PROBE_ITEMS;
            pool = new WorkerPool(threads, "probe");
        }

        @Benchmark
        public int[] run() {
            pool.run(PROBE_ITEMS, 1, (from, to, worker) -> {
                for (int i = from; i < to; i++) {
                    sums[i] = read(address + itemBytes * i, itemBytes);
                }
            });
            return sums;
        }

        private static int read(long from, long bytes) {
            IntVector a = IntVector.zero(Vectors.I);
            IntVector b = a;
            IntVector c = a;
            IntVector d = a;
            long quarter = bytes / 4;
            for (long i = 0; i < quarter; i += Vectors.BYTES) {
                long p = Memory.known(from + i);
                a = a.or(Vectors.ints(p));
                b = b.or(Vectors.ints(p + quarter));
                c = c.or(Vectors.ints(p + 2 * quarter));
                d = d.or(Vectors.ints(p + 3 * quarter));
            }
            return a.or(b).or(c.or(d)).lane(0);
        }

        @TearDown
        public void closePool() {
            pool.close();
        }
    }

    /** Fused multiply-adds of registers, in as many independent chains as hide their latency. */
    public static class FusedMultiplyAdd extends Base {

        private final float[] sums = new float[PROBE_ITEMS];
        private WorkerPool pool;

        @Setup
        public void prepare() {
            pool = new WorkerPool(threads, "probe");
        }

        @Benchmark
        public float[] run() {
            pool.run(PROBE_ITEMS, 1, (from, to, worker) -> {
                for (int i = from; i < to; i++) {
                    sums[i] = chains(i);
                }
            });
            return sums;
        }

        private static float chains(int seed) {
            FloatVector x = FloatVector.broadcast(Vectors.F, 0.5f);
            FloatVector y = FloatVector.broadcast(Vectors.F, seed);
            FloatVector a = y;
            FloatVector b = y.add(1);
            FloatVector c = y.add(2);
            FloatVector d = y.add(3);
            FloatVector e = y.add(4);
            FloatVector f = y.add(5);
            FloatVector g = y.add(6);
            FloatVector h = y.add(7);
            FloatVector k = y.add(8);
            FloatVector l = y.add(9);
            FloatVector m = y.add(10);
            FloatVector n = y.add(11);
            for (int i = 0; i < FMA_ROUNDS; i++) {
                a = a.fma(x, y);
                b = b.fma(x, y);
                c = c.fma(x, y);
                d = d.fma(x, y);
                e = e.fma(x, y);
                f = f.fma(x, y);
                g = g.fma(x, y);
                h = h.fma(x, y);
                k = k.fma(x, y);
                l = l.fma(x, y);
                m = m.fma(x, y);
                n = n.fma(x, y);
            }
            FloatVector sum = a.add(b).add(c.add(d)).add(e.add(f).add(g.add(h)));
            return sum.add(k.add(l).add(m.add(n))).lane(0);
        }

        @TearDown
        public void closePool() {
            pool.close();
        }
    }

    /** Matrix products with weights that come from memory. */
    public abstract static class Product extends Base {

        @Param({"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K"})
        public GgmlType type;

        @Param("256")
        public int megabytes;

        private Weight weight;
        private DeviceBuffer x;
        private DeviceBuffer y;

        final void prepare(int rows) {
            weight = weights(type, (long) megabytes << 20);
            x = floats(rows * COLS);
            y = device().allocate(4L * rows * weight.rows(), "y");
        }

        final void multiply(int decodeRows, int rows) {
            device().compute().ops().matmul(weight, x, decodeRows, rows, y);
        }
    }

    /** The decode kernels with one row. */
    public static class MatVec extends Product {

        @Setup
        public void prepare() {
            prepare(1);
        }

        @Benchmark
        public void run() {
            multiply(1, 1);
        }
    }

    /** The decode kernels with several rows, as sequences that generate together need them. */
    public static class DecodeBatch extends Product {

        @Param({"2", "4", "8", "16"})
        public int rows;

        @Setup
        public void prepare() {
            prepare(rows);
        }

        @Benchmark
        public void run() {
            multiply(rows, rows);
        }
    }

    /** The prefill kernels. */
    public static class MatMul extends Product {

        @Param({"2", "4", "8", "16", "128"})
        public int rows;

        @Setup
        public void prepare() {
            prepare(rows);
        }

        @Benchmark
        public void run() {
            multiply(0, rows);
        }
    }

    /** Attention of one token over f32 keys and values. */
    public static class Attention extends Base {

        @Param({"512", "4096"})
        public int positions;

        private final AttentionShape shape = new AttentionShape(HEADS, KV_HEADS, HEAD_DIM, HEAD_DIM, 0.1f, 0, 0);
        private KvLayer cache;
        private DeviceBuffer q;
        private DeviceBuffer out;

        @Setup
        public void prepare() {
            int pageFloats = 2 * PAGE_TOKENS * KV_HEADS * HEAD_DIM;
            List<DeviceBuffer> pages = Stream.generate(() -> floats(pageFloats))
                    .limit(Math.ceilDiv(positions, PAGE_TOKENS))
                    .toList();
            cache = new KvLayer() {
                @Override
                public GgmlType type() {
                    return GgmlType.F32;
                }

                @Override
                public int pageTokens() {
                    return PAGE_TOKENS;
                }

                @Override
                public DeviceBuffer page(int index) {
                    return pages.get(index);
                }

                @Override
                public long keyOffset() {
                    return 0;
                }

                @Override
                public long valueOffset() {
                    return 4L * pageFloats / 2;
                }
            };
            q = floats(HEADS * HEAD_DIM);
            out = floats(HEADS * HEAD_DIM);
        }

        @Benchmark
        public void run() {
            device().compute().ops().attention(shape, cache, q, 0, 1, positions - 1, out);
        }
    }

    /** Kernels on one row of {@value #COLS} elements, which stays in the cache, on one thread. */
    public static class Elementwise extends Base {

        @Param({"rmsNorm", "swiGlu", "ropeHalves", "ropeAdjacent", "softmaxExp", "add"})
        public String kernel;

        private final Kernels kernels = KernelSelection.select().kernels();
        private long x;
        private long y;
        private long out;
        private long table;

        @Setup
        public void prepare() {
            x = address(floats(COLS));
            y = address(floats(COLS));
            out = address(floats(COLS));
            float[] angles = new float[2 * HEAD_DIM];
            // No rotation and no change of length, so that values stay what they are however often they are rotated.
            Arrays.fill(angles, 0, kernel.equals("ropeAdjacent") ? HEAD_DIM : HEAD_DIM / 2, 1);
            table = address(TestData.buffer(device(), angles));
        }

        private static long address(DeviceBuffer buffer) {
            return ((CpuBuffer) buffer).address();
        }

        @Benchmark
        public float run() {
            switch (kernel) {
                case "rmsNorm" -> kernels.rmsNorm(x, COLS, y, 1e-6f, out);
                case "swiGlu" -> {
                    // It works in place, and again and again would come to denormal numbers.
                    Memory.copy(x, out, 4L * COLS);
                    kernels.swiGlu(out, y, COLS);
                }
                case "ropeHalves" -> {
                    for (int i = 0; i < COLS; i += HEAD_DIM) {
                        kernels.rotateHalves(x + 4L * i, HEAD_DIM / 2, table);
                    }
                }
                case "ropeAdjacent" -> {
                    for (int i = 0; i < COLS; i += HEAD_DIM) {
                        kernels.rotateAdjacent(x + 4L * i, HEAD_DIM / 2, table);
                    }
                }
                case "softmaxExp" -> {
                    return kernels.expAndSum(x, COLS, 1);
                }
                case "add" -> kernels.add(out, y, COLS);
                default -> throw new IllegalArgumentException(kernel);
            }
            return 0;
        }
    }

    /** Bytes that an operation reads or writes of what does not stay in registers: weights, keys and values, rows. */
    static double bytes(String benchmark, UnaryOperator<String> parameter) {
        return switch (benchmark) {
            case "MemoryRead" -> megabytes(parameter);
            case "FusedMultiplyAdd" -> 0;
            case "MatVec", "DecodeBatch", "MatMul" ->
                weightRows(parameter) * type(parameter).byteSize(COLS);
            case "Attention" -> 2.0 * 4 * KV_HEADS * HEAD_DIM * Integer.parseInt(parameter.apply("positions"));
            case "Elementwise" ->
                4.0
                        * COLS
                        * switch (parameter.apply("kernel")) {
                            case "rmsNorm", "add" -> 3;
                            // With the copy.
                            case "swiGlu" -> 5;
                            default -> 2;
                        };
            default -> throw new IllegalArgumentException(benchmark);
        };
    }

    /** Floating-point operations of the textbook formula, a multiply-add as two; 0 where it has transcendental functions. */
    static double flops(String benchmark, UnaryOperator<String> parameter) {
        return switch (benchmark) {
            case "MemoryRead" -> 0;
            case "FusedMultiplyAdd" -> 2.0 * Vectors.LANES * FMA_CHAINS * FMA_ROUNDS * PROBE_ITEMS;
            case "MatVec" -> 2.0 * weightRows(parameter) * COLS;
            case "DecodeBatch", "MatMul" ->
                2.0 * weightRows(parameter) * COLS * Integer.parseInt(parameter.apply("rows"));
            case "Attention" -> 4.0 * HEADS * HEAD_DIM * Integer.parseInt(parameter.apply("positions"));
            case "Elementwise" ->
                COLS
                        * switch (parameter.apply("kernel")) {
                            case "rmsNorm" -> 4.0;
                            case "ropeHalves", "ropeAdjacent" -> 3.0;
                            case "add" -> 1.0;
                            default -> 0.0;
                        };
            default -> throw new IllegalArgumentException(benchmark);
        };
    }

    private static double megabytes(UnaryOperator<String> parameter) {
        return (double) (Long.parseLong(parameter.apply("megabytes")) << 20);
    }

    private static GgmlType type(UnaryOperator<String> parameter) {
        return GgmlType.valueOf(parameter.apply("type"));
    }

    private static double weightRows(UnaryOperator<String> parameter) {
        return weightRows(type(parameter), Long.parseLong(parameter.apply("megabytes")) << 20);
    }

    private static long weightRows(GgmlType type, long bytes) {
        return Math.max(64, bytes / type.byteSize(COLS) / 64 * 64);
    }
}
