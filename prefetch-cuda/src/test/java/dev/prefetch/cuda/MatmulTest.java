package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Weight;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.gguf.GgmlType;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Products of every weight format, decode and prefill, against the scalar kernels of the CPU. */
class MatmulTest {

    /** Bits that half precision keeps of weights and of activations. */
    private static final double HALF = Math.pow(2, -11);

    private SimulatedDriver driver;
    private Device cuda;
    private Device cpu;

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

    static Stream<GgmlType> types() {
        return WeightFormat.TYPES.stream();
    }

    @Test
    void readsEveryFormatThatTheHostReads() {
        assertThat(cuda.weightTypes()).isEqualTo(cpu.weightTypes());
    }

    @Test
    void refusesAFormatThatIsNotOneOfWeightsByItsName() {
        assertThatThrownBy(() -> multiply(cuda, GgmlType.Q8_K, new byte[292], new float[256], 1, 256, 1, 1))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("Q8_K");
    }

    private record Case(int rows, int cols, int decodeRows, int count) {}

    private static List<Case> cases(GgmlType type) {
        int block = type.blockElements();
        return block == 1
                ? List.of(
                        new Case(1, 1, 1, 2),
                        new Case(2, 31, 2, 5),
                        new Case(33, 33, 0, 3),
                        new Case(31, 255, 5, 5),
                        new Case(65, 257, 3, 40),
                        new Case(32, 256, 1, 130),
                        new Case(3, 1100, 2, 3))
                : List.of(
                        new Case(1, block, 1, 2),
                        new Case(2, 2 * block, 2, 5),
                        new Case(33, 3 * block, 0, 33),
                        new Case(65, 5 * block, 9, 31),
                        new Case(3, 20 * block, 2, 3),
                        new Case(31, 2 * block, 3, 140));
    }

    @ParameterizedTest
    @MethodSource("types")
    void agreesWithTheScalarKernels(GgmlType type) {
        long seed = 41 + type.ordinal();
        SplittableRandom random = new SplittableRandom(seed);
        for (Case c : cases(type)) {
            byte[] blocks = Devices.randomBlocks(random, type, (long) c.rows * c.cols);
            float[] x = Devices.randomFloats(random, c.count * c.cols);
            float[] expected = multiply(cpu, type, blocks, x, c.rows, c.cols, c.decodeRows, c.count);
            float[] actual = multiply(cuda, type, blocks, x, c.rows, c.cols, c.decodeRows, c.count);
            double[] magnitudes = magnitudes(type, blocks, x, c);
            for (int i = 0; i < expected.length; i++) {
                boolean decode = i / c.rows < c.decodeRows;
                // Sums of f32 products round at each step; prefill also rounds both factors to half precision.
                double relative = Math.pow(2, -24) * (8 + Math.sqrt(c.cols));
                if (!decode && type != GgmlType.F32) {
                    relative += 3 * HALF;
                }
                assertThat(actual[i])
                        .as("%s, seed %d, row %d of %s", type, seed, i / c.rows, c)
                        .isCloseTo(expected[i], org.assertj.core.api.Assertions.within((float)
                                (relative * magnitudes[i] + 1e-6)));
            }
        }
    }

    /** The root of the sum of squares of the products of every element: what rounding errors are measured by. */
    private double[] magnitudes(GgmlType type, byte[] blocks, float[] x, Case c) {
        float[] weights = expand(type, blocks, c);
        double[] magnitudes = new double[c.count * c.rows];
        for (int t = 0; t < c.count; t++) {
            for (int r = 0; r < c.rows; r++) {
                double sum = 0;
                for (int k = 0; k < c.cols; k++) {
                    sum += Math.pow((double) weights[r * c.cols + k] * x[t * c.cols + k], 2);
                }
                magnitudes[t * c.rows + r] = Math.sqrt(sum);
            }
        }
        return magnitudes;
    }

    private float[] expand(GgmlType type, byte[] blocks, Case c) {
        Weight w = Devices.weight(cpu, type, c.rows, c.cols, blocks);
        try (DeviceBuffer out = cpu.allocate(4L * c.rows * c.cols, "test")) {
            int[] all = java.util.stream.IntStream.range(0, c.rows).toArray();
            cpu.compute().ops().embed(w, all, c.rows, out);
            return Devices.read(out, c.rows * c.cols);
        } finally {
            w.buffer().close();
        }
    }

