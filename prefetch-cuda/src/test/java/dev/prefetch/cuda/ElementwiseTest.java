package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Rope;
import dev.prefetch.backend.Weight;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.util.EnumSet;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Every operation but products and attention, against the scalar kernels of the CPU. */
class ElementwiseTest {

    private static final float EPSILON = 1e-5f;

    private SimulatedDriver driver;
    private Device cuda;
    private Device cpu;
    private final SplittableRandom random = new SplittableRandom(2026);

    @BeforeEach
    void open() {
        driver = Devices.driver();
        cuda = Devices.cuda();
        cpu = Devices.reference();
    }

    @AfterEach
    void nothingIsFoundAndNothingLeft() {
        cpu.close();
        cuda.close();
        assertThat(driver.findings()).isEmpty();
        assertThat(driver.live()).isEqualTo(SimulatedDriver.Live.NONE);
    }

    private interface InPlace {
        void run(Ops ops, DeviceBuffer x, DeviceBuffer y);
    }

    /** Runs an operation that changes x, reading y, on both devices. The element behind the last must stay. */
    private void compare(int n, float[] x, float[] y, double tolerance, InPlace operation) {
        float[] guarded = java.util.Arrays.copyOf(x, n + 1);
        guarded[n] = 12345;
        float[] expected = runInPlace(cpu, guarded, y, operation);
        float[] actual = runInPlace(cuda, guarded, y, operation);
        for (int i = 0; i < n; i++) {
            assertThat(actual[i]).as("element %d of %d, x %s", i, n, x[i]).isCloseTo(expected[i], within((float)
                    (tolerance * Math.max(1, Math.abs(expected[i])))));
        }
        assertThat(actual[n]).isEqualTo(12345);
    }

    private static float[] runInPlace(Device device, float[] x, float[] y, InPlace operation) {
        try (DeviceBuffer xs = Devices.buffer(device, x);
                DeviceBuffer ys = Devices.buffer(device, y)) {
            operation.run(device.compute().ops(), xs, ys);
            return Devices.read(xs, x.length);
        }
    }

