package dev.prefetch.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.fail;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.backend.Ops;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Attention over a paged cache against the textbook formula in double precision, of keys and values as the cache keeps them.
 */
class AttentionTest {

    private static final int LENGTH = 203;

    static Stream<AttentionShape> shapes() {
        return Stream.of(
                new AttentionShape(4, 4, 64, 64, 0.125f, 0, 0),
                new AttentionShape(8, 2, 128, 128, 0.088f, 0, 0),
                new AttentionShape(6, 1, 64, 64, 0.125f, 0, 0),
                new AttentionShape(4, 2, 40, 24, 0.15f, 0, 0),
                new AttentionShape(2, 1, 13, 9, 0.3f, 0, 0),
                new AttentionShape(4, 2, 192, 128, 0.07f, 0, 0),
                new AttentionShape(4, 2, 64, 64, 0.125f, 5, 0),
                new AttentionShape(4, 2, 64, 64, 0.125f, 0, 1),
                new AttentionShape(4, 2, 64, 64, 0.125f, 0, 50),
                new AttentionShape(4, 2, 64, 64, 0.125f, 50, 64),
                new AttentionShape(4, 2, 64, 64, 30, 0, 0),
                new AttentionShape(5, 1, 96, 32, 0.1f, 20, 33),
                new AttentionShape(12, 12, 32, 32, 0.17f, 0, 0).notCausal(),
                new AttentionShape(4, 2, 13, 9, 0.3f, 20, 0).notCausal());
    }

    /** A cache that keeps its layer behind some other bytes of the page. */
    private record Cache(GgmlType type, int pageTokens, long keyOffset, long valueOffset, List<DeviceBuffer> pages)
            implements KvLayer {

        static Cache allocate(CpuDevice device, AttentionShape shape, GgmlType type, int pageTokens, int positions) {
            long keyBytes = type.byteSize((long) pageTokens * shape.kvHeads() * shape.keyDim());
            long valueBytes = type.byteSize((long) pageTokens * shape.kvHeads() * shape.valueDim());
            List<DeviceBuffer> pages = new ArrayList<>();
            for (int p = 0; p * pageTokens < positions; p++) {
                pages.add(device.allocate(100 + keyBytes + valueBytes, "page"));
            }
            return new Cache(type, pageTokens, 100, 100 + keyBytes, pages);
        }

        @Override
        public DeviceBuffer page(int index) {
            return pages.get(index);
        }
    }

    private record Inputs(float[] q, float[] k, float[] v) {

        static Inputs random(AttentionShape shape, int length, long seed) {
            SplittableRandom random = new SplittableRandom(seed);
            return new Inputs(
                    TestData.randomFloats(random, length * shape.heads() * shape.keyDim()),
                    TestData.randomFloats(random, length * shape.kvHeads() * shape.keyDim()),
                    TestData.randomFloats(random, length * shape.kvHeads() * shape.valueDim()));
        }

        Inputs keptAs(GgmlType type) {
            return new Inputs(q, TestData.keptAs(type, k), TestData.keptAs(type, v));
        }
    }

    @ParameterizedTest
    @MethodSource("shapes")
    void agreesWithTheFormula(AttentionShape shape) {
        for (GgmlType type : types(shape)) {
            agreesWithTheFormula(shape, type);
        }
    }

    /** Odd heads have no whole blocks. */
    private static List<GgmlType> types(AttentionShape shape) {
        return KvPages.TYPES.stream()
                .filter(type ->
                        shape.keyDim() % type.blockElements() == 0 && shape.valueDim() % type.blockElements() == 0)
                .toList();
    }

    private static void agreesWithTheFormula(AttentionShape shape, GgmlType type) {
        Inputs in = Inputs.random(shape, LENGTH, 3);
        double[] expected = formula(shape, in.keptAs(type), LENGTH);
        // The error of a score, which grows with its terms, is the relative error of its weight.
        double tolerance = 2e-6 + 1e-6 * shape.scale() * shape.keyDim();
        for (Kernels kernels : TestData.kernelSets()) {
            for (int pageTokens : new int[] {16, 48, 256}) {
                try (CpuDevice device = TestData.device(kernels, 2)) {
                    float[] actual = run(device, shape, type, in, pageTokens, LENGTH);
                    for (int i = 0; i < expected.length; i++) {
                        if (!(Math.abs(actual[i] - expected[i]) <= tolerance)) {
                            fail(
                                    "%s, %s, %s, pages of %d, element %d: %s instead of %s",
                                    shape, type, kernels.name(), pageTokens, i, actual[i], expected[i]);
                        }
                    }
                }
            }
        }
    }

