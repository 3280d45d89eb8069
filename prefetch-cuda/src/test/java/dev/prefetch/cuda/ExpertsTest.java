package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.ExpertChoice;
import dev.prefetch.backend.ExpertOps;
import dev.prefetch.backend.Weight;
import dev.prefetch.backend.WeightTable;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** The choice of experts on the device, and products with weights that it picks. */
class ExpertsTest {

    private SimulatedDriver driver;
    private Device cuda;
    private ExpertOps experts;
    private final SplittableRandom random = new SplittableRandom(77);

    @BeforeEach
    void open() {
        driver = Devices.driver();
        cuda = Devices.cuda();
        experts = Objects.requireNonNull(cuda.compute().ops().experts());
    }

    @AfterEach
    void nothingIsFoundAndNothingLeft() {
        cuda.close();
        assertThat(driver.findings()).isEmpty();
        assertThat(driver.live()).isEqualTo(SimulatedDriver.Live.NONE);
    }

    static Stream<ExpertChoice> choices() {
        return Stream.of(
                new ExpertChoice(1, 1, false, true, 1, 1, 1),
                new ExpertChoice(8, 2, false, true, 1, 1, 1),
                new ExpertChoice(60, 4, false, false, 1, 1, 1),
                new ExpertChoice(128, 8, false, true, 1, 1, 1),
                new ExpertChoice(33, 33, true, true, 1, 1, 1),
                new ExpertChoice(64, 6, false, false, 16, 8, 3),
                new ExpertChoice(256, 8, true, true, 2.5f, 8, 4),
                new ExpertChoice(40, 5, true, false, 1, 40, 7),
                new ExpertChoice(1024, 10, true, true, 1, 1, 1));
    }

    @ParameterizedTest
    @MethodSource("choices")
    void choosesWhatTheDefinitionSays(ExpertChoice how) {
        int rows = 7;
        for (boolean withBias : new boolean[] {false, true}) {
            float[] scores = Devices.randomFloats(random, rows * how.experts());
            for (int i = how.experts(); i < 2 * how.experts(); i++) {
                // few values, so that many are equal
                scores[i] = Math.round(2 * scores[i]) / 2f;
            }
            float[] bias = withBias ? Devices.randomFloats(random, how.experts()) : null;
            int[] picks = choose(how, scores, bias, rows);
            for (int row = 0; row < rows; row++) {
                List<ExpertReference.Pick> expected = ExpertReference.choose(
                        how, Arrays.copyOfRange(scores, row * how.experts(), (row + 1) * how.experts()), bias);
                for (int j = 0; j < how.used(); j++) {
                    int at = row * how.used() + j;
                    assertThat(picks[at])
                            .as("%s, row %d, pick %d", how, row, j)
                            .isEqualTo(expected.get(j).expert());
                    double weight = Float.intBitsToFloat(picks[rows * how.used() + at]);
                    assertThat(weight)
                            .isCloseTo(
                                    expected.get(j).weight(),
                                    within(Math.abs(expected.get(j).weight()) * 1e-6));
                }
            }
            // The choice of a row does not depend on the others.
            int[] alone = choose(how, Arrays.copyOfRange(scores, 3 * how.experts(), 4 * how.experts()), bias, 1);
            assertThat(Arrays.copyOf(alone, how.used()))
                    .isEqualTo(Arrays.copyOfRange(picks, 3 * how.used(), 4 * how.used()));
            assertThat(Arrays.copyOfRange(alone, how.used(), 2 * how.used()))
                    .isEqualTo(Arrays.copyOfRange(picks, (rows + 3) * how.used(), (rows + 4) * how.used()));
        }
    }

    private int[] choose(ExpertChoice how, float[] scores, float[] bias, int rows) {
        Weight added = null;
        if (bias != null) {
            byte[] bytes = new byte[4 * bias.length];
            MemorySegment.copy(MemorySegment.ofArray(bias), 0, MemorySegment.ofArray(bytes), 0, bytes.length);
            added = Devices.weight(cuda, GgmlType.F32, 1, bias.length, bytes);
        }
        int words = 2 * rows * how.used();
        try (DeviceBuffer in = Devices.buffer(cuda, scores);
                DeviceBuffer out = Devices.poisoned(cuda, words)) {
            experts.choose(how, in, added, rows, out);
            int[] picks = new int[words];
            out.download(0, MemorySegment.ofArray(picks));
            return picks;
        } finally {
            if (added != null) {
                added.buffer().close();
            }
        }
    }

