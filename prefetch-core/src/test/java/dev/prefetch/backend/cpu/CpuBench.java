package dev.prefetch.backend.cpu;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.Stream;

/**
 * Speed of the matrix products, for tuning: run {@code main}. Arguments: what ({@code decode}, {@code cached}, {@code prepare}, {@code attention},
 * {@code batch} or {@code prefill}), a comma-separated list of types, a comma-separated list of thread counts.
 * System properties: {@code cols}, {@code rows} (of one product), {@code warmSeconds}, {@code tokens} (of {@code prefill}, a
 * comma-separated list), {@code weightRows} (of {@code prefill}).
 *
 * <p>Weights are about 300 MB (decode), so that they come from memory; the best of several passes. One thread
 * is timed by the processor time it takes, so that other work on the machine disturbs less.
 */
final class CpuBench {

    private static final int COLS = Integer.getInteger("cols", 4096);
    private static final long DECODE_BYTES = 300L << 20;
    private static final long CACHED_BYTES = 400L << 10;
    private static final int PASSES = 9;

    private static final Map<CpuDevice, DeviceBuffer> REFERENCE = new HashMap<>();
    private static final Map<CpuDevice, DeviceBuffer> OUT = new HashMap<>();

    private CpuBench() {}

    public static void main(String[] args) {
        String what = args.length > 0 ? args[0] : "decode";
        List<String> types = List.of((args.length > 1 ? args[1] : "F16,Q8_0,Q4_0,Q4_K,Q6_K").split(","));
        List<String> threads = List.of((args.length > 2 ? args[2] : "1,2").split(","));
        for (String type : types) {
            for (String count : threads) {
                try (CpuDevice device = new CpuDevice(Integer.parseInt(count), KernelSelection.select())) {
                    GgmlType weightType = GgmlType.valueOf(type);
                    switch (what) {
                        case "decode" -> decode(device, weightType, 1, DECODE_BYTES);
                        case "cached" -> decode(device, weightType, 1, CACHED_BYTES);
                        case "prepare" -> prepare(weightType);
                        case "attention" -> attention(device, weightType);
                        case "batch" -> {
                            for (int rows = 1; rows <= 16; rows *= 2) {
                                decode(device, weightType, rows, DECODE_BYTES);
                            }
                        }
                        case "prefill" -> {
                            int rows = Integer.getInteger("weightRows", 4096);
                            for (String tokens :
                                    System.getProperty("tokens", "512").split(",")) {
                                prefill(device, weightType, rows, Integer.parseInt(tokens));
                            }
                        }
                        default -> throw new IllegalArgumentException(what);
                    }
                }
            }
        }
    }

    private static void decode(CpuDevice device, GgmlType type, int count, long bytes) {
        int rows = (int) (bytes / type.byteSize(COLS)) / 64 * 64;
        Weight weight = weight(device, type, rows, COLS);
        double best = measure(device, weight, count, count);
        double gigabytes = rows * type.byteSize(COLS) / 1e9;
        System.out.printf(
                Locale.ROOT,
                "%-6s decode x%d, %s: %6.2f GB/s, %6.2f G weights/s%n",
                type,
                count,
                device.description(),
                gigabytes / best,
                (double) rows * COLS * count / best / 1e9);
    }

    private static void prepare(GgmlType type) {
        Kernels kernels = KernelSelection.select().kernels();
        ActivationForm form = kernels.activationForm(type, COLS, 1);
        try (NativeMemory memory = NativeMemory.allocate(1 << 20, "activations")) {
            long best = Long.MAX_VALUE;
            for (int i = 0; i < 20_000; i++) {
                long start = System.nanoTime();
                kernels.prepare(form, memory.address(), COLS, 0, 1, memory.address() + (1 << 18));
                best = Math.min(best, System.nanoTime() - start);
            }
            System.out.printf(Locale.ROOT, "%-6s prepare %d columns: %6.2f us%n", form, COLS, best * 1e-3);
        }
    }

