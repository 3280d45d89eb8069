package dev.prefetch.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.DoubleBinaryOperator;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The operations that only some architectures need, against double precision. */
class ArchitectureOpsTest {

    private static final int[] SIZES = {1, 4, 6, 8, 13, 31, 33, 64, 255, 4098, 70_000};

    private interface Gate {
        void run(Ops ops, DeviceBuffer gate, DeviceBuffer up, long n);
    }

    static List<Kernels> kernelSets() {
        return TestData.kernelSets();
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void geGluGatesByTheTanhApproximation(Kernels kernels) {
        check(
                kernels,
                Ops::geGlu,
                (g, u) -> 0.5 * g * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (g + 0.044715 * g * g * g))) * u);
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void clampedSwiGluClampsAndAddsOne(Kernels kernels) {
        check(kernels, (ops, gate, up, n) -> ops.clampedSwiGlu(gate, up, 1.702f, 7, n), (g, u) -> {
            double clamped = Math.min(g, 7);
            return clamped / (1 + Math.exp(-1.702 * clamped)) * (Math.clamp(u, -7, 7) + 1);
        });
    }

    private static void check(Kernels kernels, Gate operation, DoubleBinaryOperator expected) {
        SplittableRandom random = new SplittableRandom(11);
        try (CpuDevice device = TestData.device(kernels, 2)) {
            Ops ops = device.compute().ops();
            for (int n : SIZES) {
                float[] gate = TestData.randomFloats(random, n);
                float[] up = TestData.randomFloats(random, n);
                for (int i = 0; i < n; i += 3) {
                    gate[i] *= 8;
                    up[i] *= 8;
                }
                gate[n / 2] = n % 2 == 0 ? 100 : -100;
                DeviceBuffer data = TestData.buffer(device, gate);
                operation.run(ops, data, TestData.buffer(device, up), n);
                float[] actual = TestData.read(data, n);
                for (int i = 0; i < n; i++) {
                    double exact = expected.applyAsDouble(gate[i], up[i]);
                    assertThat((double) actual[i])
                            .as("%s and %s, element %d of %d", gate[i], up[i], i, n)
                            .isCloseTo(exact, within(1e-6 + 3e-6 * Math.abs(exact)));
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void gatesGiveAnElementTheSameBitsWhereverItStands(Kernels kernels) {
        SplittableRandom random = new SplittableRandom(12);
        int n = 67;
        float[] gate = TestData.randomFloats(random, n);
        float[] up = TestData.randomFloats(random, n);
        Gate clamped = (ops, g, u, count) -> ops.clampedSwiGlu(g, u, 1.702f, 7, count);
        try (CpuDevice device = TestData.device(kernels, 1)) {
            for (Gate gateOperation : List.of((Gate) Ops::geGlu, clamped)) {
                float[] whole = run(device, gateOperation, gate, up);
                for (int from = 1; from < 9; from++) {
                    float[] part = run(
                            device, gateOperation, Arrays.copyOfRange(gate, from, n), Arrays.copyOfRange(up, from, n));
                    assertThat(part).isEqualTo(Arrays.copyOfRange(whole, from, n));
                }
            }
        }
    }

    private static float[] run(CpuDevice device, Gate operation, float[] gate, float[] up) {
        DeviceBuffer data = TestData.buffer(device, gate);
        operation.run(device.compute().ops(), data, TestData.buffer(device, up), gate.length);
        return TestData.read(data, gate.length);
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void scalesAndCaps(Kernels kernels) {
        SplittableRandom random = new SplittableRandom(13);
        try (CpuDevice device = TestData.device(kernels, 2)) {
            Ops ops = device.compute().ops();
            for (int n : SIZES) {
                float[] x = TestData.randomFloats(random, n);
                float behind = 123;
                DeviceBuffer data = TestData.buffer(device, Arrays.copyOf(x, n + 16));
                data.upload(java.lang.foreign.MemorySegment.ofArray(new float[] {behind}), 4L * n);
                ops.scale(data, 40, n);
                float[] scaled = TestData.read(data, n);
                ops.softCap(data, 30, n);
                assertThat(TestData.read(data, n + 1)[n])
                        .as("what lies behind %d", n)
                        .isEqualTo(behind);
                float[] capped = TestData.read(data, n);
                for (int i = 0; i < n; i++) {
                    assertThat(scaled[i]).isEqualTo(x[i] * 40);
                    assertThat((double) capped[i]).isCloseTo(30 * Math.tanh(scaled[i] / 30.0), within(1e-5));
                }
            }
            DeviceBuffer tight = device.allocate(4 * 9, "x");
            assertThatThrownBy(() -> ops.softCap(tight, 30, 10)).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.softCap(tight, 0, 8)).isInstanceOf(IllegalArgumentException.class);
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void sinksTakeTheirPartOfTheSoftmax(Kernels kernels) {
        for (GgmlType type : KvPages.TYPES) {
            sinksTakeTheirPartOfTheSoftmax(
                    kernels, type, type == GgmlType.Q8_0 ? 32 : 24, type == GgmlType.Q8_0 ? 64 : 16);
        }
    }

    private static void sinksTakeTheirPartOfTheSoftmax(Kernels kernels, GgmlType type, int keyDim, int valueDim) {
        int length = 150;
        for (int window : new int[] {0, 40}) {
            for (GgmlType sinkType : List.of(GgmlType.F32, GgmlType.F16)) {
                AttentionShape shape = new AttentionShape(4, 2, keyDim, valueDim, 0.2f, 0, window);
                SplittableRandom random = new SplittableRandom(14);
                float[] q = TestData.randomFloats(random, length * 4 * keyDim);
                float[] k = TestData.randomFloats(random, length * 2 * keyDim);
                float[] v = TestData.randomFloats(random, length * 2 * valueDim);
                try (CpuDevice device = TestData.device(kernels, 2)) {
                    Weight sinks = TestData.randomWeight(device, random, sinkType, 1, 4);
                    float[] scores = TestData.expand(sinks);
                    float[] actual = attention(device, shape, type, q, k, v, sinks, length);
                    float[] keptK = TestData.keptAs(type, k);
                    float[] keptV = TestData.keptAs(type, v);
                    for (int row = 0; row < length; row++) {
                        for (int head = 0; head < 4; head++) {
                            double[] expected = formula(shape, q, keptK, keptV, row, head, scores[head]);
                            for (int d = 0; d < valueDim; d++) {
                                assertThat((double) actual[(row * 4 + head) * valueDim + d])
                                        .as("row %d, head %d", row, head)
                                        .isCloseTo(expected[d], within(3e-6));
                            }
                        }
                    }
                }
            }
        }
    }

    private static float[] attention(
            CpuDevice device,
            AttentionShape shape,
            GgmlType type,
            float[] q,
            float[] k,
            float[] v,
            Weight sinks,
            int length) {
        int pageTokens = 64;
        long keyBytes = type.byteSize((long) pageTokens * shape.kvHeads() * shape.keyDim());
        long valueBytes = type.byteSize((long) pageTokens * shape.kvHeads() * shape.valueDim());
        List<DeviceBuffer> pages = java.util.stream.IntStream.range(0, Math.ceilDiv(length, pageTokens))
                .mapToObj(i -> device.allocate(keyBytes + valueBytes, "page"))
                .toList();
        KvLayer cache = new KvLayer() {

            @Override
            public GgmlType type() {
                return type;
            }

            @Override
            public int pageTokens() {
                return pageTokens;
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
                return keyBytes;
            }
        };
        Ops ops = device.compute().ops();
        ops.storeKv(shape, cache, TestData.buffer(device, k), TestData.buffer(device, v), 0, length, 0);
        DeviceBuffer out = device.allocate(4L * length * shape.heads() * shape.valueDim(), "out");
        ops.attentionWithSinks(shape, cache, TestData.buffer(device, q), sinks, 0, length, 0, out);
        return TestData.read(out, length * shape.heads() * shape.valueDim());
    }

    private static double[] formula(
            AttentionShape shape, float[] q, float[] k, float[] v, int row, int head, double sink) {
        int kvHead = head / (shape.heads() / shape.kvHeads());
        int from = shape.window() == 0 ? 0 : Math.max(0, row - shape.window() + 1);
        double total = Math.exp(sink);
        double[] result = new double[shape.valueDim()];
        for (int j = from; j <= row; j++) {
            double score = 0;
            for (int d = 0; d < shape.keyDim(); d++) {
                score += (double) q[(row * shape.heads() + head) * shape.keyDim() + d]
                        * k[(j * shape.kvHeads() + kvHead) * shape.keyDim() + d];
            }
            double weight = Math.exp(score * shape.scale());
            total += weight;
            for (int d = 0; d < result.length; d++) {
                result[d] += weight * v[(j * shape.kvHeads() + kvHead) * shape.valueDim() + d];
            }
        }
        for (int d = 0; d < result.length; d++) {
            result[d] /= total;
        }
        return result;
    }
}
