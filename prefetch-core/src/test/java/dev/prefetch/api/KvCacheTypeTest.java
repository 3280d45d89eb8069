package dev.prefetch.api;

import static dev.prefetch.api.ReferenceLogitsTest.logits;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.UnsupportedModelException;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.testing.Conformance;
import dev.prefetch.testing.DemoModel;
import dev.prefetch.testing.MeteredBackend;
import dev.prefetch.testing.RandomModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Engines that keep keys and values in fewer bits. */
class KvCacheTypeTest {

    /** Relative error of a position beyond which it cannot be rounding: another expert was chosen there. */
    private static final double TURNED = 0.1;

    /** Positions of a mixture of experts that may be so. */
    private static final int MOST_TURNED = 3;

    /**
     * Largest relative RMS of the logits against keys and values in f32. Where kernels round activations to 8 bits, which is
     * everywhere but in files of floats, a last bit that changes turns roundings behind it.
     */
    private static double bound(KvCacheType type, Path model) {
        boolean floats = model.toString().matches(".*-(F32|F16|BF16)\\.gguf");
        return switch (type) {
            case F32 -> 0;
            case F16 -> floats ? 5e-4 : 3e-2;
            case Q8_0 -> floats ? 2.5e-2 : 4e-2;
        };
    }

    /** One model of every architecture, and those of the reference logits. */
    static Stream<Path> models() throws IOException {
        List<Path> models = new ArrayList<>(List.of(DemoModel.file()));
        RandomModel.families().stream().map(RandomModel::mixed).forEach(models::add);
        if (Conformance.isPresent()) {
            try (Stream<Path> files = Files.list(Conformance.folder().resolve("logits"))) {
                files.filter(file -> file.toString().endsWith(".gguf")).sorted().forEach(models::add);
            }
        }
        return models.stream();
    }

    private static EngineOptions options(Path model, KvCacheType type) {
        return EngineOptions.of(model).withThreads(2).withMaxConcurrency(1).withKvCacheType(type);
    }

    private static int[] tokens(int count) {
        return IntStream.range(0, count).map(i -> (i * 7919 + 13) % 259).toArray();
    }

    @ParameterizedTest
    @MethodSource("models")
    void logitsStayNearThoseOfFullPrecision(Path model) throws Exception {
        int[] tokens = tokens(48);
        for (boolean stepByStep : new boolean[] {false, true}) {
            float[] exact = logits(options(model, KvCacheType.F32), tokens, stepByStep);
            for (KvCacheType type : List.of(KvCacheType.F16, KvCacheType.Q8_0)) {
                float[] kept = logits(options(model, type), tokens, stepByStep);
                List<Double> distances = distances(kept, exact, tokens.length);
                List<Double> rounding = distances.stream()
                        .filter(distance -> distance <= TURNED)
                        .toList();
                int turned = distances.size() - rounding.size();
                double distance = Math.sqrt(
                        rounding.stream().mapToDouble(d -> d * d).average().orElseThrow());
                String name = model.getFileName() + " " + type + (stepByStep ? " decode" : " prefill");
                assertThat(turned).as(name).isLessThanOrEqualTo(hasExperts(model) ? MOST_TURNED : 0);
                assertThat(distance).as(name).isPositive().isLessThanOrEqualTo(bound(type, model));
            }
        }
    }

    private static boolean hasExperts(Path model) {
        try (GgufFile file = GgufFile.open(model)) {
            return ModelConfig.read(file).expertsUsed() > 0;
        }
    }

    /** Relative RMS of every position. */
    private static List<Double> distances(float[] kept, float[] exact, int positions) {
        int vocabulary = exact.length / positions;
        return IntStream.range(0, positions)
                .mapToObj(p -> ReferenceLogitsTest.relativeRms(
                        Arrays.copyOfRange(kept, p * vocabulary, (p + 1) * vocabulary),
                        Arrays.copyOfRange(exact, p * vocabulary, (p + 1) * vocabulary)))
                .toList();
    }

    static Stream<Path> families() {
        return Stream.concat(
                Stream.of(DemoModel.file()), RandomModel.families().stream().map(RandomModel::mixed));
    }

    /** Law 1, with each type: neither how a prompt is cut nor where the weights are changes a bit. */
    @ParameterizedTest
    @MethodSource("families")
    void cutsAndPlansGiveTheSameBits(Path model) throws Exception {
        int[] tokens = tokens(90);
        for (KvCacheType type : List.of(KvCacheType.F16, KvCacheType.Q8_0)) {
            EngineOptions whole = options(model, type);
            float[] prefill = logits(whole, tokens, false);
            float[] decode = logits(whole, tokens, true);
            assertThat(logits(whole.withUbatch(64).withThreads(3), tokens, false))
                    .as("%s %s in two sweeps", model.getFileName(), type)
                    .isEqualTo(prefill);
            EngineOptions streaming =
                    whole.withUbatch(7).withMemory(whole.memory().withWeights(MemoryAmount.parse("75%")));
            try (PrefetchEngine engine = PrefetchEngine.open(streaming)) {
                assertThat(engine.plan().allResident()).isFalse();
                assertThat(engine.logits(tokens, false))
                        .as("%s %s streamed, 7 tokens a sweep", model.getFileName(), type)
                        .isEqualTo(prefill);
                assertThat(engine.logits(tokens, true))
                        .as("%s %s streamed", model.getFileName(), type)
                        .isEqualTo(decode);
            }
        }
    }

