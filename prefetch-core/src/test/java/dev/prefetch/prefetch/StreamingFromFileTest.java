package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.prefetch.backend.Devices;
import dev.prefetch.gguf.GgufPart;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.model.WeightBlock.Kind;
import dev.prefetch.storage.DirectReader;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.List;
import java.util.function.Function;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The planner's plans, the real reader and a real file together. */
@Timeout(60)
class StreamingFromFileTest {

    @TempDir
    Path folder;

    private final TestModel dense = TestModel.dense(6, 40);
    private final TestDevice device = new TestDevice();
    private Path file;

    @BeforeEach
    void writeTheModel() throws IOException {
        file = write(dense);
    }

    private Path write(TestModel model) throws IOException {
        byte[] content = new byte[Math.toIntExact(model.fileSize)];
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment memory = arena.allocate((model.fileSize + 7) & -8, 8);
            TestModel.fillFromFile(0, memory);
            MemorySegment.ofArray(content).copyFrom(memory.asSlice(0, content.length));
        }
        return Files.write(folder.resolve("model.gguf"), content);
    }

    private void sweeps(TestModel model, Plan plan, Function<Path, DirectReader> open) throws IOException {
        try (Arena arena = Arena.ofShared();
                FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            MemorySegment mapping = channel.map(MapMode.READ_ONLY, 0, channel.size(), arena);
            try (StreamingWeights weights = StreamingWeights.open(
                    plan,
                    Devices.of(device),
                    open.apply(file),
                    List.of(new GgufPart(file, 0, mapping)),
                    StreamingOptions.DEFAULT.withPoison(true),
                    (d, t) -> {})) {
                for (int i = 0; i < 3; i++) {
                    sweep(weights, model, i == 0 ? Regime.PREFILL : Regime.DECODE);
                }
            }
        }
        assertThat(device.freedBytes).hasValue(device.allocatedBytes.get());
        assertThat(device.allocatedBytes.get())
                .as("what is allocated is what the plan says, and alignment")
                .isBetween(plan.allocatedBytes(), plan.allocatedBytes() + 200 * 4096);
    }

    private static void sweep(StreamingWeights weights, TestModel model, Regime regime) {
        weights.beginSweep(regime, 1);
        for (WeightBlock block : model.blocks) {
            if (block.kind() == Kind.EXPERT && block.expert() % 3 != 0) {
                continue;
            }
            try (WeightLease lease = weights.acquire(block)) {
                assertThat(TestModel.firstDifference(lease)).isNull();
            }
        }
        weights.endSweep();
    }

    @ParameterizedTest
    @ValueSource(ints = {40, 60, 80, 100})
    void givesTheFilesBytesAtAnyBudget(int percent) throws IOException {
        long bytes = dense.blocks.stream().mapToLong(WeightBlock::byteSize).sum();
        Plan plan =
                Planner.plan(PlanRequest.of(dense.blocks, bytes * percent / 100).withUbatchTokens(1));
        assertThat(plan.allResident()).isEqualTo(percent == 100);
        sweeps(dense, plan, DirectReader::open);
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 2, 3, 4, 5, 6})
    void givesTheFilesBytesAtAnyLookAheadWithNothingResident(int lookAhead) throws IOException {
        Plan plan = Planner.plan(PlanRequest.of(dense.blocks, 8 << 20)
                .withResidentBytes(0)
                .withUbatchTokens(1)
                .withLookAheadBlocks(lookAhead));
        sweeps(dense, plan, lookAhead % 2 == 0 ? DirectReader::open : DirectReader::openBuffered);
    }

    @Test
    void givesTheFilesBytesOfExperts() throws IOException {
        TestModel model = TestModel.experts(3, 12, 24);
        file = write(model);
        Plan plan = Planner.plan(PlanRequest.of(model.blocks, 1 << 20)
                .withMergeGapBytes(StreamingOptions.DEFAULT_MERGE_GAP_BYTES)
                .withExpertsPerToken(2)
                .withUbatchTokens(1));
        assertThat(plan.expertSlots()).isLessThan(36);
        sweeps(model, plan, DirectReader::open);
    }

    @Test
    void namesTheFileWhenItIsCutShortAndGoesOnWhenItIsWholeAgain() throws IOException {
        Plan plan = Planner.plan(PlanRequest.of(dense.blocks, 8 << 20)
                .withResidentBytes(0)
                .withUbatchTokens(1)
                .withLookAheadBlocks(1));
        byte[] whole = Files.readAllBytes(file);
        FileTime time = Files.getLastModifiedTime(file);
        List<WeightBlock> streamed = dense.blocks.subList(1, dense.blocks.size());
        try (Arena arena = Arena.ofShared();
                FileChannel channel = FileChannel.open(file, StandardOpenOption.READ);
                StreamingWeights weights = StreamingWeights.open(
                        plan,
                        Devices.of(device),
                        DirectReader.open(file),
                        List.of(new GgufPart(file, 0, channel.map(MapMode.READ_ONLY, 0, channel.size(), arena))),
                        StreamingOptions.DEFAULT.withAttempts(2, Duration.ofMillis(1)),
                        (d, t) -> {})) {
            try (RandomAccessFile cut = new RandomAccessFile(file.toFile(), "rw")) {
                cut.setLength(whole.length / 2);
            }
            assertThatExceptionOfType(WeightUnavailableException.class)
                    .isThrownBy(() ->
                            streamed.forEach(block -> weights.acquire(block).close()))
                    .withMessageContaining(file.toString())
                    .withMessageContaining("has changed");
            Files.write(file, whole, StandardOpenOption.TRUNCATE_EXISTING, StandardOpenOption.WRITE);
            Files.setLastModifiedTime(file, time);
            sweep(weights, dense, Regime.DECODE);
        }
    }
}
