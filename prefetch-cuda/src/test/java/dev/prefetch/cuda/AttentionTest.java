package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.backend.Weight;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.gguf.GgmlType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
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

    /** Pages of a sequence, filled through {@code storeKv}. */
    private record Cache(AttentionShape shape, int pageTokens, List<DeviceBuffer> pages) implements KvLayer {

        @Override
        public GgmlType type() {
            return GgmlType.F32;
        }

        static Cache of(Device device, AttentionShape shape, int pageTokens, int positions) {
            List<DeviceBuffer> pages = new ArrayList<>();
            long bytes = 64 + 4L * shape.kvHeads() * pageTokens * (shape.keyDim() + shape.valueDim());
            for (int i = 0; i < Math.ceilDiv(positions, pageTokens); i++) {
                pages.add(device.allocate(bytes, "page"));
            }
            return new Cache(shape, pageTokens, pages);
        }

        @Override
        public DeviceBuffer page(int index) {
            return pages.get(index);
        }

        @Override
        public long keyOffset() {
            return 64;
        }

        @Override
        public long valueOffset() {
            return 64 + 4L * shape.kvHeads() * pageTokens * shape.keyDim();
        }
    }

    private record Data(float[] q, float[] k, float[] v, byte[] sinks) {}

    private static Data data(SplittableRandom random, AttentionShape s, int positions) {
        return new Data(
                Devices.randomFloats(random, positions * s.heads() * s.keyDim()),
                Devices.randomFloats(random, positions * s.kvHeads() * s.keyDim()),
                Devices.randomFloats(random, positions * s.kvHeads() * s.valueDim()),
                Devices.randomBlocks(random, GgmlType.F32, s.heads()));
    }

    /** Attention of all positions in calls that start at the given ones. */
    private static float[] attend(
            Device device, AttentionShape s, int pageTokens, Data data, boolean sinks, int positions, int... starts) {
        Cache cache = Cache.of(device, s, pageTokens, positions);
        Weight sinkScores = Devices.weight(device, GgmlType.F32, 1, s.heads(), data.sinks);
        try (DeviceBuffer q = Devices.buffer(device, data.q);
                DeviceBuffer k = Devices.buffer(device, data.k);
                DeviceBuffer v = Devices.buffer(device, data.v);
                DeviceBuffer out = Devices.poisoned(device, positions * s.heads() * s.valueDim())) {
            for (int i = 0; i < starts.length; i++) {
                int end = i + 1 < starts.length ? starts[i + 1] : positions;
                device.compute().ops().storeKv(s, cache, k, v, starts[i], end - starts[i], starts[i]);
                if (sinks) {
                    device.compute()
                            .ops()
                            .attentionWithSinks(s, cache, q, sinkScores, starts[i], end - starts[i], starts[i], out);
                } else {
                    device.compute().ops().attention(s, cache, q, starts[i], end - starts[i], starts[i], out);
                }
            }
            return Devices.read(out, positions * s.heads() * s.valueDim());
        } finally {
            sinkScores.buffer().close();
            cache.pages.forEach(DeviceBuffer::close);
        }
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
            Data data = data(random, shape, positions);
            for (boolean sinks : new boolean[] {false, true}) {
                float[] expected = attend(cpu, shape, pageTokens, data, sinks, positions, 0, 40, 41);
                float[] actual = attend(cuda, shape, pageTokens, data, sinks, positions, 0, 40, 41);
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
            Data data = data(random, shape, positions);
            float[] expected = attend(cpu, shape, 64, data, true, positions, 0);
            float[] whole = attend(cuda, shape, 64, data, true, positions, 0);
            for (int i = 0; i < expected.length; i++) {
                assertThat(whole[i]).as("element %d", i).isCloseTo(expected[i], within(2e-5f));
            }
            float[] cut = attend(cuda, shape, 64, data, true, positions, 0, 250, 257, 511, 512, 513, 598);
            assertThat(Arrays.equals(cut, whole)).isTrue();
        }
        assertThat(driver.calls()).containsKey("cuLaunchKernel.attention_combine");
    }

    @Test
    void refusesWhatDoesNotFit() {
        AttentionShape shape = new AttentionShape(2, 1, 8, 8, 1, 0, 0);
        Cache cache = Cache.of(cuda, shape, 4, 4);
        try (DeviceBuffer q = cuda.allocate(4 * 16, "test");
                DeviceBuffer small = cuda.allocate(16, "test")) {
            assertThatThrownBy(() -> cuda.compute().ops().attention(shape, cache, q, 0, 2, 0, q))
                    .isInstanceOf(IndexOutOfBoundsException.class);
            Cache tooSmall = new Cache(shape, 4, List.of(small));
            assertThatThrownBy(() -> cuda.compute().ops().attention(shape, tooSmall, q, 0, 1, 0, q))
                    .isInstanceOf(IndexOutOfBoundsException.class)
                    .hasMessageContaining("page 0");
            AttentionShape huge = new AttentionShape(1, 1, 8, 600, 1, 0, 0);
            try (DeviceBuffer large = cuda.allocate(4 * 600, "test")) {
                assertThatThrownBy(() -> cuda.compute().ops().attention(huge, cache, q, 0, 1, 0, large))
                        .hasMessageContaining("512");
            }
        } finally {
            cache.pages.forEach(DeviceBuffer::close);
        }
    }
}
