package dev.prefetch;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.AcceleratorOptions;
import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.KvCacheType;
import dev.prefetch.api.LoraSource;
import dev.prefetch.api.MemoryOptions;
import dev.prefetch.api.ServingOptions;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.inference.BatchLimits;
import dev.prefetch.inference.Speculation;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.PlanRequest;
import dev.prefetch.prefetch.StreamingOptions;
import java.lang.reflect.Method;
import java.lang.reflect.RecordComponent;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** A method {@code withX} of a record changes its component x and nothing else. */
class WithMethodsTest {

    /** Of each record two that differ in every component that can be changed, and how many those are. */
    static Stream<Arguments> records() {
        List<WeightBlock> blocks = List.of(new WeightBlock(0, WeightBlock.Kind.EMBEDDING, -1, -1, List.of()));
        CostModel costs = new CostModel(1e12, 8e9, 60e9, 0.6, false);
        return Stream.of(
                Arguments.of(
                        EngineOptions.of(Path.of("model.gguf")),
                        new EngineOptions(
                                Path.of("model.gguf"),
                                1,
                                2,
                                "cpu",
                                3,
                                4,
                                KvCacheType.F16,
                                MemoryOptions.AUTO.withWeights(MemoryAmount.parse("5%")),
                                AcceleratorOptions.AUTO.withRetryAfter(Duration.ofSeconds(6)),
                                ServingOptions.DEFAULT.withQueueLimit(7),
                                List.of(new LoraSource(Path.of("adapter.gguf"), 8))),
                        10),
                Arguments.of(
                        PlanRequest.of(blocks, 1),
                        new PlanRequest(
                                blocks,
                                2,
                                3,
                                4,
                                5,
                                8192,
                                6,
                                7,
                                8,
                                9,
                                costs,
                                new PlanRequest.Accelerator(10, CostModel.ASSUMED, true)),
                        11),
                Arguments.of(
                        StreamingOptions.DEFAULT,
                        new StreamingOptions(
                                1,
                                8192,
                                StreamingOptions.DEFAULT_MERGE_GAP_BYTES,
                                2,
                                Duration.ofMillis(3),
                                Duration.ofMillis(4),
                                Duration.ofMillis(5),
                                true,
                                6,
                                true,
                                false),
                        6),
                Arguments.of(
                        new BatchLimits(1, 2, 3, 4),
                        new BatchLimits(1, 2, 5, 3, GgmlType.F16, 4, 6, 7, Speculation.ON, 8),
                        6),
                Arguments.of(
                        ServingOptions.DEFAULT,
                        new ServingOptions(MemoryAmount.parse("1"), 2, 3, Speculation.ON, Path.of("prompts")),
                        5));
    }

    @ParameterizedTest
    @MethodSource("records")
    void changesItsComponentAndNothingElse(Record one, Record other, int expected) throws Exception {
        RecordComponent[] components = one.getClass().getRecordComponents();
        int found = 0;
        for (int i = 0; i < components.length; i++) {
            Optional<Method> with = withMethod(one.getClass(), components[i].getName());
            if (with.isEmpty()) {
                continue;
            }
            found++;
            Object value = components[i].getAccessor().invoke(other);
            Object changed = with.get().invoke(one, value);
            assertThat(value)
                    .as("the records differ in " + components[i])
                    .isNotEqualTo(components[i].getAccessor().invoke(one));
            for (int j = 0; j < components.length; j++) {
                assertThat(components[j].getAccessor().invoke(changed))
                        .as("%s after %s", components[j].getName(), with.get().getName())
                        .isEqualTo(components[j].getAccessor().invoke(j == i ? other : one));
            }
        }
        assertThat(found).isEqualTo(expected);
    }

    private static Optional<Method> withMethod(Class<?> type, String component) {
        String name = "with" + Character.toUpperCase(component.charAt(0)) + component.substring(1);
        return Arrays.stream(type.getMethods())
                .filter(method -> method.getName().equals(name) && method.getParameterCount() == 1)
                .findFirst();
    }

    @ParameterizedTest
    @MethodSource("pairs")
    void changesTwoTogether(StreamingOptions found, StreamingOptions expected) {
        assertThat(found).isEqualTo(expected);
    }

    static Stream<Arguments> pairs() {
        StreamingOptions all = StreamingOptions.DEFAULT;
        Duration one = Duration.ofMillis(1);
        Duration two = Duration.ofMillis(2);
        return Stream.of(
                Arguments.of(
                        all.withAttempts(9, one),
                        new StreamingOptions(
                                all.readerThreads(),
                                all.chunkBytes(),
                                all.mergeGapBytes(),
                                9,
                                one,
                                all.acquireTimeout(),
                                all.closeTimeout(),
                                all.poison(),
                                all.traceSweeps(),
                                all.tune(),
                                all.pageLock())),
                Arguments.of(
                        all.withTimeouts(one, two),
                        new StreamingOptions(
                                all.readerThreads(),
                                all.chunkBytes(),
                                all.mergeGapBytes(),
                                all.attempts(),
                                all.retryDelay(),
                                one,
                                two,
                                all.poison(),
                                all.traceSweeps(),
                                all.tune(),
                                all.pageLock())));
    }
}
