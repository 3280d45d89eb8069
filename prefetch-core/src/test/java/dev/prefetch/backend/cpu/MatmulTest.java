package dev.prefetch.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.fail;
import static org.assertj.core.api.Assertions.within;
import static org.assertj.core.api.Assertions.withinPercentage;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Products against sums in double precision, and the promise that the bits of a row do not depend on the batch. */
class MatmulTest {

    private static final int[] ROWS = {1, 4, 6, 13, 31, 33};
    private static final int[] COLS = {32, 96, 256, 768, 4096};
    private static final int[] COUNTS = {1, 2, 3, 7, 8, 15, 16, 17, 33, 64};

    static Stream<GgmlType> types() {
        return ScalarDequantizer.TYPES.stream();
    }

    @ParameterizedTest
    @MethodSource("types")
    void everyShapeIsWithinRoundingOfTheExactProduct(GgmlType type) {
        SplittableRandom random = new SplittableRandom(type.id());
        for (Kernels kernels : TestData.kernelSets()) {
            try (CpuDevice device = TestData.device(kernels, 2)) {
                for (int rows : ROWS) {
                    for (int cols : COLS) {
                        if (cols % type.blockElements() == 0) {
                            int count = COUNTS[random.nextInt(COUNTS.length)];
                            int decodeRows = random.nextInt(count + 1);
                            check(device, random, type, rows, cols, decodeRows, count);
                        }
                    }
                }
                check(device, random, type, 512, 512, 1, 17);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("types")
    void everyCountIsWithinRoundingOfTheExactProduct(GgmlType type) {
        SplittableRandom random = new SplittableRandom(100 + type.id());
        for (Kernels kernels : TestData.kernelSets()) {
            try (CpuDevice device = TestData.device(kernels, 3)) {
                for (int count : COUNTS) {
                    check(device, random, type, 13, 512, 0, count);
                    check(device, random, type, 13, 512, count, count);
                }
                check(device, random, type, 7, 256, 2, 600);
            }
        }
    }

    /** Rows for a pass over several at a time and a rest, columns for whole vectors and a rest. */
    @ParameterizedTest
    @MethodSource("types")
    void smallShapesAreWithinRoundingOfTheExactProduct(GgmlType type) {
        SplittableRandom random = new SplittableRandom(300 + type.id());
        for (Kernels kernels : TestData.kernelSets()) {
            try (CpuDevice device = TestData.device(kernels, 1)) {
                check(device, random, type, 19, 256, 2, 3);
                if (type.blockElements() <= 32) {
                    check(device, random, type, 5, 160, 1, 2);
                }
            }
        }
    }

    private static void check(
            CpuDevice device, SplittableRandom random, GgmlType type, int rows, int cols, int decodeRows, int count) {
        Weight weight = TestData.randomWeight(device, random, type, rows, cols);
        float[] x = TestData.randomFloats(random, count * cols);
        float[] y = product(device, weight, x, decodeRows, count);
        float[] w = TestData.expand(weight);
        boolean vector = device.description().contains("vector");
        LaneFormat format = LaneFormat.of(type);
        boolean integerDecode = vector && format != null;
        boolean integers = integerDecode && format.manyRows();
        for (int t = 0; t < count; t++) {
            float[] row = Arrays.copyOfRange(x, t * cols, (t + 1) * cols);
            double[] seen = integers || integerDecode && t < decodeRows ? quantized(row, type) : exact(row);
            for (int r = 0; r < rows; r++) {
                double sum = 0;
                double magnitude = 0;
                for (int i = 0; i < cols; i++) {
                    double term = w[r * cols + i] * seen[i];
                    sum += term;
                    magnitude += Math.abs(term);
                }
                // Minima and zero points are summed apart, so their magnitude counts beside that of the result.
                double tolerance = 1e-6 * magnitude + 1e-6 * norm(row) * largest(w, r, cols);
                double error = Math.abs(y[t * rows + r] - sum);
                // Not an assertion per element: describing a million of them takes longer than the products.
                if (!(error <= tolerance)) {
                    fail(
                            "%s %dx%d, row %d of %d (%d decode), output %d by %s: %s instead of %s, tolerance %s",
                            type,
                            rows,
                            cols,
                            t,
                            count,
                            decodeRows,
                            r,
                            device.description(),
                            y[t * rows + r],
                            sum,
                            tolerance);
                }
            }
        }
    }

    private static double norm(float[] x) {
        double sum = 0;
        for (float v : x) {
            sum += (double) v * v;
        }
        return Math.sqrt(sum) * Math.sqrt(x.length) / 8;
    }

    private static double largest(float[] w, int row, int cols) {
        return IntStream.range(0, cols)
                .mapToDouble(i -> Math.abs(w[row * cols + i]))
                .max()
                .orElseThrow();
    }

    private static double[] exact(float[] x) {
        return IntStream.range(0, x.length).mapToDouble(i -> x[i]).toArray();
    }

    /** Integers with one scale per group of the weights' format, rounded half away from zero. */
    private static double[] quantized(float[] x, GgmlType type) {
        int block = type == GgmlType.Q6_K ? 16 : 32;
        double[] result = new double[x.length];
        for (int b = 0; b < x.length; b += block) {
            float[] values = Arrays.copyOfRange(x, b, b + block);
            float size = type == GgmlType.Q8_0 ? largest(values) : mean(values);
            float most = type == GgmlType.Q8_0 ? 127 : (32767 / centre(type) - block / 2) / 32f;
            float inverse = size == 0 ? 0 : most / size;
            for (int i = 0; i < block; i++) {
                float scaled = values[i] * inverse;
                result[b + i] = (double) (size / most) * (int) (scaled + Math.copySign(0.5f, scaled));
            }
        }
        return result;
    }

    private static int centre(GgmlType type) {
        return switch (type) {
            case Q4_0, Q4_K -> 8;
            case Q5_K -> 16;
            case Q6_K -> 32;
            default -> throw new IllegalArgumentException(type + " has no centre");
        };
    }

    private static float largest(float[] x) {
        return (float) largest(x, 0, x.length);
    }

    /** A 32nd of the sum of magnitudes, in the order of vectors: every lane by itself, then halves of the lanes with each other. */
    private static float mean(float[] x) {
        float[] lanes = new float[Vectors.LANES];
        for (int i = 0; i < x.length; i++) {
            int lane = i % lanes.length;
            lanes[lane] = Math.fma(Math.abs(x[i]), 1f / 32, lanes[lane]);
        }
        for (int half = lanes.length / 2; half > 0; half /= 2) {
            for (int i = 0; i < half; i++) {
                lanes[i] += lanes[i + half];
            }
        }
        return lanes[0];
    }

    private static float[] product(CpuDevice device, Weight weight, float[] x, int decodeRows, int count) {
        int rows = (int) weight.rows();
        try (DeviceBuffer in = TestData.buffer(device, x);
                DeviceBuffer out = device.allocate(4L * count * rows, "y")) {
            device.compute().ops().matmul(weight, in, decodeRows, count, out);
            return TestData.read(out, count * rows);
        }
    }

    @ParameterizedTest
    @MethodSource("types")
    void bitsOfARowDependNeitherOnTheBatchNorOnTheThreads(GgmlType type) {
        SplittableRandom random = new SplittableRandom(200 + type.id());
        int rows = 37;
        int cols = 768;
        float[] x = TestData.randomFloats(random, 37 * cols);
        for (Kernels kernels : TestData.kernelSets()) {
            try (CpuDevice device = TestData.device(kernels, 1);
                    CpuDevice parallel = TestData.device(kernels, 4)) {
                SplittableRandom seed = new SplittableRandom(type.id());
                Weight weight = TestData.randomWeight(device, seed.split(), type, rows, cols);
                for (int count : new int[] {2, 3, 4, 5, 6, 7, 8, 9, 37}) {
                    for (int decodeRows : new int[] {0, 2, 5, 19, 37}) {
                        if (decodeRows > count) {
                            continue;
                        }
                        float[] together = product(device, weight, x, decodeRows, count);
                        assertThat(product(parallel, weight, x, decodeRows, count))
                                .isEqualTo(together);
                        for (int t = 0; t < count; t += count > 9 && t > 5 ? 10 : 1) {
                            float[] row = Arrays.copyOfRange(x, t * cols, (t + 1) * cols);
                            float[] alone = product(device, weight, row, t < decodeRows ? 1 : 0, 1);
                            assertThat(Arrays.copyOfRange(together, t * rows, (t + 1) * rows))
                                    .as(
                                            "%s row %d of %d, %d decode rows, %s",
                                            type, t, count, decodeRows, kernels.name())
                                    .isEqualTo(alone);
                        }
                    }
                }
            }
        }
    }

    @Test
    void promptsHaveTheBitsOfDecodingWhereKernelsAreTheSame() {
        SplittableRandom random = new SplittableRandom(800);
        int compared = 0;
        for (Kernels kernels : TestData.kernelSets()) {
            try (CpuDevice device = TestData.device(kernels, 2)) {
                for (GgmlType type : types().filter(t -> kernels.matvecRows(t, 768, 0, 1) == 1)
                        .toList()) {
                    Weight weight = TestData.randomWeight(device, random, type, 45, 768);
                    for (int count : new int[] {1, 2, 3, 4, 5, 6, 7, 9, 530}) {
                        float[] x = TestData.randomFloats(random, count * 768);
                        float[] decoded = product(device, weight, x, count, count);
                        assertThat(product(device, weight, x, 0, count))
                                .as("%s, %d rows", type, count)
                                .isEqualTo(decoded);
                        compared++;
                    }
                }
            }
        }
        int halves = 2;
        assertThat(compared)
                .isEqualTo(9
                        * (halves
                                + (int) Arrays.stream(LaneFormat.values())
                                        .filter(LaneFormat::manyRows)
                                        .count()));
    }

    static Stream<GgmlType> packedTypes() {
        return Stream.concat(
                Arrays.stream(LaneFormat.values()).map(format -> format.type), Stream.of(GgmlType.F16, GgmlType.BF16));
    }

    @ParameterizedTest
    @MethodSource("packedTypes")
    void packedWeightsGiveTheSameBits(GgmlType type) {
        SplittableRandom random = new SplittableRandom(700 + type.id());
        int block = Math.max(type.blockElements(), 2);
        int packed = 0;
        for (Kernels kernels : TestData.kernelSets()) {
            try (CpuDevice device = TestData.device(kernels, 1);
                    CpuDevice parallel = TestData.device(kernels, 3)) {
                for (int rows : new int[] {1, 31, 32, 45, 96, 101, 203}) {
                    for (int cols : new int[] {block, 3 * block, 256, 768, 2048 + block}) {
                        Weight plain = TestData.randomWeight(device, random, type, rows, cols);
                        if (!device.packs(type, rows, cols)) {
                            assertThat(kernels.name().equals("scalar") || rows < LaneFormat.PAIR_ROWS)
                                    .isTrue();
                            continue;
                        }
                        packed++;
                        Weight weight = packed(device, plain);
                        for (int count : new int[] {1, 2, 3, 4, 7, 18}) {
                            float[] x = TestData.randomFloats(random, count * cols);
                            for (int decodeRows : new int[] {0, count / 2, count}) {
                                float[] expected = product(device, plain, x, decodeRows, count);
                                assertThat(product(device, weight, x, decodeRows, count))
                                        .as("%s %dx%d, %d of %d", type, rows, cols, decodeRows, count)
                                        .isEqualTo(expected);
                                assertThat(product(parallel, weight, x, decodeRows, count))
                                        .isEqualTo(expected);
                            }
                        }
                    }
                }
            }
        }
        assertThat(packed).isPositive();
    }

    /** A copy in the device's own order. */
    private static Weight packed(CpuDevice device, Weight plain) {
        byte[] bytes = new byte[(int) plain.buffer().byteSize()];
        plain.buffer().download(0, MemorySegment.ofArray(bytes));
        DeviceBuffer copy = device.allocate(bytes.length, "packed");
        copy.upload(MemorySegment.ofArray(bytes), 0);
        Weight weight = device.pack(new Weight(plain.type(), plain.rows(), plain.cols(), copy, plain.offset()));
        assertThat(weight.packed()).isTrue();
        byte[] after = new byte[bytes.length];
        copy.download(0, MemorySegment.ofArray(after));
        // With two columns the order is that of the file.
        if (LaneFormat.of(plain.type()) != null || plain.cols() > 2) {
            assertThat(after).isNotEqualTo(bytes);
        }
        if (plain.type() == GgmlType.Q8_0) {
            return weight;
        }
        // The same bits in another order.
        assertThat(BitSet.valueOf(after).cardinality())
                .isEqualTo(BitSet.valueOf(bytes).cardinality());
        return weight;
    }

    @Test
    void refusesPartsOfPackedWeights() {
        try (CpuDevice device = TestData.device(new VectorKernels(), 1)) {
            SplittableRandom random = new SplittableRandom(1);
            Weight weight = packed(device, TestData.randomWeight(device, random, GgmlType.Q4_K, 128, 256));
            DeviceBuffer x = device.allocate(4L * 512, "x");
            DeviceBuffer y = device.allocate(4L * 128, "y");
            assertThatThrownBy(() -> device.compute().ops().matmulParts(weight, 2, x, 256, 1, 1, y, 64, x, y))
                    .hasMessageContaining("packed");
            assertThatThrownBy(() -> weight.part(0, 2)).hasMessageContaining("packed");
        }
    }

    @Test
    void packsNothingForKernelsThatWantTheOrderOfTheFile() {
        try (CpuDevice device = TestData.device(new ScalarKernels(), 1)) {
            Weight weight = TestData.randomWeight(device, new SplittableRandom(1), GgmlType.Q4_K, 64, 256);
            assertThat(device.packs(GgmlType.Q4_K, 64, 256)).isFalse();
            assertThatThrownBy(() -> device.pack(weight)).isInstanceOf(UnsupportedOperationException.class);
        }
    }

    static Stream<GgmlType> superBlockTypes() {
        return Stream.of(GgmlType.Q4_K, GgmlType.Q5_K, GgmlType.Q6_K);
    }

    /**
     * Where the integers of super-blocks are largest, so that sums of 16 bits just hold them, and where a block has no scale but
     * minima.
     */
    @ParameterizedTest
    @MethodSource("superBlockTypes")
    void extremeSuperBlocksHaveTheSameBitsAloneAndTogether(GgmlType type) {
        int rows = 9;
        int cols = 512;
        int count = 7;
        byte[] extreme = new byte[(int) type.byteSize((long) rows * cols)];
        Arrays.fill(extreme, (byte) 0xff);
        for (int block = 0; block < extreme.length; block += type.blockBytes()) {
            ByteBuffer bytes = ByteBuffer.wrap(extreme).order(ByteOrder.LITTLE_ENDIAN);
            int d = block + (type == GgmlType.Q6_K ? 208 : 0);
            bytes.putShort(d, block / type.blockBytes() % 4 == 0 ? 0 : Float.floatToFloat16(0.37f));
            if (type == GgmlType.Q6_K) {
                Arrays.fill(extreme, block + 192, block + 208, Byte.MIN_VALUE);
            } else {
                bytes.putShort(block + 2, Float.floatToFloat16(1.7f));
            }
        }
        float[] x = new float[count * cols];
        for (int i = 0; i < x.length; i++) {
            x[i] = (i / cols % 2 == 0 || i % 3 == 0 ? 1 : -1) * (1 + i % 5 * 1e-3f);
        }
        for (Kernels kernels : TestData.kernelSets()) {
            try (CpuDevice device = TestData.device(kernels, 1)) {
                DeviceBuffer buffer = device.allocate(extreme.length, "w");
                buffer.upload(MemorySegment.ofArray(extreme), 0);
                Weight weight = new Weight(type, rows, cols, buffer, 0);
                float[] together = product(device, weight, x, count, count);
                float[] expanded = product(device, weight, x, 0, count);
                for (int i = 0; i < together.length; i++) {
                    // Activations are rounded.
                    assertThat(together[i]).isCloseTo(expanded[i], withinPercentage(0.5));
                }
                for (int t = 0; t < count; t++) {
                    float[] alone = product(device, weight, Arrays.copyOfRange(x, t * cols, (t + 1) * cols), 1, 1);
                    assertThat(Arrays.copyOfRange(together, t * rows, (t + 1) * rows))
                            .as("%s, row %d", kernels.name(), t)
                            .isEqualTo(alone);
                }
            }
        }
    }

    static Stream<GgmlType> integerTypes() {
        return Arrays.stream(LaneFormat.values()).map(format -> format.type);
    }

    /** Where sums of groups are largest: with elements all the same or in turns, and activations that rounding all makes larger. */
    @ParameterizedTest
    @MethodSource("integerTypes")
    void extremeSumsAreExact(GgmlType type) {
        int rows = 33;
        int cols = 512;
        int count = 5;
        for (int bits : new int[] {0x00, 0x0f, 0x7f, 0x80, 0x81, 0xf0, 0xff}) {
            byte[] extreme = new byte[(int) type.byteSize((long) rows * cols)];
            Arrays.fill(extreme, (byte) bits);
            ByteBuffer bytes = ByteBuffer.wrap(extreme).order(ByteOrder.LITTLE_ENDIAN);
            for (int block = 0; block < extreme.length; block += type.blockBytes()) {
                bytes.putShort(block + (type == GgmlType.Q6_K ? 208 : 0), Float.floatToFloat16(0.5f));
                if (type == GgmlType.Q4_K || type == GgmlType.Q5_K) {
                    bytes.putShort(block + 2, Float.floatToFloat16(0.25f));
                }
            }
            for (int pattern = 0; pattern < 4; pattern++) {
                float[] x = new float[count * cols];
                for (int i = 0; i < x.length; i++) {
                    x[i] = largeActivation(type, i) * (pattern == 0 || (i >> pattern - 1 & 1) != 0 ? 1 : -1);
                }
                for (Kernels kernels : TestData.kernelSets()) {
                    try (CpuDevice device = TestData.device(kernels, 1)) {
                        DeviceBuffer buffer = device.allocate(extreme.length, "w");
                        buffer.upload(MemorySegment.ofArray(extreme), 0);
                        Weight weight = new Weight(type, rows, cols, buffer, 0);
                        assertDecodedExactly(device, weight, x, 1);
                        assertDecodedExactly(device, weight, x, count);
                    }
                }
            }
        }
    }

    /** In steps of one, half a step off, and the largest such ones of their group. */
    private static float largeActivation(GgmlType type, int i) {
        if (type == GgmlType.Q8_0) {
            return 127;
        }
        int block = type == GgmlType.Q6_K ? 16 : 32;
        int steps = 32767 / centre(type) - block;
        return steps / block + (i % block < steps % block ? 1 : 0) + 0.5f;
    }

    private static void assertDecodedExactly(CpuDevice device, Weight weight, float[] x, int count) {
        int rows = (int) weight.rows();
        int cols = (int) weight.cols();
        float[] w = TestData.expand(weight);
        float[] y = product(device, weight, Arrays.copyOf(x, count * cols), count, count);
        boolean integers = device.description().contains("vector");
        double[] seen = integers ? quantized(x, weight.type()) : exact(x);
        // One float after the other loses more than groups, whose sums are exact.
        double tolerance = (integers ? 3e-7 : 1e-5) * largest(w) * largest(x) * cols;
        for (int i = 0; i < y.length; i++) {
            int token = i / rows * cols;
            int row = i % rows * cols;
            double exact = IntStream.range(0, cols)
                    .mapToDouble(c -> w[row + c] * seen[token + c])
                    .sum();
            assertThat((double) y[i]).isCloseTo(exact, within(tolerance));
        }
    }

    /** The rows of a prompt by themselves, whatever the number of rows that are computed together. */
    @ParameterizedTest
    @MethodSource("types")
    void everySumOfAPromptRunsInAscendingOrderByItself(GgmlType type) {
        SplittableRandom random = new SplittableRandom(600 + type.id());
        int cols = 512;
        int most = 35;
        float[] x = TestData.randomFloats(random, most * cols);
        for (Kernels kernels : TestData.kernelSets()) {
            if (kernels.matvecRows(type, cols, 0, most) == most) {
                continue;
            }
            boolean fused = kernels.name().contains("vector");
            try (CpuDevice device = TestData.device(kernels, 2)) {
                for (int rows : new int[] {1, 53}) {
                    Weight weight = TestData.randomWeight(device, random, type, rows, cols);
                    float[] expected = sums(TestData.expand(weight), rows, x, cols, fused);
                    for (int count = 1; count <= most; count = count < 18 ? count + 1 : count + 5) {
                        float[] some = Arrays.copyOf(x, count * cols);
                        assertThat(product(device, weight, some, 0, count))
                                .as("%s %d rows, %d tokens, %s", type, rows, count, kernels.name())
                                .isEqualTo(Arrays.copyOf(expected, count * rows));
                    }
                }
            }
        }
    }

    private static float[] sums(float[] w, int rows, float[] x, int cols, boolean fused) {
        float[] y = new float[x.length / cols * rows];
        for (int i = 0; i < y.length; i++) {
            int weight = i % rows * cols;
            int token = i / rows * cols;
            float sum = 0;
            for (int k = 0; k < cols; k++) {
                float a = w[weight + k];
                float b = x[token + k];
                sum = fused ? Math.fma(a, b, sum) : sum + a * b;
            }
            y[i] = sum;
        }
        return y;
    }

    /** The sums of vector lanes in particular: their order must not change when the code is compiled. */
    @Test
    void bitsStayTheSameWhileTheCodeIsBeingCompiled() {
        SplittableRandom random = new SplittableRandom(5);
        try (CpuDevice device = TestData.device(new VectorKernels(), 1)) {
            for (GgmlType type : List.of(GgmlType.F16, GgmlType.Q8_0, GgmlType.Q4_K)) {
                Weight weight = TestData.randomWeight(device, random, type, 64, 1024);
                float[] x = TestData.randomFloats(random, 1024);
                float[] first = product(device, weight, x, 1, 1);
                for (int i = 0; i < 3000; i++) {
                    assertThat(Arrays.equals(product(device, weight, x, 1, 1), first))
                            .as("%s, call %d", type, i)
                            .isTrue();
                }
            }
        }
    }

    @Test
    void severalProductsGiveTheBitsOfSingleOnes() {
        SplittableRandom random = new SplittableRandom(7);
        int cols = 512;
        int count = 21;
        for (Kernels kernels : TestData.kernelSets()) {
            try (CpuDevice device = TestData.device(kernels, 3)) {
                List<Weight> weights = List.of(
                        TestData.randomWeight(device, random, GgmlType.Q4_K, 128, cols),
                        TestData.randomWeight(device, random, GgmlType.Q4_K, 1, cols),
                        TestData.randomWeight(device, random, GgmlType.Q6_K, 67, cols),
                        TestData.randomWeight(device, random, GgmlType.F16, 300, cols));
                float[] x = TestData.randomFloats(random, count * cols);
                List<DeviceBuffer> ys = weights.stream()
                        .map(w -> device.allocate(4L * count * w.rows(), "y"))
                        .toList();
                device.compute().ops().matmuls(weights, TestData.buffer(device, x), 3, count, ys);
                for (int i = 0; i < ys.size(); i++) {
                    assertThat(TestData.read(
                                    ys.get(i), count * (int) weights.get(i).rows()))
                            .isEqualTo(product(device, weights.get(i), x, 3, count));
                }
            }
        }
    }

    /** Parts of wider rows, with a row of garbage between what is read and written. */
    @ParameterizedTest
    @MethodSource("types")
    void productsOfPartsGiveTheBitsOfSingleOnes(GgmlType type) {
        SplittableRandom random = new SplittableRandom(500 + type.id());
        int parts = 5;
        int rows = 70;
        int cols = 2 * Math.max(64, type.blockElements());
        int xWidth = cols + 3;
        int yWidth = rows + 2;
        for (Kernels kernels : TestData.kernelSets()) {
            for (int[] counts : new int[][] {{1, 1}, {3, 3}, {0, 40}, {2, 150}, {0, 1}}) {
                int decodeRows = counts[0];
                int count = counts[1];
                try (CpuDevice device = TestData.device(kernels, 3)) {
                    Ops ops = device.compute().ops();
                    Weight all = TestData.randomWeight(device, random, type, parts * rows, cols);
                    DeviceBuffer x = TestData.buffer(device, TestData.randomFloats(random, count * parts * xWidth));
                    float[] before = TestData.randomFloats(random, count * parts * yWidth);
                    DeviceBuffer actual = TestData.buffer(device, before);
                    DeviceBuffer expected = TestData.buffer(device, before);
                    DeviceBuffer partOfX = device.allocate(4L * count * cols, "part");
                    DeviceBuffer partOfY = device.allocate(4L * count * rows, "part");
                    ops.matmulParts(all, parts, x, xWidth, decodeRows, count, actual, yWidth, partOfX, partOfY);
                    for (int p = 0; p < parts; p++) {
                        ops.copyColumns(x, (long) p * xWidth, parts * xWidth, partOfX, 0, cols, cols, count);
                        ops.matmul(all.part(p, parts), partOfX, decodeRows, count, partOfY);
                        ops.copyColumns(partOfY, 0, rows, expected, (long) p * yWidth, parts * yWidth, rows, count);
                    }
                    assertThat(TestData.read(actual, before.length))
                            .as("%s %s %d of %d", kernels.name(), type, decodeRows, count)
                            .isEqualTo(TestData.read(expected, before.length));
                }
            }
        }
    }

    @Test
    void refusesPartsThatDoNotFit() {
        try (CpuDevice device = TestData.device(TestData.kernelSets().getFirst(), 1)) {
            Ops ops = device.compute().ops();
            Weight all = TestData.randomWeight(device, new SplittableRandom(1), GgmlType.F32, 8, 16);
            DeviceBuffer x = device.allocate(4 * 64, "x");
            DeviceBuffer y = device.allocate(4 * 16, "y");
            assertThatThrownBy(() -> ops.matmulParts(all, 3, x, 16, 0, 1, y, 4, x, y))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("3 parts");
            assertThatThrownBy(() -> ops.matmulParts(all, 4, x, 15, 0, 1, y, 4, x, y))
                    .isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> ops.matmulParts(all, 4, x, 16, 0, 2, y, 4, x, y))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.matmulParts(all, 4, x, 16, 0, 1, y, 5, x, y))
                    .isInstanceOf(IndexOutOfBoundsException.class);
        }
    }

    @Test
    void halvesTakeActivationsOfAnySize() {
        SplittableRandom random = new SplittableRandom(9);
        for (Kernels kernels : TestData.kernelSets()) {
            try (CpuDevice device = TestData.device(kernels, 1)) {
                Weight weight = TestData.randomWeight(device, random, GgmlType.F16, 3, 64);
                float[] x = TestData.randomFloats(random, 64);
                x[10] = 1e30f;
                x[11] = 1e-30f;
                float[] w = TestData.expand(weight);
                float[] y = product(device, weight, x, 1, 1);
                for (int r = 0; r < 3; r++) {
                    assertThat(y[r]).isCloseTo(w[r * 64 + 10] * 1e30f, withinPercentage(1e-4));
                }
                // A row beside it keeps its bits.
                float[] small = TestData.randomFloats(random, 64);
                float[] both = Arrays.copyOf(x, 128);
                System.arraycopy(small, 0, both, 64, 64);
                assertThat(Arrays.copyOfRange(product(device, weight, both, 2, 2), 3, 6))
                        .isEqualTo(product(device, weight, small, 1, 1));
            }
        }
    }

    @ParameterizedTest
    @MethodSource("types")
    void aNotANumberInTheInputShowsInTheResult(GgmlType type) {
        SplittableRandom random = new SplittableRandom(11);
        for (Kernels kernels : TestData.kernelSets()) {
            try (CpuDevice device = TestData.device(kernels, 1)) {
                Weight weight = TestData.randomWeight(device, random, type, 2, 256);
                float[] x = TestData.randomFloats(random, 2 * 256);
                x[100] = Float.NaN;
                x[300] = Float.NaN;
                assertThat(product(device, weight, x, 1, 2)).containsOnly(Float.NaN);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("types")
    void zeroActivationsGiveZero(GgmlType type) {
        SplittableRandom random = new SplittableRandom(13);
        for (Kernels kernels : TestData.kernelSets()) {
            try (CpuDevice device = TestData.device(kernels, 1)) {
                Weight weight = TestData.randomWeight(device, random, type, 3, 512);
                for (float value : product(device, weight, new float[2 * 512], 1, 2)) {
                    assertThat(value).isZero();
                }
            }
        }
    }

    @Test
    void plainTypesTakeAnyNumberOfColumns() {
        SplittableRandom random = new SplittableRandom(15);
        for (Kernels kernels : TestData.kernelSets()) {
            try (CpuDevice device = TestData.device(kernels, 2)) {
                for (GgmlType type : List.of(GgmlType.F32, GgmlType.F16, GgmlType.BF16)) {
                    for (int cols : new int[] {1, 7, 8, 13, 31, 33, 255, 300}) {
                        check(device, random, type, 5, cols, 2, 5);
                    }
                }
            }
        }
    }

    @Test
    void refusesWhatDoesNotFit() {
        SplittableRandom random = new SplittableRandom(17);
        try (CpuDevice device = TestData.device(new ScalarKernels(), 1)) {
            Ops ops = device.compute().ops();
            Weight weight = TestData.randomWeight(device, random, GgmlType.F32, 4, 8);
            DeviceBuffer x = device.allocate(4 * 8, "x");
            DeviceBuffer y = device.allocate(4 * 4, "y");
            assertThatThrownBy(() -> ops.matmul(weight, x, 0, 2, y))
                    .isInstanceOf(IndexOutOfBoundsException.class)
                    .hasMessageContaining("64 bytes");
            assertThatThrownBy(() -> ops.matmul(weight, x, 1, 1, device.allocate(12, "y")))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.matmul(weight, x, 2, 1, y)).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.matmul(weight, x, 0, -1, y)).isInstanceOf(IndexOutOfBoundsException.class);
            Weight other = TestData.randomWeight(device, random, GgmlType.F32, 4, 7);
            assertThatThrownBy(() -> ops.matmuls(List.of(weight, other), x, 1, 1, List.of(y, y)))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("8 and 7");
            Weight unsupported = new Weight(GgmlType.Q8_K, 1, 256, device.allocate(292, "w"), 0);
            assertThatThrownBy(() -> ops.matmul(unsupported, device.allocate(1024, "x"), 1, 1, y))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("Q8_K");
            x.close();
            assertThatThrownBy(() -> ops.matmul(weight, x, 1, 1, y)).isInstanceOf(IllegalStateException.class);
        }
    }
}