    @Test
    void scoresThatAreNoNumbersShowInTheWeightsAndNameExpertsThatExist() {
        for (ExpertChoice how :
                List.of(new ExpertChoice(6, 3, true, true, 1, 3, 2), new ExpertChoice(40, 3, false, true, 1, 1, 1))) {
            float[] scores = new float[2 * how.experts()];
            Arrays.fill(scores, 0, how.experts(), Float.NaN);
            scores[how.experts() + 1] = how.sigmoid() ? 1 : Float.NaN;
            int[] picks = choose(how, scores, null, 2);
            assertThat(Arrays.copyOf(picks, 3)).doesNotHaveDuplicates();
            for (int i = 0; i < 3; i++) {
                assertThat(picks[i]).isBetween(0, how.experts() - 1);
                assertThat(Float.intBitsToFloat(picks[6 + i])).isNaN();
                assertThat(Float.isNaN(Float.intBitsToFloat(picks[9 + i]))).isEqualTo(!how.sigmoid());
            }
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = GgmlType.class,
            names = {"F32", "BF16", "Q8_0", "Q4_K", "MXFP4"})
    void aPickedWeightGivesTheBitsOfTheDecodeKernels(GgmlType type) {
        int count = 5;
        int rows = 7;
        int cols = type.blockElements() > 1 ? 768 : 77;
        List<Weight> weights = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            weights.add(Devices.weight(cuda, type, rows, cols, Devices.randomBlocks(random, type, (long) rows * cols)));
        }
        int[] chosen = {4, 0, 2, 2, 1, 4};
        float[] x = Devices.randomFloats(random, 3 * cols);
        try (DeviceBuffer xs = Devices.buffer(cuda, x);
                DeviceBuffer picks = cuda.allocate(4L * chosen.length, "test");
                DeviceBuffer addresses = cuda.allocate(64, "test");
                DeviceBuffer y = Devices.poisoned(cuda, rows * chosen.length);
                DeviceBuffer expected = Devices.poisoned(cuda, rows)) {
            picks.upload(MemorySegment.ofArray(chosen), 0);
            WeightTable table = experts.tabulate(weights, addresses, 8);
            experts.matmul(table, picks, xs, 2, chosen.length, y);
            float[] actual = Devices.read(y, rows * chosen.length);
            for (int i = 0; i < chosen.length; i++) {
                try (DeviceBuffer one = Devices.buffer(cuda, Arrays.copyOfRange(x, i / 2 * cols, (i / 2 + 1) * cols))) {
                    cuda.compute().ops().matmul(weights.get(chosen[i]), one, 1, 1, expected);
                    assertThat(Arrays.copyOfRange(actual, i * rows, (i + 1) * rows))
                            .as("%s, pick %d", type, i)
                            .isEqualTo(Devices.read(expected, rows));
                }
            }
            assertThatThrownBy(() -> experts.matmul(table, picks, xs, 1, chosen.length, y))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> experts.tabulate(weights, addresses, 32))
                    .isInstanceOf(IndexOutOfBoundsException.class);
        } finally {
            weights.forEach(weight -> weight.buffer().close());
        }
    }

    @ParameterizedTest
    @MethodSource("dims")
    void addsBiasesAndResultsOfPicks(int dim) {
        int used = 3;
        int rows = 2;
        int[] chosen = {0, 2, 3, 1, 2, 3};
        float[] weights = Devices.randomFloats(random, rows * used);
        List<Weight> biases = new ArrayList<>();
        List<float[]> values = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            byte[] bytes = Devices.randomBlocks(random, GgmlType.F32, dim);
            float[] floats = new float[dim];
            MemorySegment.copy(MemorySegment.ofArray(bytes), 0, MemorySegment.ofArray(floats), 0, bytes.length);
            biases.add(Devices.weight(cuda, GgmlType.F32, 1, dim, bytes));
            values.add(floats);
        }
        float[] x = Devices.randomFloats(random, rows * used * dim);
        float[] target = Devices.randomFloats(random, rows * dim);
        float[] scores = Devices.randomFloats(random, rows);
        try (DeviceBuffer xs = Devices.buffer(cuda, x);
                DeviceBuffer sums = Devices.buffer(cuda, target);
                DeviceBuffer shared = Devices.buffer(cuda, scores);
                DeviceBuffer picks = cuda.allocate(8L * rows * used, "test");
                DeviceBuffer addresses = cuda.allocate(32, "test")) {
            picks.upload(MemorySegment.ofArray(chosen), 0);
            picks.upload(MemorySegment.ofArray(weights), 4L * chosen.length);
            experts.addBias(experts.tabulate(biases, addresses, 0), picks, chosen.length, xs);
            float[] biased = Devices.read(xs, x.length);
            for (int i = 0; i < x.length; i++) {
                assertThat(biased[i]).isEqualTo(x[i] + values.get(chosen[i / dim])[i % dim]);
            }
            experts.addResults(xs, picks, used, rows, dim, sums);
            float[] added = Devices.read(sums, target.length);
            for (int i = 0; i < target.length; i++) {
                float expected = target[i];
                for (int j = 0; j < used; j++) {
                    int pick = i / dim * used + j;
                    expected = Math.fma(weights[pick], biased[pick * dim + i % dim], expected);
                }
                assertThat(added[i]).isEqualTo(expected);
            }
            experts.addByScore(xs, shared, rows, dim, sums);
            float[] scored = Devices.read(sums, target.length);
            for (int i = 0; i < target.length; i++) {
                double expected = added[i] + biased[i] / (1 + Math.exp(-scores[i / dim]));
                assertThat((double) scored[i]).isCloseTo(expected, within(1e-6 * Math.max(1, Math.abs(expected))));
            }
        } finally {
            biases.forEach(bias -> bias.buffer().close());
        }
    }

    static IntStream dims() {
        return IntStream.of(1, 33, 257);
    }

    @Test
    void refusesWhatItCannotDo() {
        try (DeviceBuffer small = cuda.allocate(16, "test")) {
            assertThatThrownBy(
                            () -> experts.choose(new ExpertChoice(8, 2, false, true, 1, 1, 1), small, null, 1, small))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() ->
                            experts.choose(new ExpertChoice(1025, 2, false, true, 1, 1, 1), small, null, 1, small))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("1024");
            List<Weight> unlike =
                    List.of(new Weight(GgmlType.F32, 1, 4, small, 0), new Weight(GgmlType.F32, 1, 3, small, 0));
            assertThatThrownBy(() -> experts.tabulate(unlike, small, 0))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("alike");
        }
        assertThatThrownBy(() -> new ExpertChoice(8, 9, false, true, 1, 1, 1))
                .isInstanceOf(IllegalArgumentException.class);
    }
}
