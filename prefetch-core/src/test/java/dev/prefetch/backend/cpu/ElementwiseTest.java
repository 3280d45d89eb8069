package dev.prefetch.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Rope;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Everything of {@link Ops} that is neither a matrix product nor attention, against double precision. */
class ElementwiseTest {

    private static final int[] SIZES = {1, 4, 6, 8, 13, 31, 33, 64, 255, 4098};

    static List<Kernels> kernelSets() {
        return TestData.kernelSets();
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void rmsNormDividesByTheRootMeanSquare(Kernels kernels) {
        SplittableRandom random = new SplittableRandom(1);
        try (CpuDevice device = TestData.device(kernels, 2)) {
            for (int dim : SIZES) {
                for (GgmlType gainType : List.of(GgmlType.F32, GgmlType.F16)) {
                    float[] x = TestData.randomFloats(random, 3 * dim);
                    Weight gain = TestData.randomWeight(device, random, gainType, 1, dim);
                    DeviceBuffer data = TestData.buffer(device, x);
                    DeviceBuffer out = device.allocate(12L * dim, "out");
                    device.compute().ops().rmsNorm(data, 3, dim, gain, 1e-5f, out);
                    device.compute().ops().rmsNorm(data, 3, dim, null, 1e-5f, data);
                    float[] g = TestData.expand(gain);
                    float[] plain = TestData.read(data, 3 * dim);
                    float[] scaled = TestData.read(out, 3 * dim);
                    for (int i = 0; i < 3 * dim; i += dim > 255 ? 97 : 1) {
                        double expected = normalised(x, i / dim, dim, i % dim);
                        assertThat((double) plain[i])
                                .as("element %d of %d", i, dim)
                                .isCloseTo(expected, within(1e-6 * Math.abs(expected)));
                        expected *= g[i % dim];
                        assertThat((double) scaled[i]).isCloseTo(expected, within(1e-6 * Math.abs(expected)));
                    }
                }
            }
        }
    }

    private static double normalised(float[] x, int row, int dim, int i) {
        double squares = 0;
        for (int j = 0; j < dim; j++) {
            squares += (double) x[row * dim + j] * x[row * dim + j];
        }
        return x[row * dim + i] / Math.sqrt(squares / dim + 1e-5);
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void layerNormDividesDeviationsByTheirRootMeanSquare(Kernels kernels) {
        SplittableRandom random = new SplittableRandom(8);
        try (CpuDevice device = TestData.device(kernels, 2)) {
            for (int dim : SIZES) {
                for (GgmlType type : List.of(GgmlType.F32, GgmlType.F16)) {
                    float[] x = TestData.randomFloats(random, 3 * dim);
                    for (int i = 0; i < x.length; i++) {
                        // Far from zero, where a variance from the mean of squares would be lost.
                        x[i] += 50;
                    }
                    Weight gain = TestData.randomWeight(device, random, type, 1, dim);
                    Weight bias = TestData.randomWeight(device, random, type, 1, dim);
                    DeviceBuffer data = TestData.buffer(device, x);
                    DeviceBuffer out = device.allocate(12L * dim, "out");
                    device.compute().ops().layerNorm(data, 3, dim, gain, bias, 1e-3f, out);
                    device.compute().ops().layerNorm(data, 3, dim, gain, bias, 1e-3f, data);
                    float[] result = TestData.read(out, 3 * dim);
                    assertThat(TestData.read(data, 3 * dim)).as("in place").isEqualTo(result);
                    float[] g = TestData.expand(gain);
                    float[] b = TestData.expand(bias);
                    for (int i = 0; i < 3 * dim; i += dim > 255 ? 97 : 1) {
                        double expected = layerNormalised(x, i / dim, dim, i % dim) * g[i % dim] + b[i % dim];
                        assertThat((double) result[i])
                                .as("element %d of %d", i, dim)
                                .isCloseTo(expected, within(3e-5 * (1 + Math.abs(g[i % dim]))));
                    }
                }
            }
        }
    }

    private static double layerNormalised(float[] x, int row, int dim, int i) {
        double mean = 0;
        for (int j = 0; j < dim; j++) {
            mean += x[row * dim + j] / (double) dim;
        }
        double variance = 0;
        for (int j = 0; j < dim; j++) {
            variance += Math.pow(x[row * dim + j] - mean, 2) / dim;
        }
        return (x[row * dim + i] - mean) / Math.sqrt(variance + 1e-3);
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void layerNormRefusesVectorsThatDoNotFit(Kernels kernels) {
        SplittableRandom random = new SplittableRandom(9);
        try (CpuDevice device = TestData.device(kernels, 1)) {
            Ops ops = device.compute().ops();
            DeviceBuffer x = device.allocate(4 * 64, "x");
            Weight fits = TestData.randomWeight(device, random, GgmlType.F32, 1, 32);
            Weight longer = TestData.randomWeight(device, random, GgmlType.F32, 1, 33);
            assertThatThrownBy(() -> ops.layerNorm(x, 2, 32, longer, fits, 0, x))
                    .hasMessageContaining("gain");
            assertThatThrownBy(() -> ops.layerNorm(x, 2, 32, fits, longer, 0, x))
                    .hasMessageContaining("bias");
            assertThatThrownBy(() -> ops.layerNorm(x, 3, 32, fits, fits, 0, x))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.gelu(x, 65)).isInstanceOf(IndexOutOfBoundsException.class);
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void geluIsTheApproximationByTheHyperbolicTangentWhereverAnElementStands(Kernels kernels) {
        SplittableRandom random = new SplittableRandom(10);
        try (CpuDevice device = TestData.device(kernels, 3)) {
            for (int n : new int[] {1, 13, 31, 255, 100_003}) {
                float[] x = TestData.randomFloats(random, n);
                x[0] = -30;
                x[n - 1] = 0.7f;
                DeviceBuffer data = TestData.buffer(device, x);
                device.compute().ops().gelu(data, n);
                float[] result = TestData.read(data, n);
                for (int i = 0; i < n; i += i < 100 || i > n - 100 ? 1 : 997) {
                    double v = x[i];
                    double expected = 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v)));
                    assertThat((double) result[i]).isCloseTo(expected, within(1e-6 * Math.abs(v) + 1e-30));
                    DeviceBuffer one = TestData.buffer(device, x[i]);
                    device.compute().ops().gelu(one, 1);
                    assertThat(TestData.read(one, 1)[0]).as("element %d", i).isEqualTo(result[i]);
                    one.close();
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void ropeRotatesPairsByPosition(Kernels kernels) {
        SplittableRandom random = new SplittableRandom(2);
        try (CpuDevice device = TestData.device(kernels, 2)) {
            for (Rope.Layout layout : Rope.Layout.values()) {
                for (int[] dims : new int[][] {{64, 64}, {128, 64}, {10, 6}, {26, 26}}) {
                    rotateAndCheck(device, random, layout, dims[0], dims[1]);
                }
            }
        }
    }

    private static void rotateAndCheck(
            CpuDevice device, SplittableRandom random, Rope.Layout layout, int headDim, int rotated) {
        int heads = 3;
        int[] positions = {0, 1, 77, 131_071, 5};
        int pairs = rotated / 2;
        float[] frequencies = new float[pairs];
        for (int i = 0; i < pairs; i++) {
            frequencies[i] = (float) Math.pow(10_000, -2.0 * i / rotated);
        }
        Rope rope = new Rope(layout, frequencies, 1.25f);
        float[] x = TestData.randomFloats(random, positions.length * heads * headDim);
        DeviceBuffer data = TestData.buffer(device, x);
        device.compute().ops().rope(data, positions.length, heads, headDim, rope, positions);
        float[] y = TestData.read(data, x.length);
        for (int row = 0; row < positions.length * heads; row++) {
            for (int i = 0; i < pairs; i++) {
                int a = row * headDim + (layout == Rope.Layout.HALVES ? i : 2 * i);
                int b = layout == Rope.Layout.HALVES ? a + pairs : a + 1;
                double angle = (double) positions[row / heads] * frequencies[i];
                assertThat((double) y[a])
                        .isCloseTo(1.25 * (x[a] * Math.cos(angle) - x[b] * Math.sin(angle)), within(2e-6));
                assertThat((double) y[b])
                        .isCloseTo(1.25 * (x[a] * Math.sin(angle) + x[b] * Math.cos(angle)), within(2e-6));
            }
            for (int i = rotated; i < headDim; i++) {
                assertThat(y[row * headDim + i]).isEqualTo(x[row * headDim + i]);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void ropeTablesFollowThePositions(Kernels kernels) {
        SplittableRandom random = new SplittableRandom(3);
        Rope first = new Rope(Rope.Layout.HALVES, new float[] {1, 0.1f}, 1);
        Rope second = new Rope(Rope.Layout.ADJACENT, new float[] {0.5f, 0.2f}, 1);
        Rope third = new Rope(Rope.Layout.HALVES, new float[] {0.3f, 0.7f}, 1);
        float[] x = TestData.randomFloats(random, 4);
        try (CpuDevice device = TestData.device(kernels, 1)) {
            for (int round = 0; round < 20; round++) {
                Rope rope = List.of(first, second, third).get(random.nextInt(3));
                int position = random.nextInt(3);
                try (CpuDevice fresh = TestData.device(kernels, 1)) {
                    assertThat(rotated(device, rope, x, position)).isEqualTo(rotated(fresh, rope, x, position));
                }
            }
        }
    }

    private static float[] rotated(CpuDevice device, Rope rope, float[] x, int position) {
        DeviceBuffer data = TestData.buffer(device, x);
        device.compute().ops().rope(data, 1, 1, 4, rope, new int[] {position});
        return TestData.read(data, 4);
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void swiGluIsSiluTimesUp(Kernels kernels) {
        float[] gate = {0, -0f, 1, -1, 20, -20, 88, -88, 200, -200, 1e-30f, 0.3f, Float.NaN};
        float[] up = new float[gate.length];
        Arrays.fill(up, -3);
        try (CpuDevice device = TestData.device(kernels, 1)) {
            DeviceBuffer g = TestData.buffer(device, gate);
            device.compute().ops().swiGlu(g, TestData.buffer(device, up), gate.length);
            float[] result = TestData.read(g, gate.length);
            for (int i = 0; i < gate.length - 1; i++) {
                double expected = -3 * gate[i] / (1 + Math.exp(-gate[i]));
                assertThat((double) result[i]).isCloseTo(expected, within(1e-6 * Math.abs(expected) + 1e-30));
            }
            assertThat(result[gate.length - 1]).isNaN();
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void bitsOfSwiGluDependNeitherOnThePlaceNorOnTheThreads(Kernels kernels) {
        SplittableRandom random = new SplittableRandom(4);
        int n = 100_003;
        float[] gate = TestData.randomFloats(random, n);
        float[] up = TestData.randomFloats(random, n);
        try (CpuDevice device = TestData.device(kernels, 3)) {
            DeviceBuffer g = TestData.buffer(device, gate);
            device.compute().ops().swiGlu(g, TestData.buffer(device, up), n);
            float[] together = TestData.read(g, n);
            for (int i = 0; i < n; i += i < 100 || i > n - 100 ? 1 : 997) {
                DeviceBuffer one = TestData.buffer(device, gate[i]);
                device.compute().ops().swiGlu(one, TestData.buffer(device, up[i]), 1);
                assertThat(TestData.read(one, 1)[0]).as("element %d", i).isEqualTo(together[i]);
                one.close();
            }
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void addsElementsBiasesAndScaledRows(Kernels kernels) {
        SplittableRandom random = new SplittableRandom(5);
        try (CpuDevice device = TestData.device(kernels, 2)) {
            Ops ops = device.compute().ops();
            for (int n : SIZES) {
                float[] x = TestData.randomFloats(random, 2 * n);
                float[] y = TestData.randomFloats(random, 2 * n);
                DeviceBuffer sum = TestData.buffer(device, x);
                DeviceBuffer added = TestData.buffer(device, y);
                ops.add(sum, added, 2 * n);
                Weight bias = new Weight(GgmlType.F32, 1, n, added, 0);
                ops.addBias(sum, 2, bias);
                ops.scatterAddRows(added, new int[] {1, 1}, new float[] {0.5f, -2}, 2, n, sum);
                float[] result = TestData.read(sum, 2 * n);
                for (int i = 0; i < 2 * n; i++) {
                    float expected = x[i] + y[i] + y[i % n];
                    if (i >= n) {
                        expected += 0.5f * y[i - n];
                        expected += -2 * y[i];
                    }
                    assertThat(result[i]).isEqualTo(expected);
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void scatterAddCoversWideRowsInParallel(Kernels kernels) {
        int dim = 5000;
        int count = 40;
        float[] x = new float[count * dim];
        Arrays.fill(x, 1);
        int[] rows = new int[count];
        float[] factors = new float[count];
        for (int i = 0; i < count; i++) {
            rows[i] = i % 3;
            factors[i] = i;
        }
        try (CpuDevice device = TestData.device(kernels, 3)) {
            DeviceBuffer target = device.allocate(12L * dim, "target");
            device.compute().ops().scatterAddRows(TestData.buffer(device, x), rows, factors, count, dim, target);
            float[] result = TestData.read(target, 3 * dim);
            assertThat(Arrays.copyOfRange(result, 0, dim)).containsOnly(273);
            assertThat(Arrays.copyOfRange(result, dim, 2 * dim)).containsOnly(247);
            assertThat(Arrays.copyOfRange(result, 2 * dim, 3 * dim)).containsOnly(260);
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void embedAndGatherTakeRowsInAnyOrder(Kernels kernels) {
        SplittableRandom random = new SplittableRandom(6);
        try (CpuDevice device = TestData.device(kernels, 2)) {
            Ops ops = device.compute().ops();
            for (GgmlType type : ScalarDequantizer.TYPES) {
                Weight table = TestData.randomWeight(device, random, type, 5, 256);
                DeviceBuffer out = device.allocate(4 * 3 * 256, "out");
                ops.embed(table, new int[] {4, 0, 4, 9}, 3, out);
                float[] all = TestData.expand(table);
                float[] expected = new float[3 * 256];
                System.arraycopy(all, 4 * 256, expected, 0, 256);
                System.arraycopy(all, 0, expected, 256, 256);
                System.arraycopy(all, 4 * 256, expected, 512, 256);
                float[] rows = TestData.read(out, 3 * 256);
                for (int i = 0; i < rows.length; i++) {
                    // Not by bits: kernels may differ in the sign of a zero.
                    assertThat(rows[i] == expected[i])
                            .as("%s, element %d", type, i)
                            .isTrue();
                }
                DeviceBuffer gathered = device.allocate(4 * 256, "gathered");
                ops.gatherRows(out, new int[] {1}, 1, 256, gathered);
                assertThat(TestData.read(gathered, 256)).isEqualTo(Arrays.copyOfRange(rows, 256, 512));
            }
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void refusesSizesThatDoNotFit(Kernels kernels) {
        try (CpuDevice device = TestData.device(kernels, 1)) {
            Ops ops = device.compute().ops();
            DeviceBuffer small = device.allocate(64, "small");
            Rope rope = new Rope(Rope.Layout.HALVES, new float[4], 1);
            Weight table = new Weight(GgmlType.F32, 2, 8, small, 0);
            assertOutOfBounds(() -> ops.add(small, small, 17));
            assertOutOfBounds(() -> ops.swiGlu(small, device.allocate(32, "up"), 16));
            assertOutOfBounds(() -> ops.rmsNorm(small, 3, 8, null, 0, small));
            assertOutOfBounds(() -> ops.rope(small, 2, 1, 16, rope, new int[] {0, 1}));
            assertOutOfBounds(() -> ops.rope(small, 2, 1, 8, rope, new int[] {0}));
            assertOutOfBounds(() -> ops.embed(table, new int[] {2}, 1, device.allocate(64, "out")));
            assertOutOfBounds(() -> ops.embed(table, new int[] {-1}, 1, device.allocate(64, "out")));
            assertOutOfBounds(() -> ops.gatherRows(small, new int[] {2}, 1, 8, device.allocate(64, "out")));
            assertOutOfBounds(
                    () -> ops.scatterAddRows(small, new int[] {2}, new float[1], 1, 8, device.allocate(64, "out")));
            assertOutOfBounds(() -> ops.addBias(small, 3, new Weight(GgmlType.F32, 1, 8, small, 0)));
            assertThatThrownBy(() -> ops.rope(small, 1, 2, 4, rope, new int[] {0}))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("8 rotated");
            assertThatThrownBy(() -> ops.add(small, small, -1)).isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> ops.rmsNorm(small, 1, 4, table, 0, small))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("2 x 8");
        }
    }

    private static void assertOutOfBounds(org.assertj.core.api.ThrowableAssert.ThrowingCallable call) {
        assertThatThrownBy(call).isInstanceOf(IndexOutOfBoundsException.class);
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void copyColumnsLeavesTheOthersAlone(Kernels kernels) {
        try (CpuDevice device = TestData.device(kernels, 2)) {
            Ops ops = device.compute().ops();
            DeviceBuffer source = TestData.buffer(device, new float[] {0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
            DeviceBuffer target = TestData.buffer(device, new float[8]);
            ops.copyColumns(source, 1, 4, target, 2, 3, 2, 2);
            assertThat(TestData.read(target, 8)).containsExactly(0, 0, 1, 2, 0, 5, 6, 0);
            ops.copyColumns(source, 9, 0, target, 0, 7, 1, 2);
            assertThat(TestData.read(target, 8)).containsExactly(9, 0, 1, 2, 0, 5, 6, 9);
            ops.copyColumns(source, 0, 1, target, 0, 1, 1, 0);
            assertOutOfBounds(() -> ops.copyColumns(source, 1, 4, target, 2, 3, 2, 3));
            assertOutOfBounds(() -> ops.copyColumns(source, 0, 2, target, 4, 3, 2, 2));
            assertOutOfBounds(() -> ops.copyColumns(source, -1, 2, target, 0, 3, 2, 2));
            assertOutOfBounds(() -> ops.copyColumns(source, 0, 2, target, 0, -3, 2, 2));
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void copiesBytesWithinTheirRanges(Kernels kernels) {
        try (CpuDevice device = TestData.device(kernels, 1)) {
            Ops ops = device.compute().ops();
            DeviceBuffer source = TestData.buffer(device, new float[] {0, 1, 2, 3});
            DeviceBuffer target = TestData.buffer(device, new float[3]);
            ops.copy(source, 4, target, 0, 8);
            ops.copy(target, 0, target, 8, 4);
            assertThat(TestData.read(target, 3)).containsExactly(1, 2, 1);
            assertOutOfBounds(() -> ops.copy(source, 12, target, 0, 8));
            assertOutOfBounds(() -> ops.copy(source, 0, target, 8, 8));
            assertOutOfBounds(() -> ops.copy(source, -4, target, 0, 4));
            assertOutOfBounds(() -> ops.copy(source, 0, target, 0, -4));
        }
    }
}
