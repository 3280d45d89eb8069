package dev.prefetch.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.fail;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.backend.Ops;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Attention over a paged cache against the textbook formula in double precision. */
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
                new AttentionShape(4, 2, 64, 64, 30, 0, 0));
    }

    /** A cache that keeps its layer behind some other bytes of the page. */
    private record Cache(int pageTokens, long keyOffset, long valueOffset, List<DeviceBuffer> pages)
            implements KvLayer {

        static Cache allocate(CpuDevice device, AttentionShape shape, int pageTokens, int positions) {
            long keyBytes = 4L * pageTokens * shape.kvHeads() * shape.keyDim();
            long valueBytes = 4L * pageTokens * shape.kvHeads() * shape.valueDim();
            List<DeviceBuffer> pages = new ArrayList<>();
            for (int p = 0; p * pageTokens < positions; p++) {
                pages.add(device.allocate(100 + keyBytes + valueBytes, "page"));
            }
            return new Cache(pageTokens, 100, 100 + keyBytes, pages);
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
    }

    @ParameterizedTest
    @MethodSource("shapes")
    void agreesWithTheFormula(AttentionShape shape) {
        Inputs in = Inputs.random(shape, LENGTH, 3);
        double[] expected = formula(shape, in, LENGTH);
        // The error of a score, which grows with its terms, is the relative error of its weight.
        double tolerance = 2e-6 + 1e-6 * shape.scale() * shape.keyDim();
        for (Kernels kernels : TestData.kernelSets()) {
            for (int pageTokens : new int[] {16, 48, 256}) {
                try (CpuDevice device = TestData.device(kernels, 2)) {
                    float[] actual = run(device, shape, in, pageTokens, LENGTH);
                    for (int i = 0; i < expected.length; i++) {
                        if (!(Math.abs(actual[i] - expected[i]) <= tolerance)) {
                            fail(
                                    "%s, %s, pages of %d, element %d: %s instead of %s",
                                    shape, kernels.name(), pageTokens, i, actual[i], expected[i]);
                        }
                    }
                }
            }
        }
    }

    @Test
    void bitsOfARowDependNeitherOnTheCallsNorOnTheThreads() {
        AttentionShape shape = new AttentionShape(8, 2, 64, 64, 0.125f, 0, 100);
        Inputs in = Inputs.random(shape, LENGTH, 4);
        for (Kernels kernels : TestData.kernelSets()) {
            float[] whole;
            try (CpuDevice device = TestData.device(kernels, 1)) {
                whole = run(device, shape, in, 32, LENGTH);
            }
            for (int step : new int[] {1, 7, 64}) {
                try (CpuDevice device = TestData.device(kernels, 3)) {
                    assertThat(run(device, shape, in, 32, step))
                            .as("%s, %d rows a call", kernels.name(), step)
                            .isEqualTo(whole);
                }
            }
        }
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
                float[] out = run(device, shape, new Inputs(q, k, v), 16, length);
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
            KvLayer cache = new Cache(4, 0, 128, List.of(device.allocate(255, "page")));
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
    private static float[] run(CpuDevice device, AttentionShape shape, Inputs in, int pageTokens, int step) {
        int queryRow = shape.heads() * shape.keyDim();
        int outRow = shape.heads() * shape.valueDim();
        int length = in.q().length / queryRow;
        Cache cache = Cache.allocate(device, shape, pageTokens, length);
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
                double[] weights = softmaxOfScores(shape, in, p, h, first);
                int kvHead = h / (shape.heads() / shape.kvHeads());
                for (int j = first; j <= p; j++) {
                    for (int d = 0; d < shape.valueDim(); d++) {
                        out[(p * shape.heads() + h) * shape.valueDim() + d] +=
                                weights[j - first] * in.v()[(j * shape.kvHeads() + kvHead) * shape.valueDim() + d];
                    }
                }
            }
        }
        return out;
    }

    private static double[] softmaxOfScores(AttentionShape shape, Inputs in, int p, int h, int first) {
        int kvHead = h / (shape.heads() / shape.kvHeads());
        double[] scores = new double[p - first + 1];
        for (int j = first; j <= p; j++) {
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