    private float[] wide(int n) {
        float[] values = Devices.randomFloats(random, n);
        for (int i = 0; i < n; i++) {
            values[i] *= i % 7 == 0 ? 40 : 3;
        }
        return values;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 31, 32, 33, 255, 257, 5000})
    void gatesAndSums(int n) {
        float[] x = wide(n);
        float[] y = wide(n);
        compare(n, x, y, 4e-6, (ops, a, b) -> ops.swiGlu(a, b, n));
        compare(n, x, y, 4e-5, (ops, a, b) -> ops.geGlu(a, b, n));
        compare(n, x, y, 4e-6, (ops, a, b) -> ops.clampedSwiGlu(a, b, 1.702f, 7, n));
        compare(n, x, y, 4e-6, (ops, a, b) -> ops.softCap(a, 30, n));
        compare(n, x, y, 0, (ops, a, b) -> ops.scale(a, 1.25f, n));
        compare(n, x, y, 0, (ops, a, b) -> ops.add(a, b, n));
    }

    @Test
    void doesNothingForNoElements() {
        try (DeviceBuffer x = Devices.buffer(cuda, 1, 2)) {
            Ops ops = cuda.compute().ops();
            ops.add(x, x, 0);
            ops.rmsNorm(x, 0, 2, null, EPSILON, x);
            ops.gatherRows(x, new int[0], 0, 2, x);
            ops.addBias(x, 1, null);
            assertThat(Devices.read(x, 2)).containsExactly(1, 2);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 31, 33, 255, 256, 257, 2049})
    void normalises(int dim) {
        int rows = 5;
        float[] x = wide(rows * dim);
        byte[] gainBlocks = Devices.randomBlocks(random, GgmlType.F16, dim);
        for (boolean withGain : new boolean[] {false, true}) {
            float[] expected = normalise(cpu, x, rows, dim, withGain ? gainBlocks : null);
            float[] actual = normalise(cuda, x, rows, dim, withGain ? gainBlocks : null);
            for (int i = 0; i < x.length; i++) {
                assertThat(actual[i])
                        .as("dim %d", dim)
                        .isCloseTo(expected[i], within(Math.abs(expected[i]) * 2e-6f + 1e-6f));
            }
        }
        compare(rows * dim, x, new float[1], 2e-6, (ops, a, b) -> ops.rmsNorm(a, rows, dim, null, EPSILON, a));
    }

    private static float[] normalise(Device device, float[] x, int rows, int dim, byte[] gainBlocks) {
        Weight gain = gainBlocks == null ? null : Devices.weight(device, GgmlType.F16, 1, dim, gainBlocks);
        try (DeviceBuffer in = Devices.buffer(device, x);
                DeviceBuffer out = Devices.poisoned(device, x.length)) {
            device.compute().ops().rmsNorm(in, rows, dim, gain, EPSILON, out);
            return Devices.read(out, x.length);
        } finally {
            if (gain != null) {
                gain.buffer().close();
            }
        }
    }

    @Test
    void aNormalisedRowHasTheSameBitsInEveryBatch() {
        int dim = 300;
        float[] row = wide(dim);
        float[] alone = normalise(cuda, row, 1, dim, null);
        float[] many = wide(4 * dim);
        System.arraycopy(row, 0, many, 2 * dim, dim);
        assertThat(java.util.Arrays.copyOfRange(normalise(cuda, many, 4, dim, null), 2 * dim, 3 * dim))
                .containsExactly(alone);
    }

    @ParameterizedTest
    @EnumSource
    void rotates(Rope.Layout layout) {
        for (int headDim : new int[] {2, 64, 80, 258}) {
            int heads = 3;
            int[] positions = {0, 1, 17, 4095, 131071};
            float[] frequencies = new float[headDim == 80 ? 16 : headDim / 2];
            for (int i = 0; i < frequencies.length; i++) {
                frequencies[i] = (float) Math.pow(10000, -i / (double) frequencies.length);
            }
            Rope rope = new Rope(layout, frequencies, 1.1f);
            int n = positions.length * heads * headDim;
            float[] x = Devices.randomFloats(random, n);
            compare(n, x, new float[1], 1e-6, (ops, a, b) -> {
                ops.rope(a, positions.length, heads, headDim, rope, positions);
            });
            // The table is kept; a prefix of its positions uses it, others do not.
            compare(n, x, new float[1], 1e-6, (ops, a, b) -> {
                ops.rope(a, 2, heads, headDim, rope, positions);
                ops.rope(a, 3, heads, headDim, rope, new int[] {5, 6, 7});
            });
        }
    }

    /** Formats whose elements have an offset; all others are expanded exactly as on the host. */
    private static final Set<GgmlType> MINIMA =
            EnumSet.of(GgmlType.Q4_1, GgmlType.Q5_1, GgmlType.Q2_K, GgmlType.Q4_K, GgmlType.Q5_K);

    @ParameterizedTest
    @MethodSource("dev.prefetch.cuda.MatmulTest#types")
    void expandsRowsOfEveryFormat(GgmlType type) {
        int rows = 9;
        int[] tokens = {3, 8, 0, 3};
        for (int cols : type.blockElements() == 1
                ? new int[] {1, 31, 264, 1025}
                : new int[] {type.blockElements(), 5 * type.blockElements()}) {
            byte[] blocks = Devices.randomBlocks(random, type, (long) rows * cols);
            float[] expected = embed(cpu, type, blocks, rows, cols, tokens);
            float[] actual = embed(cuda, type, blocks, rows, cols, tokens);
            // scale * code - minimum with one rounding instead of two
            float allowed = MINIMA.contains(type) ? 2e-6f : 0;
            for (int i = 0; i < expected.length; i++) {
                assertThat(actual[i]).as("%s, element %d", type, i).isCloseTo(expected[i], within(allowed));
            }
        }
    }

    private static float[] embed(Device device, GgmlType type, byte[] blocks, int rows, int cols, int[] tokens) {
        Weight table = Devices.weight(device, type, rows, cols, blocks);
        try (DeviceBuffer out = Devices.poisoned(device, tokens.length * cols)) {
            device.compute().ops().embed(table, tokens, tokens.length, out);
            return Devices.read(out, tokens.length * cols);
        } finally {
            table.buffer().close();
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = GgmlType.class,
            names = {"F32", "F16", "BF16", "Q8_0"})
    void addsABiasOfAnyFormat(GgmlType type) {
        int cols = 288;
        int rows = 3;
        byte[] blocks = Devices.randomBlocks(random, type, cols);
        float[] y = Devices.randomFloats(random, rows * cols);
        compare(rows * cols, y, new float[1], 1e-6, (ops, a, b) -> {
            Device device = ops == cuda.compute().ops() ? cuda : cpu;
            Weight bias = Devices.weight(device, type, 1, cols, blocks);
            ops.addBias(a, rows, bias);
            bias.buffer().close();
        });
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 33, 257})
    void gathersAndScatters(int dim) {
        int[] rows = {4, 0, 2, 4, 2, 4};
        float[] factors = Devices.randomFloats(random, rows.length);
        float[] x = Devices.randomFloats(random, 6 * dim);
        float[] target = Devices.randomFloats(random, 5 * dim);
        compare(5 * dim, target, x, 2e-6, (ops, a, b) -> ops.scatterAddRows(b, rows, factors, rows.length, dim, a));
        compare(6 * dim, x, target, 0, (ops, a, b) -> ops.gatherRows(b, rows, rows.length, dim, a));
    }

    @Test
    void copiesColumnsAndLeavesTheOthersAlone() {
        for (int width : new int[] {1, 31, 64, 257}) {
            for (int rows : new int[] {1, 5, 700}) {
                int from = width + 3;
                int to = width + 1;
                float[] source = Devices.randomFloats(random, 7 + rows * from);
                float[] target = Devices.randomFloats(random, 5 + rows * to);
                compare(target.length, target, source, 0, (ops, a, b) -> {
                    ops.copyColumns(b, 7, from, a, 5, to, width, rows);
                    // a source that stays where it is, and one row of the target itself
                    ops.copyColumns(b, 0, 0, a, 0, 1, 1, 4);
                    ops.copyColumns(a, 0, 0, a, 4, 0, 1, 1);
                });
            }
        }
    }

    @Test
    void copiesInsideTheDeviceAndFromTheHostInTheOrderOfTheStream() {
        float[] values = Devices.randomFloats(random, 3 << 20);
        try (DeviceBuffer x = Devices.poisoned(cuda, values.length);
                DeviceBuffer y = Devices.poisoned(cuda, values.length)) {
            Map<String, Long> before = driver.calls();
            float[] source = values.clone();
            cuda.compute().upload(MemorySegment.ofArray(source), x, 0);
            java.util.Arrays.fill(source, 0);
            cuda.compute().ops().copy(x, 4, y, 8, 4L * (values.length - 2));
            float[] other = {5, 6};
            for (int i = 0; i < 3; i++) {
                other[0] = i;
                cuda.compute().upload(MemorySegment.ofArray(other), x, 4);
                other[1] = -1;
            }
            cuda.compute().ops().copy(x, 4, y, 0, 8);
            assertThat(driver.calls().getOrDefault("cuStreamSynchronize", 0L))
                    .as("nobody waited for the stream")
                    .isEqualTo(before.getOrDefault("cuStreamSynchronize", 0L));
            float[] result = Devices.read(y, values.length);
            assertThat(result[0]).isEqualTo(2);
            assertThat(result[1]).isEqualTo(-1);
            assertThat(java.util.Arrays.equals(result, 2, values.length, values, 1, values.length - 1))
                    .isTrue();
            Ops ops = cuda.compute().ops();
            assertThatThrownBy(() -> ops.copy(x, 8, y, 0, x.byteSize())).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.copy(x, 0, y, 8, x.byteSize())).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> cuda.compute().upload(MemorySegment.ofArray(other), x, x.byteSize() - 4))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.copyColumns(x, 1, values.length, y, 0, 1, 1, 2))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.copyColumns(x, 0, 1, y, 1, values.length, 1, 2))
                    .isInstanceOf(IndexOutOfBoundsException.class);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 31, 33, 1023, 1024, 5003})
    void findsTheLargest(int n) {
        int rows = 5;
        int stride = n + n % 3;
        float[] x = Devices.randomFloats(random, rows * stride);
        for (int i = 0; i < x.length; i++) {
            // few values, so that many are equal
            x[i] = Math.round(2 * x[i]) / 2f;
        }
        x[0] = Float.NaN;
        x[stride + n / 2] = -Float.NaN;
        x[stride + n - 1] = Float.POSITIVE_INFINITY;
        java.util.Arrays.fill(x, 2 * stride, 3 * stride, Float.NEGATIVE_INFINITY);
        java.util.Arrays.fill(x, 3 * stride, 4 * stride, 0);
        x[3 * stride] = -0f;
        for (int k : new int[] {1, 2, 64}) {
            if (k <= n) {
                Best expected = best(cpu, x, rows, stride, n, k);
                Best actual = best(cuda, x, rows, stride, n, k);
                assertThat(actual.indices).as("n %d, k %d", n, k).containsExactly(expected.indices);
                assertThat(actual.values).as("n %d, k %d", n, k).containsExactly(expected.values);
                assertThat(actual.values[0]).isNaN();
                assertThat(actual.indices[3 * k]).as("zeros of both signs").isZero();
            }
        }
        try (DeviceBuffer buffer = Devices.buffer(cuda, x)) {
            assertThatThrownBy(() -> cuda.compute().ops().topK(buffer, 1, n, n, 65, buffer, buffer))
                    .isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> cuda.compute().ops().topK(buffer, rows + 1, stride, n, 1, buffer, buffer))
                    .isInstanceOf(IndexOutOfBoundsException.class);
        }
    }

    private record Best(float[] values, int[] indices) {}

    private static Best best(Device device, float[] x, int rows, int stride, int n, int k) {
        try (DeviceBuffer in = Devices.buffer(device, x);
                DeviceBuffer values = Devices.poisoned(device, rows * k);
                DeviceBuffer indices = Devices.poisoned(device, rows * k)) {
            device.compute().ops().topK(in, rows, stride, n, k, values, indices);
            int[] places = new int[rows * k];
            indices.download(0, MemorySegment.ofArray(places));
            return new Best(Devices.read(values, rows * k), places);
        }
    }

    @Test
    void manySmallArraysGoThroughTheRingUnharmed() {
        int dim = 3;
        try (DeviceBuffer x = Devices.buffer(cuda, Devices.randomFloats(random, 4000 * dim));
                DeviceBuffer out = cuda.allocate(4L * dim * 4000, "test")) {
            float[] source = Devices.read(x, 4000 * dim);
            for (int round = 0; round < 60; round++) {
                int count = round == 30 ? 4000 : 1 + random.nextInt(3000);
                int[] rows = random.ints(count, 0, 4000).toArray();
                cuda.compute().ops().gatherRows(x, rows, count, dim, out);
                if (round % 10 == 0) {
                    float[] result = Devices.read(out, count * dim);
                    for (int i = 0; i < count * dim; i++) {
                        assertThat(result[i]).isEqualTo(source[rows[i / dim] * dim + i % dim]);
                    }
                }
            }
            int[] many = random.ints(60_000, 0, 4000).toArray();
            try (DeviceBuffer large = cuda.allocate(4L * dim * many.length, "test")) {
                cuda.compute().ops().gatherRows(x, many, many.length, dim, large);
                assertThat(Devices.read(large, many.length * dim)[many.length * dim - 1])
                        .isEqualTo(source[many[many.length - 1] * dim + dim - 1]);
            }
        }
    }

    @Test
    void refusesSizesThatDoNotFit() {
        Ops ops = cuda.compute().ops();
        try (DeviceBuffer x = cuda.allocate(64, "test");
                DeviceBuffer foreign = cpu.allocate(64, "test")) {
            DeviceBuffer closed = cuda.allocate(64, "test");
            closed.close();
            assertThatThrownBy(() -> ops.add(x, x, 17)).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.add(x, x, -1)).isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> ops.add(x, foreign, 1)).hasMessageContaining("not a buffer of this CUDA device");
            assertThatThrownBy(() -> ops.add(x, closed, 1)).hasMessageContaining("closed");
            assertThatThrownBy(() -> ops.gatherRows(x, new int[] {16}, 1, 1, x))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.softCap(x, 0, 1)).isInstanceOf(IllegalArgumentException.class);
            Weight table = new Weight(GgmlType.F32, 2, 2, x, 0);
            assertThatThrownBy(() -> ops.embed(table, new int[] {2}, 1, x))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.matmul(new Weight(GgmlType.I8, 2, 2, x, 0), x, 0, 1, x))
                    .hasMessageContaining("I8");
            assertThatThrownBy(() -> ops.matmul(new Weight(GgmlType.F32, 2, 2, x, 2), x, 0, 1, x))
                    .hasMessageContaining("multiple of 4");
        }
    }
}
