package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
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
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
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

    static Stream<Arguments> keptShapes() {
        List<AttentionShape> blocks = List.of(
                new AttentionShape(6, 2, 64, 32, 0.125f, 0, 0),
                new AttentionShape(8, 1, 32, 96, 0.2f, 50, 0),
                new AttentionShape(12, 4, 32, 128, 0.25f, 0, 7),
                new AttentionShape(2, 1, 192, 288, 0.0625f, 0, 33));
        return Stream.concat(
                shapes().map(shape -> Arguments.of(GgmlType.F16, shape)),
                blocks.stream().map(shape -> Arguments.of(GgmlType.Q8_0, shape)));
    }

    /** Both sides keep the same bits, so that attention agrees as closely as with f32. */
    @ParameterizedTest
    @MethodSource("keptShapes")
    void agreesWithTheScalarKernelsWhateverIsKept(GgmlType type, AttentionShape shape) {
        SplittableRandom random = new SplittableRandom(13);
        for (int pageTokens : new int[] {1, 5, 64}) {
            int positions = 71;
            boolean sinks = pageTokens > 1;
            CachedAttention attention = CachedAttention.random(random, shape, pageTokens, positions, sinks)
                    .withType(type);
            assertThat(attention.store(cuda))
                    .as("pages of %s, %d tokens each", shape, pageTokens)
                    .containsExactlyElementsOf(attention.store(cpu));
            float[] expected = attention.run(cpu, 0, 40, 41);
            float[] actual = attention.run(cuda, 0, 40, 41);
            for (int i = 0; i < expected.length; i++) {
                assertThat(actual[i])
                        .as("%s, %d tokens per page, sinks %s, element %d", shape, pageTokens, sinks, i)
                        .isCloseTo(expected[i], within(2e-5f));
            }
        }
    }

    /** Rounding at its edges: ties, what is beyond the range of a half, what is too small for it, and what is no number. */
    @ParameterizedTest
    @EnumSource(
            value = GgmlType.class,
            names = {"F16", "Q8_0"})
    void roundsAsTheCpuDoes(GgmlType type) {
        AttentionShape shape = new AttentionShape(1, 1, 32, 32, 1, 0, 0);
        List<float[]> rows = new ArrayList<>();
        rows.add(new float[32]);
        float[] ties = new float[32];
        float[] below = new float[32];
        for (int i = 0; i < 32; i++) {
            // with a largest of 127, codes are the numbers themselves
            ties[i] = i == 0 ? 127 : (i - 16) + 0.5f;
            below[i] = i == 0 ? 127 : Math.nextDown(Math.abs(i - 16) + 0.5f) * (i % 2 == 0 ? 1 : -1);
        }
        rows.add(ties);
        rows.add(below);
        for (float largest : new float[] {
            Float.NaN, Float.NEGATIVE_INFINITY, Float.MAX_VALUE, 65519, 65520, 8.4e6f, 3e-6f, 1e-7f, 1e-38f, 1e-44f
        }) {
            float[] row = new float[32];
            for (int i = 0; i < 32; i++) {
                row[i] = largest * ((i * 7 + 5) % 32 - 15) / 16;
            }
            row[31] = largest;
            rows.add(row);
        }
        float[] all = new float[32 * rows.size()];
        for (int i = 0; i < rows.size(); i++) {
            System.arraycopy(rows.get(i), 0, all, 32 * i, 32);
        }
        CachedAttention attention = CachedAttention.random(new SplittableRandom(14), shape, 4, rows.size(), false)
                .withType(type)
                .withKeysAndValues(all, all);
        List<byte[]> expected = attention.store(cpu);
        List<byte[]> actual = attention.store(cuda);
        for (int row = 0; row < rows.size(); row++) {
            int bytes = (int) type.byteSize(32);
            int at = 64 + row % 4 * bytes;
            for (int i = 0; i < 32; i++) {
                assertThat(Float.floatToIntBits(element(type, actual.get(row / 4), at, i)))
                        .as("%s, row %d, element %d, %s", type, row, i, rows.get(row)[i])
                        .isEqualTo(Float.floatToIntBits(element(type, expected.get(row / 4), at, i)));
            }
        }
    }

    private static float element(GgmlType type, byte[] page, int at, int i) {
        MemorySegment bytes = MemorySegment.ofArray(page);
        int scale = type == GgmlType.F16 ? at + 2 * i : at;
        float value = Float.float16ToFloat(bytes.get(ValueLayout.JAVA_SHORT_UNALIGNED, scale));
        // Zeros of both signs are equal.
        return 0f + (type == GgmlType.F16 ? value : value * page[at + 2 + i]);
    }

    /** More positions than a chunk, so that few rows are computed in parts and merged. */
    @Test
    void longContextsAgreeAndDoNotDependOnHowAPromptIsCut() {
        SplittableRandom random = new SplittableRandom(12);
        AttentionShape blocks = new AttentionShape(2, 1, 32, 32, 0.2f, 0, 300);
        for (CachedAttention attention : List.of(
                CachedAttention.random(random, new AttentionShape(4, 2, 8, 8, 0.35f, 0, 0), 64, 600, true),
                CachedAttention.random(random, new AttentionShape(4, 2, 8, 8, 0.35f, 0, 300), 64, 600, true),
                CachedAttention.random(random, blocks, 64, 600, true).withType(GgmlType.F16),
                CachedAttention.random(random, blocks, 64, 600, true).withType(GgmlType.Q8_0))) {
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
            sequences.add(CachedAttention.Cache.of(cuda, GgmlType.F32, layers.getFirst(), 2, positions));
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
    void refusesTypesWithoutKernelsAndHeadsThatAreNoWholeBlocks() {
        AttentionShape shape = new AttentionShape(1, 1, 40, 40, 1, 0, 0);
        try (DeviceBuffer rows = cuda.allocate(4 * 40, "test")) {
            CachedAttention.Cache bf16 = new CachedAttention.Cache(GgmlType.BF16, shape, 1, List.of(rows));
            assertThatThrownBy(() -> cuda.compute().ops().storeKv(shape, bf16, rows, rows, 0, 1, 0))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("BF16");
            assertThatThrownBy(() -> cuda.compute().ops().attention(shape, bf16, rows, 0, 1, 0, rows))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("BF16");
            KvLayer odd = new KvLayer() {
                @Override
                public GgmlType type() {
                    return GgmlType.Q8_0;
                }

                @Override
                public int pageTokens() {
                    return 1;
                }

                @Override
                public DeviceBuffer page(int index) {
                    return rows;
                }

                @Override
                public long keyOffset() {
                    return 0;
                }

                @Override
                public long valueOffset() {
                    return 0;
                }
            };
            assertThatThrownBy(() -> cuda.compute().ops().storeKv(shape, odd, rows, rows, 0, 1, 0))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("40 elements");
        }
    }

    @Test
    void refusesWhatDoesNotFit() {
        AttentionShape shape = new AttentionShape(2, 1, 8, 8, 1, 0, 0);
        CachedAttention.Cache cache = CachedAttention.Cache.of(cuda, GgmlType.F32, shape, 4, 4);
        try (DeviceBuffer q = cuda.allocate(4 * 16, "test");
                DeviceBuffer small = cuda.allocate(16, "test")) {
            assertThatThrownBy(() -> cuda.compute().ops().attention(shape, cache, q, 0, 2, 0, q))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            CachedAttention.Cache tooSmall = new CachedAttention.Cache(GgmlType.F32, shape, 4, List.of(small));
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