    @Test
    void bitsOfARowThatSeesEverythingDoNotDependOnTheThreads() {
        for (AttentionShape shape : List.of(
                new AttentionShape(12, 12, 32, 32, 0.17f, 0, 0).notCausal(),
                new AttentionShape(4, 1, 64, 96, 0.125f, 0, 0).notCausal())) {
            for (GgmlType type : types(shape)) {
                Inputs in = Inputs.random(shape, LENGTH, 5);
                for (Kernels kernels : TestData.kernelSets()) {
                    float[] alone;
                    try (CpuDevice device = TestData.device(kernels, 1)) {
                        alone = run(device, shape, type, in, 32, LENGTH);
                    }
                    try (CpuDevice device = TestData.device(kernels, 3)) {
                        assertThat(run(device, shape, type, in, 32, LENGTH))
                                .as("%s, %s, %s", shape, type, kernels.name())
                                .isEqualTo(alone);
                    }
                }
            }
        }
    }

    @Test
    void thereIsNoWindowOnWhatIsNotCausal() {
        AttentionShape shape = new AttentionShape(4, 2, 64, 64, 0.125f, 0, 50);
        assertThatThrownBy(shape::notCausal)
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("window");
    }

    @Test
    void bitsOfARowDependNeitherOnTheCallsNorOnTheThreads() {
        for (AttentionShape shape : List.of(
                new AttentionShape(8, 2, 64, 64, 0.125f, 0, 100),
                new AttentionShape(8, 1, 32, 96, 0.125f, 0, 0),
                new AttentionShape(6, 6, 64, 64, 0.125f, 30, 7),
                new AttentionShape(4, 2, 13, 9, 0.125f, 0, 70))) {
            types(shape).forEach(type -> bitsOfARowDependNeitherOnTheCallsNorOnTheThreads(shape, type));
        }
    }

    private static void bitsOfARowDependNeitherOnTheCallsNorOnTheThreads(AttentionShape shape, GgmlType type) {
        Inputs in = Inputs.random(shape, LENGTH, 4);
        for (Kernels kernels : TestData.kernelSets()) {
            float[] whole;
            try (CpuDevice device = TestData.device(kernels, 1)) {
                whole = run(device, shape, type, in, 32, LENGTH);
            }
            for (int step : new int[] {1, 7, 64}) {
                try (CpuDevice device = TestData.device(kernels, 3)) {
                    assertThat(run(device, shape, type, in, 32, step))
                            .as("%s, %s, %s, %d rows a call", shape, type, kernels.name(), step)
                            .isEqualTo(whole);
                }
            }
        }
    }

    @Test
    void keepsHalvesRoundedToNearestEvenAndEightBitsAsTheReferenceQuantisation() {
        float[] x = new float[64];
        for (int i = 0; i < 32; i++) {
            x[i] = i - 15.5f;
        }
        // Ties of halves, a number beyond their range, one that becomes subnormal, and the largest 8-bit one.
        x[32] = 2049;
        x[33] = 2051;
        x[34] = 70000;
        x[35] = -3e-6f;
        x[36] = -1e5f;
        AttentionShape shape = new AttentionShape(1, 1, 64, 64, 1, 0, 0);
        try (CpuDevice device = TestData.device(TestData.kernelSets().getFirst(), 1)) {
            Cache halves = store(device, shape, GgmlType.F16, x);
            byte[] bytes = bytes(halves.page(0));
            for (long offset : new long[] {halves.keyOffset(), halves.valueOffset()}) {
                assertThat(half(bytes, offset + 64 + 2)).isEqualTo(2052);
                assertThat(half(bytes, offset + 64)).isEqualTo(2048);
                assertThat(half(bytes, offset + 64 + 4)).isEqualTo(Float.POSITIVE_INFINITY);
                assertThat(half(bytes, offset + 64 + 6)).isEqualTo(-50 * 0x1p-24f);
                assertThat(half(bytes, offset)).isEqualTo(-15.5f);
            }
            Cache eights = store(device, shape, GgmlType.Q8_0, x);
            bytes = bytes(eights.page(0));
            for (long offset : new long[] {eights.keyOffset(), eights.valueOffset()}) {
                int at = (int) offset;
                float d = 15.5f / 127;
                assertThat(half(bytes, at)).isEqualTo(Float.float16ToFloat(Float.floatToFloat16(d)));
                for (int i = 0; i < 32; i++) {
                    double exact = x[i] * (1 / d);
                    assertThat((int) bytes[at + 2 + i]).as("element %d", i).isEqualTo((int)
                            (Math.signum(exact) * Math.floor(Math.abs((float) exact) + 0.5)));
                }
                assertThat(half(bytes, at + 34)).isEqualTo(787.5f);
                assertThat(bytes[at + 36 + 2]).isEqualTo((byte) 89);
                assertThat(bytes[at + 36 + 4]).isEqualTo((byte) -127);
                assertThat(bytes[at + 36 + 9]).isZero();
            }
        }
    }

