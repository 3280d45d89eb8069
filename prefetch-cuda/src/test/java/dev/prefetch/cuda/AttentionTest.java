package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Attention and its cache against the scalar kernels of the CPU. */
class AttentionTest {

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

    static Stream<AttentionShape> shapes() {
        return Stream.of(
                new AttentionShape(1, 1, 1, 1, 1, 0, 0),
                new AttentionShape(4, 4, 33, 31, 0.2f, 0, 0),
                new AttentionShape(6, 2, 64, 64, 0.125f, 0, 0),
                new AttentionShape(8, 1, 32, 65, 0.2f, 50, 0),
                new AttentionShape(12, 4, 16, 128, 0.25f, 0, 7),
                new AttentionShape(3, 3, 80, 130, 0.1f, 20, 33),
                new AttentionShape(2, 1, 256, 257, 0.0625f, 0, 1));
    }

    @ParameterizedTest
    @MethodSource("shapes")
    void agreesWithTheScalarKernels(AttentionShape shape) {
        SplittableRandom random = new SplittableRandom(11);
        for (int pageTokens : new int[] {1, 5, 32, 64}) {
            int positions = 71;
            for (boolean sinks : new boolean[] {false, true}) {
                CachedAttention attention = CachedAttention.random(random, shape, pageTokens, positions, sinks);
                float[] expected = attention.run(cpu, 0, 40, 41);
                float[] actual = attention.run(cuda, 0, 40, 41);
                for (int i = 0; i < expected.length; i++) {
                    assertThat(actual[i])
                            .as("%s, %d tokens per page, sinks %s, element %d", shape, pageTokens, sinks, i)
                            .isCloseTo(expected[i], within(2e-5f));
                }
            }
        }
    }

    /** More positions than a chunk, so that few rows are computed in parts and merged. */
    @Test
    void longContextsAgreeAndDoNotDependOnHowAPromptIsCut() {
        SplittableRandom random = new SplittableRandom(12);
        for (AttentionShape shape :
                List.of(new AttentionShape(4, 2, 8, 8, 0.35f, 0, 0), new AttentionShape(4, 2, 8, 8, 0.35f, 0, 300))) {
            int positions = 600;
            CachedAttention attention = CachedAttention.random(random, shape, 64, positions, true);
            float[] expected = attention.run(cpu, 0);
            float[] whole = attention.run(cuda, 0);
            for (int i = 0; i < expected.length; i++) {
                assertThat(whole[i]).as("element %d", i).isCloseTo(expected[i], within(2e-5f));
            }
            float[] cut = attention.run(cuda, 0, 250, 257, 511, 512, 513, 598);
            assertThat(Arrays.equals(cut, whole)).isTrue();
        }
        assertThat(driver.calls()).containsKey("cuLaunchKernel.attention_combine");
    }

    /** Layers with a window see other pages than the rest, of each of many sequences. */
    @Test
    void theTablesOfManySequencesStayOnTheDevice() {
        List<AttentionShape> layers =
                List.of(new AttentionShape(1, 1, 4, 4, 1, 0, 0), new AttentionShape(1, 1, 4, 4, 1, 3, 0));
        int positions = 12;
        List<CachedAttention.Cache> sequences = new ArrayList<>();
        for (int i = 0; i < 50; i++) {
            sequences.add(CachedAttention.Cache.of(cuda, layers.getFirst(), 2, positions));
        }
        try (DeviceBuffer row = Devices.buffer(cuda, new float[4 * positions]);
                DeviceBuffer out = Devices.poisoned(cuda, 4 * positions)) {
            sweep(layers, sequences, row, positions, out);
            Map<String, Long> before = driver.calls();
            sweep(layers, sequences, row, positions, out);
            Map<String, Long> after = driver.calls();
            assertThat(after.get("cuLaunchKernel")).isGreaterThan(before.get("cuLaunchKernel"));
            after.forEach((call, count) -> {
                if (call.startsWith("cuMemcpy")) {
                    assertThat(count).as(call).isEqualTo(before.get(call));
                }
            });
        } finally {
            sequences.forEach(sequence -> sequence.pages().forEach(DeviceBuffer::close));
        }
    }

    /** The last position of every sequence, layer by layer. */
    private void sweep(
            List<AttentionShape> layers,
            List<CachedAttention.Cache> sequences,
            DeviceBuffer row,
            int positions,
            DeviceBuffer out) {
        for (int layer = 0; layer < 6; layer++) {
            AttentionShape shape = layers.get(layer == 5 ? 0 : 1);
            for (CachedAttention.Cache sequence : sequences) {
                cuda.compute().ops().storeKv(shape, sequence, row, row, 0, 1, positions - 1);
                cuda.compute().ops().attention(shape, sequence, row, 0, 1, positions - 1, out);
            }
        }
    }

    @Test
    void refusesWhatDoesNotFit() {
        AttentionShape shape = new AttentionShape(2, 1, 8, 8, 1, 0, 0);
        CachedAttention.Cache cache = CachedAttention.Cache.of(cuda, shape, 4, 4);
        try (DeviceBuffer q = cuda.allocate(4 * 16, "test");
                DeviceBuffer small = cuda.allocate(16, "test")) {
            assertThatThrownBy(() -> cuda.compute().ops().attention(shape, cache, q, 0, 2, 0, q))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            CachedAttention.Cache tooSmall = new CachedAttention.Cache(shape, 4, List.of(small));
            assertThatThrownBy(() -> cuda.compute().ops().attention(shape, tooSmall, q, 0, 1, 0, q))
                    .isInstanceOf(IndexOutOfBoundsException.class)
                    .hasMessageContaining("page 0");
            AttentionShape huge = new AttentionShape(1, 1, 8, 600, 1, 0, 0);
            try (DeviceBuffer large = cuda.allocate(4 * 600, "test")) {
                assertThatThrownBy(() -> cuda.compute().ops().attention(huge, cache, q, 0, 1, 0, large))
                        .hasMessageContaining("512");
            }
        } finally {
            cache.pages().forEach(DeviceBuffer::close);
        }
    }
}
