package dev.prefetch.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.backend.DeltaShape;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The operations of gated delta networks, against double precision and against themselves in pieces. */
class DeltaOpsTest {

    private static final int ROWS = 21;

    /** Awkward sizes of heads, one head and many, a kernel of one and one longer than the pieces. */
    private static final List<DeltaShape> SHAPES = List.of(
            new DeltaShape(1, 1, 1, 1, false),
            new DeltaShape(2, 4, 13, 4, false),
            new DeltaShape(2, 6, 33, 3, true),
            new DeltaShape(4, 4, 64, 4, true),
            new DeltaShape(3, 3, 70, 9, false),
            new DeltaShape(2, 4, 128, 4, true));

    static List<Kernels> kernelSets() {
        return TestData.kernelSets();
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void convolvesEveryChannelOverItsOwnPast(Kernels kernels) {
        for (DeltaShape shape : SHAPES) {
            try (CpuDevice device = TestData.device(kernels, 2)) {
                Data data = new Data(device, shape);
                float[] actual = data.convolve(ROWS, 0);
                int channels = shape.channels();
                for (int t = 0; t < ROWS; t++) {
                    for (int c = 0; c < channels; c++) {
                        double sum = 0;
                        for (int j = 0; j < shape.kernel(); j++) {
                            int row = t - shape.kernel() + 1 + j;
                            sum += row < 0
                                    ? 0
                                    : (double) data.weights[c * shape.kernel() + j] * data.x[row * channels + c];
                        }
                        double expected = sum / (1 + Math.exp(-sum));
                        assertThat((double) actual[t * channels + c])
                                .as("%s, row %d, channel %d", shape, t, c)
                                .isCloseTo(expected, within(1e-5 + 1e-6 * Math.abs(expected)));
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void followsTheDeltaRule(Kernels kernels) {
        for (DeltaShape shape : SHAPES) {
            try (CpuDevice device = TestData.device(kernels, 2)) {
                Data data = new Data(device, shape);
                float[] actual = data.rule(ROWS, 0);
                double[] expected = data.expectedRule();
                for (int i = 0; i < expected.length; i++) {
                    assertThat((double) actual[i])
                            .as("%s, element %d", shape, i)
                            .isCloseTo(expected[i], within(1e-5 + 1e-5 * Math.abs(expected[i])));
                }
            }
        }
    }

    /** One at a time, all at once and anything between give the same bits, on any number of threads. */
    @ParameterizedTest
    @MethodSource("kernelSets")
    void aSequenceMayBeCutAnywhere(Kernels kernels) {
        for (DeltaShape shape : SHAPES) {
            float[] convolved = null;
            float[] ruled = null;
            for (int threads : new int[] {1, 3}) {
                for (int piece : new int[] {ROWS, 1, 2, 5}) {
                    try (CpuDevice device = TestData.device(kernels, threads)) {
                        Data data = new Data(device, shape);
                        float[] nextConvolved = data.convolve(piece, 0);
                        float[] nextRuled = data.rule(piece, 0);
                        convolved = convolved == null ? nextConvolved : convolved;
                        ruled = ruled == null ? nextRuled : ruled;
                        assertThat(Arrays.equals(nextConvolved, convolved))
                                .as("%s, convolution in pieces of %d on %d threads", shape, piece, threads)
                                .isTrue();
                        assertThat(Arrays.equals(nextRuled, ruled))
                                .as("%s, rule in pieces of %d on %d threads", shape, piece, threads)
                                .isTrue();
                    }
                }
            }
        }
    }

    /** What a state held before, and what stands in other rows, does not matter at position 0. */
    @ParameterizedTest
    @MethodSource("kernelSets")
    void beginsWithNothingAndLeavesOtherRowsAlone(Kernels kernels) {
        DeltaShape shape = SHAPES.get(2);
        try (CpuDevice device = TestData.device(kernels, 2)) {
            Data data = new Data(device, shape);
            float[] convolved = data.convolve(ROWS, 0);
            float[] ruled = data.rule(ROWS, 0);
            int channels = shape.channels();
            int before = 3;
            assertThat(data.convolve(7, before)).isEqualTo(convolved);
            assertThat(data.rule(7, before)).isEqualTo(ruled);
            assertThat(TestData.read(data.convolvedOut, before * channels)).containsOnly(99f);
            assertThat(TestData.read(data.ruleOut, before * shape.valueDim())).containsOnly(99f);
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void gatesBySigmoids(Kernels kernels) {
        SplittableRandom random = new SplittableRandom(5);
        try (CpuDevice device = TestData.device(kernels, 2)) {
            for (int n : new int[] {1, 4, 6, 8, 13, 31, 33, 64, 255, 4098, 70_000}) {
                float[] x = TestData.randomFloats(random, n);
                float[] gate = TestData.randomFloats(random, n);
                gate[n / 2] = n % 2 == 0 ? 80 : -80;
                DeviceBuffer data = TestData.buffer(device, x);
                device.compute().ops().sigmoidGate(data, TestData.buffer(device, gate), n);
                float[] actual = TestData.read(data, n);
                for (int i = 0; i < n; i++) {
                    double expected = x[i] / (1 + Math.exp(-gate[i]));
                    assertThat((double) actual[i]).isCloseTo(expected, within(1e-7 + 1e-6 * Math.abs(expected)));
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("kernelSets")
    void refusesWhatDoesNotFit(Kernels kernels) {
        DeltaShape shape = SHAPES.get(1);
        try (CpuDevice device = TestData.device(kernels, 1)) {
            Data data = new Data(device, shape);
            Ops ops = device.compute().ops();
            DeviceBuffer tight = device.allocate(shape.convolutionBytes(), "state");
            assertThatThrownBy(() -> ops.causalConvolution(
                            shape, data.kernel, tight, 4, data.xBuffer, 0, 1, 0, data.convolvedOut))
                    .isInstanceOf(IndexOutOfBoundsException.class)
                    .hasMessageContaining("state");
            assertThatThrownBy(() -> ops.causalConvolution(
                            shape, data.kernel, tight, -4, data.xBuffer, 0, 1, 0, data.convolvedOut))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> ops.causalConvolution(
                            shape, data.kernel, data.state, 0, data.xBuffer, 0, 1 << 20, 0, data.convolvedOut))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            Weight halves = new Weight(GgmlType.F16, shape.channels(), shape.kernel(), data.xBuffer, 0);
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> ops.causalConvolution(
                            shape, halves, data.state, 0, data.xBuffer, 0, 1, 0, data.convolvedOut))
                    .withMessageContaining("F32");
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> ops.gatedDeltaRule(
                            shape,
                            1e-6f,
                            data.state,
                            0,
                            data.xBuffer,
                            data.alpha,
                            data.beta,
                            data.kernel,
                            data.decayBias,
                            0,
                            1,
                            0,
                            data.ruleOut))
                    .withMessageContaining("decay");
            assertThatThrownBy(() -> ops.gatedDeltaRule(
                            shape,
                            1e-6f,
                            tight,
                            0,
                            data.xBuffer,
                            data.alpha,
                            data.beta,
                            data.decay,
                            data.decayBias,
                            0,
                            1,
                            0,
                            data.ruleOut))
                    .isInstanceOf(IndexOutOfBoundsException.class)
                    .hasMessageContaining("state");
        }
        assertThatIllegalArgumentException().isThrownBy(() -> new DeltaShape(2, 3, 8, 4, false));
    }

    /** Random rows; rows in front of them that nobody should touch are added where a test wants some. */
    private static final class Data {

        private static final float EPSILON = 1e-6f;
        private static final int SPARE = 3;

        private final CpuDevice device;
        private final DeltaShape shape;
        private final float[] x;
        private final float[] weights;
        private final float[] alphas;
        private final float[] betas;
        private final float[] decays;
        private final float[] biases;
        private final Weight kernel;
        private final Weight decay;
        private final Weight decayBias;
        private final DeviceBuffer xBuffer;
        private final DeviceBuffer alpha;
        private final DeviceBuffer beta;
        private final DeviceBuffer convolvedOut;
        private final DeviceBuffer ruleOut;
        private final DeviceBuffer state;

        Data(CpuDevice device, DeltaShape shape) {
            SplittableRandom random = new SplittableRandom(shape.hashCode());
            this.device = device;
            this.shape = shape;
            int heads = shape.valueHeads();
            x = TestData.randomFloats(random, ROWS * shape.channels());
            weights = TestData.randomFloats(random, shape.channels() * shape.kernel());
            alphas = TestData.randomFloats(random, ROWS * heads);
            alphas[0] = 30;
            betas = TestData.randomFloats(random, ROWS * heads);
            decays = new float[heads];
            for (int h = 0; h < heads; h++) {
                decays[h] = (float) -random.nextDouble(0.01, 1.5);
            }
            biases = TestData.randomFloats(random, heads);
            kernel = new Weight(GgmlType.F32, shape.channels(), shape.kernel(), TestData.buffer(device, weights), 0);
            decay = new Weight(GgmlType.F32, 1, heads, TestData.buffer(device, decays), 0);
            decayBias = new Weight(GgmlType.F32, 1, heads, TestData.buffer(device, biases), 0);
            xBuffer = rows(x, shape.channels());
            alpha = rows(alphas, heads);
            beta = rows(betas, heads);
            convolvedOut = rows(new float[ROWS * shape.channels()], shape.channels());
            ruleOut = rows(new float[ROWS * shape.valueDim()], shape.valueDim());
            long bytes = 64 + Math.max(shape.convolutionBytes(), shape.matrixBytes());
            float[] rubbish = new float[(int) (bytes / 4)];
            Arrays.fill(rubbish, Float.NaN);
            state = TestData.buffer(device, rubbish);
        }

        /** A buffer with the rows at its beginning, and room behind for them to be shifted. */
        private DeviceBuffer rows(float[] values, int cols) {
            return TestData.buffer(device, Arrays.copyOf(values, values.length + SPARE * cols));
        }

        private static void place(DeviceBuffer buffer, float[] values, int cols, int before) {
            float[] filler = new float[before * cols];
            Arrays.fill(filler, 99);
            buffer.upload(MemorySegment.ofArray(filler), 0);
            buffer.upload(MemorySegment.ofArray(values), 4L * filler.length);
        }

        private static float[] behind(DeviceBuffer buffer, int cols, int before) {
            float[] all = TestData.read(buffer, (before + ROWS) * cols);
            return Arrays.copyOfRange(all, before * cols, all.length);
        }

        float[] convolve(int piece, int before) {
            int channels = shape.channels();
            place(xBuffer, x, channels, before);
            place(convolvedOut, new float[ROWS * channels], channels, before);
            for (int from = 0; from < ROWS; from += piece) {
                int count = Math.min(piece, ROWS - from);
                device.compute()
                        .ops()
                        .causalConvolution(shape, kernel, state, 64, xBuffer, before + from, count, from, convolvedOut);
            }
            return behind(convolvedOut, channels, before);
        }

        float[] rule(int piece, int before) {
            place(xBuffer, x, shape.channels(), before);
            place(alpha, alphas, shape.valueHeads(), before);
            place(beta, betas, shape.valueHeads(), before);
            place(ruleOut, new float[ROWS * shape.valueDim()], shape.valueDim(), before);
            for (int from = 0; from < ROWS; from += piece) {
                int count = Math.min(piece, ROWS - from);
                device.compute()
                        .ops()
                        .gatedDeltaRule(
                                shape,
                                EPSILON,
                                state,
                                64,
                                xBuffer,
                                alpha,
                                beta,
                                decay,
                                decayBias,
                                before + from,
                                count,
                                from,
                                ruleOut);
            }
            return behind(ruleOut, shape.valueDim(), before);
        }

        /** The rule as it is written, for every head. */
        double[] expectedRule() {
            int dim = shape.headDim();
            double[] out = new double[ROWS * shape.valueDim()];
            for (int head = 0; head < shape.valueHeads(); head++) {
                int keyHead =
                        shape.interleaved() ? head % shape.keyHeads() : head * shape.keyHeads() / shape.valueHeads();
                double[][] s = new double[dim][dim];
                for (int t = 0; t < ROWS; t++) {
                    int row = t * shape.channels();
                    double[] q = unit(row + keyHead * dim);
                    double[] k = unit(row + shape.keyDim() + keyHead * dim);
                    int score = t * shape.valueHeads() + head;
                    double g = Math.exp(decays[head] * Math.log1p(Math.exp((double) alphas[score] + biases[head])));
                    double b = 1 / (1 + Math.exp(-betas[score]));
                    for (int j = 0; j < dim; j++) {
                        double found = 0;
                        for (int i = 0; i < dim; i++) {
                            s[i][j] *= g;
                            found += s[i][j] * k[i];
                        }
                        double d = b * (x[row + 2 * shape.keyDim() + head * dim + j] - found);
                        double result = 0;
                        for (int i = 0; i < dim; i++) {
                            s[i][j] += k[i] * d;
                            result += s[i][j] * q[i];
                        }
                        out[t * shape.valueDim() + head * dim + j] = result / Math.sqrt(dim);
                    }
                }
            }
            return out;
        }

        private double[] unit(int from) {
            List<Double> values = new ArrayList<>();
            for (int i = 0; i < shape.headDim(); i++) {
                values.add((double) x[from + i]);
            }
            double length = Math.sqrt(values.stream().mapToDouble(v -> v * v).sum());
            return values.stream()
                    .mapToDouble(v -> v / Math.max(length, EPSILON))
                    .toArray();
        }
    }
}