    @Test
    void aNotANumberInAKeyShowsInTheResult() {
        AttentionShape shape = new AttentionShape(1, 1, 64, 64, 1, 0, 0);
        for (Kernels kernels : TestData.kernelSets()) {
            for (GgmlType type : KvPages.TYPES) {
                for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY}) {
                    Inputs in = Inputs.random(shape, 3, 5);
                    in.k()[64 + 7] = bad;
                    in.v()[64 + 7] = bad;
                    try (CpuDevice device = TestData.device(kernels, 1)) {
                        float[] out = run(device, shape, type, in, 16, 3);
                        assertThat(Float.isFinite(out[2 * 64 + 7]))
                                .as("%s %s %s", kernels.name(), type, bad)
                                .isFalse();
                    }
                }
            }
        }
    }

    @Test
    void refusesHeadsThatAreNoWholeBlocksAndTypesThereAreNoKernelsFor() {
        AttentionShape shape = new AttentionShape(2, 1, 40, 64, 1, 0, 0);
        try (CpuDevice device = TestData.device(new ScalarKernels(), 1)) {
            Ops ops = device.compute().ops();
            DeviceBuffer x = device.allocate(4 * 128, "x");
            List<DeviceBuffer> pages = List.of(device.allocate(1 << 16, "page"));
            assertThatThrownBy(() -> ops.storeKv(shape, new Cache(GgmlType.Q8_0, 4, 0, 1024, pages), x, x, 0, 1, 0))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("40 elements");
            assertThatThrownBy(() -> ops.attention(shape, new Cache(GgmlType.Q4_0, 4, 0, 1024, pages), x, 0, 1, 0, x))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("Q4_0");
        }
    }

    private static Cache store(CpuDevice device, AttentionShape shape, GgmlType type, float[] row) {
        Cache cache = Cache.allocate(device, shape, type, 16, 1);
        DeviceBuffer x = TestData.buffer(device, row);
        device.compute().ops().storeKv(shape, cache, x, x, 0, 1, 0);
        return cache;
    }

    private static byte[] bytes(DeviceBuffer buffer) {
        byte[] bytes = new byte[(int) buffer.byteSize()];
        buffer.download(0, MemorySegment.ofArray(bytes));
        return bytes;
    }

    private static float half(byte[] bytes, long at) {
        return Float.float16ToFloat(MemorySegment.ofArray(bytes)
                .get(ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN), at));
    }

    @Test
    void oneVeryLargeScoreTakesAllTheWeight() {
        AttentionShape shape = new AttentionShape(1, 1, 8, 8, 1, 0, 0);
        int length = 70;
        float[] q = new float[length * 8];
        float[] k = new float[length * 8];
        float[] v = new float[length * 8];
        Arrays.fill(q, 100);
        Arrays.fill(k, 0, 8, -100);
        Arrays.fill(k, 8 * 5, 8 * 6, 100);
        Arrays.fill(v, 8 * 5, 8 * 6, 3);
        for (Kernels kernels : TestData.kernelSets()) {
            try (CpuDevice device = TestData.device(kernels, 1)) {
                float[] out = run(device, shape, GgmlType.F32, new Inputs(q, k, v), 16, length);
                assertThat(Arrays.copyOfRange(out, 8 * 69, 8 * 70)).containsOnly(3);
            }
        }
    }

    @Test
    void refusesPagesThatAreTooSmall() {
        AttentionShape shape = new AttentionShape(2, 1, 8, 8, 1, 0, 0);
        try (CpuDevice device = TestData.device(new ScalarKernels(), 1)) {
            Ops ops = device.compute().ops();
            DeviceBuffer x = device.allocate(4 * 16 * 4, "x");
            KvLayer cache = new Cache(GgmlType.F32, 4, 0, 128, List.of(device.allocate(255, "page")));
            assertThatThrownBy(() -> ops.storeKv(shape, cache, x, x, 0, 1, 0))
                    .isInstanceOf(IndexOutOfBoundsException.class)
                    .hasMessageContaining("256");
            assertThatThrownBy(() -> ops.attention(shape, cache, x, 0, 1, 0, x))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.attention(shape, cache, x, 4, 1, 0, x))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.attention(shape, cache, x, -1, 1, 0, x))
                    .isInstanceOf(IndexOutOfBoundsException.class);
        }
    }

    /** Stores and attends {@code step} rows at a time; the rows of a call stand behind a row of garbage. */
    private static float[] run(
            CpuDevice device, AttentionShape shape, GgmlType type, Inputs in, int pageTokens, int step) {
        int queryRow = shape.heads() * shape.keyDim();
        int outRow = shape.heads() * shape.valueDim();
        int length = in.q().length / queryRow;
        Cache cache = Cache.allocate(device, shape, type, pageTokens, length);
        Ops ops = device.compute().ops();
        DeviceBuffer out = device.allocate(4L * (step + 1) * outRow, "out");
        float[] result = new float[length * outRow];
        for (int position = 0; position < length; position += step) {
            int count = Math.min(step, length - position);
            DeviceBuffer q = slice(device, in.q(), position, count, queryRow);
            DeviceBuffer k = slice(device, in.k(), position, count, shape.kvHeads() * shape.keyDim());
            DeviceBuffer v = slice(device, in.v(), position, count, shape.kvHeads() * shape.valueDim());
            ops.storeKv(shape, cache, k, v, 1, count, position);
            ops.attention(shape, cache, q, 1, count, position, out);
            float[] rows = TestData.read(out, (count + 1) * outRow);
            System.arraycopy(rows, outRow, result, position * outRow, count * outRow);
        }
        return result;
    }

    private static DeviceBuffer slice(CpuDevice device, float[] values, int row, int count, int dim) {
        float[] rows = new float[(count + 1) * dim];
        Arrays.fill(rows, 0, dim, Float.NaN);
        System.arraycopy(values, row * dim, rows, dim, count * dim);
        return TestData.buffer(device, rows);
    }

    private static double[] formula(AttentionShape shape, Inputs in, int length) {
        double[] out = new double[length * shape.heads() * shape.valueDim()];
        for (int p = 0; p < length; p++) {
            int first = shape.window() == 0 ? 0 : Math.max(0, p - shape.window() + 1);
            for (int h = 0; h < shape.heads(); h++) {
                int last = shape.causal() ? p : length - 1;
                double[] weights = softmaxOfScores(shape, in, p, h, first, last);
                int kvHead = h / (shape.heads() / shape.kvHeads());
                for (int j = first; j <= last; j++) {
                    for (int d = 0; d < shape.valueDim(); d++) {
                        out[(p * shape.heads() + h) * shape.valueDim() + d] +=
                                weights[j - first] * in.v()[(j * shape.kvHeads() + kvHead) * shape.valueDim() + d];
                    }
                }
            }
        }
        return out;
    }

    private static double[] softmaxOfScores(AttentionShape shape, Inputs in, int p, int h, int first, int last) {
        int kvHead = h / (shape.heads() / shape.kvHeads());
        double[] scores = new double[last - first + 1];
        for (int j = first; j <= last; j++) {
            double dot = 0;
            for (int d = 0; d < shape.keyDim(); d++) {
                dot += (double) in.q()[(p * shape.heads() + h) * shape.keyDim() + d]
                        * in.k()[(j * shape.kvHeads() + kvHead) * shape.keyDim() + d];
            }
            dot *= shape.scale();
            scores[j - first] = shape.softCap() > 0 ? shape.softCap() * Math.tanh(dot / shape.softCap()) : dot;
        }
        double max = Arrays.stream(scores).max().orElseThrow();
        double sum = 0;
        for (int j = 0; j < scores.length; j++) {
            scores[j] = Math.exp(scores[j] - max);
            sum += scores[j];
        }
        for (int j = 0; j < scores.length; j++) {
            scores[j] /= sum;
        }
        return scores;
    }
}