    /** One token, 32 heads in 8 groups, 4096 positions of a cache of that type; the rate is that of reading it. */
    private static void attention(CpuDevice device, GgmlType type) {
        AttentionShape shape = new AttentionShape(32, 8, 128, 128, 0.1f, 0, 0);
        int positions = 4096;
        long pageBytes = type.byteSize(256L * 8 * 256);
        List<DeviceBuffer> pages = Stream.generate(() -> device.allocate(pageBytes, "page"))
                .limit(positions / 256)
                .toList();
        KvLayer cache = new KvLayer() {

            @Override
            public GgmlType type() {
                return type;
            }

            @Override
            public int pageTokens() {
                return 256;
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
                return pageBytes / 2;
            }
        };
        DeviceBuffer q = device.allocate(4 * 32 * 128, "q");
        DeviceBuffer out = device.allocate(4 * 32 * 128, "out");
        long best = Long.MAX_VALUE;
        for (int i = 0; i < 1500; i++) {
            long start = now(device);
            device.compute().ops().attention(shape, cache, q, 0, 1, positions - 1, out);
            best = Math.min(best, now(device) - start);
        }
        System.out.printf(
                Locale.ROOT,
                "%-6s attention, %s: best %8.1f us, %6.2f GB/s, %5.1f GFLOP/s%n",
                type,
                device.description(),
                best / 1e3,
                pageBytes * 16.0 / best,
                4.0 * 32 * 128 * positions / best);
    }

    private static void prefill(CpuDevice device, GgmlType type, int rows, int count) {
        Weight weight = weight(device, type, rows, COLS);
        double best = measure(device, weight, 0, count);
        System.out.printf(
                Locale.ROOT,
                "%-6s prefill x%d, %s: %6.1f GFLOP/s, %6.2f G weights/s%n",
                type,
                count,
                device.description(),
                2.0 * rows * COLS * count / best / 1e9,
                (double) rows * COLS / best / 1e9);
    }

    private static double measure(CpuDevice device, Weight weight, int decodeRows, int count) {
        SplittableRandom random = new SplittableRandom(1);
        DeviceBuffer x = TestData.buffer(device, TestData.randomFloats(random, count * COLS));
        DeviceBuffer y = device.allocate(4L * count * weight.rows(), "y");
        Ops ops = device.compute().ops();
        long warmUntil = System.nanoTime() + 1_000_000_000L * Integer.getInteger("warmSeconds", 6);
        do {
            ops.matmul(weight, x, decodeRows, count, y);
        } while (System.nanoTime() < warmUntil);
        int repeats = (int) Math.max(1, (100L << 20) / weight.buffer().byteSize());
        double[] seconds = new double[PASSES];
        for (int i = 0; i < PASSES; i++) {
            long start = now(device);
            for (int j = 0; j < repeats; j++) {
                multiply(ops, weight, x, decodeRows, count, y);
            }
            seconds[i] = (now(device) - start) * 1e-9 / repeats / slowness(device, ops);
        }
        Arrays.sort(seconds);
        return seconds[0];
    }

    /** One product, or with the system property {@code rows} as many as there are parts of so many rows. */
    private static void multiply(Ops ops, Weight weight, DeviceBuffer x, int decodeRows, int count, DeviceBuffer y) {
        long rows = Long.getLong("rows", weight.rows());
        long rowBytes = weight.type().byteSize(weight.cols());
        for (long first = 0; first + rows <= weight.rows(); first += rows) {
            Weight part =
                    new Weight(weight.type(), rows, weight.cols(), weight.buffer(), first * rowBytes, weight.packed());
            ops.matmul(part, x, decodeRows, count, y);
        }
    }

    /** How much longer than on a quiet machine a product takes that depends on nothing but the core. */
    private static double slowness(CpuDevice device, Ops ops) {
        if (!Boolean.getBoolean("normalise")) {
            return 1;
        }
        int side = 128;
        DeviceBuffer buffer =
                REFERENCE.computeIfAbsent(device, d -> d.allocate(4L * side * side + 8L * side, "reference"));
        Weight square = new Weight(GgmlType.F32, side, side, buffer, 0);
        long start = now(device);
        for (int i = 0; i < 4000; i++) {
            ops.matmul(square, buffer, 1, 1, buffer(device, side));
        }
        return (now(device) - start) / (4000 * side * side * 4 / 32.0);
    }

    private static DeviceBuffer buffer(CpuDevice device, int n) {
        return OUT.computeIfAbsent(device, d -> d.allocate(4L * n, "out"));
    }

    private static long now(CpuDevice device) {
        boolean alone = device.description().contains(" 1 threads");
        return alone ? ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime() : System.nanoTime();
    }

    private static Weight weight(CpuDevice device, GgmlType type, int rows, int cols) {
        boolean packs = !Boolean.getBoolean("unpacked");
        return TestData.repeatedRows(device, new SplittableRandom(2), type, rows, cols, packs);
    }
}