    private static float[] multiply(
            Device device, GgmlType type, byte[] blocks, float[] x, int rows, int cols, int decodeRows, int count) {
        Weight w = Devices.weight(device, type, rows, cols, blocks);
        try (DeviceBuffer in = Devices.buffer(device, x);
                DeviceBuffer out = Devices.poisoned(device, count * rows)) {
            device.compute().ops().matmul(w, in, decodeRows, count, out);
            return Devices.read(out, count * rows);
        } finally {
            w.buffer().close();
        }
    }

    @ParameterizedTest
    @MethodSource("types")
    void aRowHasTheSameBitsInEveryBatch(GgmlType type) {
        long seed = 97 + type.ordinal();
        SplittableRandom random = new SplittableRandom(seed);
        int rows = 35;
        int cols = type.blockElements() == 1 ? 171 : 3 * type.blockElements();
        byte[] blocks = Devices.randomBlocks(random, type, (long) rows * cols);
        float[] row = Devices.randomFloats(random, cols);
        for (boolean decode : new boolean[] {true, false}) {
            float[] alone = multiply(cuda, type, blocks, row, rows, cols, decode ? 1 : 0, 1);
            for (int count : decode ? new int[] {2, 4, 7} : new int[] {2, 33, 70, 130}) {
                for (int place : new int[] {0, count / 2, count - 1}) {
                    float[] x = Devices.randomFloats(random, count * cols);
                    System.arraycopy(row, 0, x, place * cols, cols);
                    float[] together = multiply(cuda, type, blocks, x, rows, cols, decode ? count : 0, count);
                    assertThat(Arrays.copyOfRange(together, place * rows, (place + 1) * rows))
                            .as(
                                    "%s, seed %d, row %d of %d, %s",
                                    type, seed, place, count, decode ? "decode" : "prefill")
                            .containsExactly(alone);
                }
            }
        }
    }

    @Test
    void severalProductsOfOneInputAreTheSameAsOneByOne() {
        SplittableRandom random = new SplittableRandom(5);
        int cols = 256;
        List<GgmlType> types = List.of(GgmlType.Q4_K, GgmlType.F32, GgmlType.Q6_K);
        float[] x = Devices.randomFloats(random, 9 * cols);
        try (DeviceBuffer in = Devices.buffer(cuda, x)) {
            List<Weight> weights = types.stream()
                    .map(type -> Devices.weight(cuda, type, 20, cols, Devices.randomBlocks(random, type, 20L * cols)))
                    .toList();
            List<DeviceBuffer> together =
                    types.stream().map(type -> Devices.poisoned(cuda, 9 * 20)).toList();
            List<DeviceBuffer> single =
                    types.stream().map(type -> Devices.poisoned(cuda, 9 * 20)).toList();
            cuda.compute().ops().matmuls(weights, in, 2, 9, together);
            for (int i = 0; i < types.size(); i++) {
                cuda.compute().ops().matmul(weights.get(i), in, 2, 9, single.get(i));
                assertThat(Devices.read(together.get(i), 180)).containsExactly(Devices.read(single.get(i), 180));
            }
        }
    }

    /** Large activations would overflow half precision, small ones would vanish, if rows had no scale of their own. */
    @Test
    void prefillKeepsItsPrecisionWhateverTheSizeOfTheActivations() {
        SplittableRandom random = new SplittableRandom(6);
        int cols = 64;
        byte[] blocks = Devices.randomBlocks(random, GgmlType.Q8_0, 8L * cols);
        float[] row = Devices.randomFloats(random, cols);
        float[] usual = multiply(cuda, GgmlType.Q8_0, blocks, row, 8, cols, 0, 1);
        for (float factor : new float[] {0x1p80f, 0x1p20f, 0x1p-20f, 0x1p-80f}) {
            float[] scaled = row.clone();
            for (int i = 0; i < cols; i++) {
                scaled[i] *= factor;
            }
            float[] result = multiply(cuda, GgmlType.Q8_0, blocks, scaled, 8, cols, 0, 1);
            for (int i = 0; i < 8; i++) {
                assertThat(result[i]).isEqualTo(usual[i] * factor);
            }
        }
        assertThat(multiply(cuda, GgmlType.Q8_0, blocks, new float[cols], 8, cols, 0, 1))
                .containsOnly(0f);
        float[] broken = row.clone();
        broken[3] = Float.NaN;
        for (float value : multiply(cuda, GgmlType.Q8_0, blocks, broken, 8, cols, 0, 1)) {
            assertThat(value).isNaN();
        }
    }
}