    /** Batches, the prompt cache and windows: what a request gets alone it gets among others, and again. */
    @ParameterizedTest
    @EnumSource(KvCacheType.class)
    void requestsBesideAndAfterOthersGetTheSameTokens(KvCacheType type) throws Exception {
        for (Path model : List.of(DemoModel.file(), RandomModel.mixed("gemma3"), RandomModel.mixed("gpt-oss"))) {
            List<GenerationRequest> requests = IntStream.range(0, 5)
                    .mapToObj(i -> new GenerationRequest(
                            new Prompt.Tokens(
                                    Arrays.stream(tokens(70 + 30 * i)).boxed().toList()),
                            SamplingOptions.GREEDY,
                            30,
                            List.of(),
                            true))
                    .toList();
            List<List<Integer>> alone = new ArrayList<>();
            EngineOptions options = options(model, type).withContextLength(512);
            for (GenerationRequest request : requests) {
                try (PrefetchEngine engine = PrefetchEngine.open(options)) {
                    alone.add(engine.generate(request).tokens());
                }
            }
            try (PrefetchEngine engine =
                    PrefetchEngine.open(options.withMaxConcurrency(4).withUbatch(32))) {
                assertThat(engine.info().kvCacheType()).isEqualTo(type);
                for (int round = 0; round < 2; round++) {
                    List<Generation> running = requests.stream()
                            .map(request -> engine.generate(request, GenerationListener.NONE))
                            .toList();
                    for (int i = 0; i < running.size(); i++) {
                        assertThat(running.get(i).await().tokens())
                                .as("%s %s request %d, round %d", model.getFileName(), type, i, round)
                                .isEqualTo(alone.get(i));
                    }
                }
                assertThat(engine.status().counters().cachedPromptTokens()).isPositive();
            }
        }
    }

    @Test
    void fewerBitsTakeFewerBytes() {
        long[] capacity = Arrays.stream(KvCacheType.values())
                .mapToLong(type -> {
                    EngineOptions options = options(DemoModel.file(), type).withContextLength(1024);
                    try (PrefetchEngine engine = PrefetchEngine.open(options)) {
                        return engine.status().kvBytesCapacity();
                    }
                })
                .toArray();
        assertThat(2 * capacity[1]).isEqualTo(capacity[0]);
        assertThat(128 * capacity[2]).isEqualTo(34 * capacity[0]);
    }

    @Test
    void aDeviceWithoutKernelsForTheTypeIsNamedWithTheRemedy() {
        EngineOptions options = options(DemoModel.file(), KvCacheType.Q8_0).withBackend(MeteredBackend.ID);
        assertThatThrownBy(() -> PrefetchEngine.open(options).close())
                .isInstanceOf(UnsupportedModelException.class)
                .hasMessageContaining("spring.ai.prefetch.kv-cache-type=q8_0")
                .hasMessageContaining("metered")
                .hasMessageContaining("keeps keys and values as f32")
                .hasMessageContaining("spring.ai.prefetch.backend=cpu");
    }

    @Test
    void headsThatAreNoWholeBlocksAreNamedWithTheRemedy() {
        Path file = Path.of("odd.gguf");
        for (AttentionShape shape :
                List.of(new AttentionShape(4, 2, 80, 64, 1, 0, 0), new AttentionShape(4, 2, 64, 80, 1, 0, 0))) {
            DeviceSet.requireWholeBlocks(file, shape, KvCacheType.F16);
            assertThatThrownBy(() -> DeviceSet.requireWholeBlocks(file, shape, KvCacheType.Q8_0))
                    .isInstanceOf(UnsupportedModelException.class)
                    .hasMessageContaining("odd.gguf: spring.ai.prefetch.kv-cache-type=q8_0")
                    .hasMessageContaining("multiple of 32")
                    .hasMessageContaining("80")
                    .hasMessageContaining("choose f16 or f32");
        }
    }

    @Test
    void readsNamesInAnyCase() {
        for (KvCacheType type : KvCacheType.values()) {
            assertThat(KvCacheType.ofId(type.id())).isEqualTo(type);
        }
        assertThat(KvCacheType.ofId("Q8_0")).isEqualTo(KvCacheType.Q8_0);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> KvCacheType.ofId("q4_0"))
                .withMessageContaining("f32, f16, q8_0");
    }
}
