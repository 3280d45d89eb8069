package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.inference.Pooling;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.model.UnsupportedModelException;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.testing.ExactVectors;
import dev.prefetch.testing.MeteredBackend;
import dev.prefetch.testing.RandomAdapter;
import dev.prefetch.testing.RandomEncoder;
import dev.prefetch.testing.TestAccelerator;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;

/** Models that make vectors alone: every position of a text sees all of it. */
@Timeout(120)
class EncoderTest {

    private static final Path REFERENCES = Path.of("src/test/resources/dev/prefetch/api/logits/references.json");

    /** Where activations stay f32, as with all formats but those of 4 to 6 bits. */
    private static final double TOLERANCE = 1e-5;

    /** Of the distance of llama.cpp, where activations become integers. */
    private static final double PART_OF_PEER = 0.75;

    static List<String> models() {
        return RandomEncoder.names();
    }

    static List<Path> families() {
        return RandomEncoder.families().stream().map(RandomEncoder::mixed).toList();
    }

    private static EngineOptions options(Path model) {
        return EngineOptions.of(model).withThreads(2);
    }

    private static List<float[]> vectors(PrefetchEngine engine, List<String> texts, Pooling pooling)
            throws InterruptedException {
        return engine.embed(texts, new EmbeddingOptions(pooling, false)).vectors();
    }

    @ParameterizedTest
    @MethodSource("models")
    void isTheModelThatTheReferenceWasMadeOf(String model) throws IOException, NoSuchAlgorithmException {
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(RandomEncoder.file(model)));
        assertThat(HexFormat.of().formatHex(digest))
                .isEqualTo(reference(model).get("sha256").asString());
    }

    private static JsonNode reference(String model) throws IOException {
        return new ObjectMapper().readTree(Files.readString(REFERENCES)).get(model);
    }

    @ParameterizedTest
    @MethodSource("models")
    void vectorsAreExactOrNearerThanThePeer(String model) throws Exception {
        int[] tokens = ExactVectors.tokens();
        String text = RandomEncoder.text(tokens);
        ExactVectors exact = ExactVectors.of(model);
        double tolerance = model.endsWith("-Q4_K_M")
                ? PART_OF_PEER * reference(model).get("peerRelativeRms").asDouble()
                : TOLERANCE;
        try (PrefetchEngine engine = PrefetchEngine.open(options(RandomEncoder.file(model)))) {
            assertThat(engine.embed(List.of(text)).tokens()).containsExactly(tokens.length);
            for (Pooling pooling : Pooling.values()) {
                float[] vector = vectors(engine, List.of(text), pooling).getFirst();
                assertThat(vector).hasSize(engine.info().embeddingDimensions());
                assertThat(ReferenceLogitsTest.relativeRms(vector, exact.vector(pooling)))
                        .as("%s, %s", model, pooling)
                        .isLessThan(tolerance);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"bert-Q4_K_M", "nomic-bert-F16"})
    void scalarKernelsAreExactToo(String model) throws Exception {
        String text = RandomEncoder.text(ExactVectors.tokens());
        System.setProperty("prefetch.cpu.kernels", "scalar");
        try {
            try (PrefetchEngine engine = PrefetchEngine.open(options(RandomEncoder.file(model)))) {
                assertThat(engine.info().device()).contains("scalar");
                float[] vector = vectors(engine, List.of(text), Pooling.MEAN).getFirst();
                assertThat(ReferenceLogitsTest.relativeRms(
                                vector, ExactVectors.of(model).vector(Pooling.MEAN)))
                        .isLessThan(TOLERANCE);
            }
        } finally {
            System.clearProperty("prefetch.cpu.kernels");
        }
    }

    @Test
    void poolsAsTheFileSaysAndToLengthOne() throws Exception {
        String text = RandomEncoder.text(ExactVectors.tokens());
        for (String model : List.of("bert-F32", "bert-fused-F32", "nomic-bert-F32")) {
            Pooling expected = model.startsWith("bert-fused") ? Pooling.CLS : Pooling.MEAN;
            float[] exact = ExactVectors.of(model).vector(expected);
            double length = Math.sqrt(IntStream.range(0, exact.length)
                    .mapToDouble(i -> (double) exact[i] * exact[i])
                    .sum());
            for (int i = 0; i < exact.length; i++) {
                exact[i] /= (float) length;
            }
            try (PrefetchEngine engine = PrefetchEngine.open(options(RandomEncoder.file(model)))) {
                assertThat(engine.info().pooling()).isEqualTo(expected);
                float[] vector = engine.embed(List.of(text)).vectors().getFirst();
                assertThat(ReferenceLogitsTest.relativeRms(vector, exact)).isLessThan(TOLERANCE);
            }
        }
    }

    /** Of 1 to 96 words. */
    private static List<String> texts() {
        return IntStream.range(0, 20)
                .mapToObj(i -> RandomEncoder.text(RandomEncoder.tokens(1 + 5 * i)))
                .toList();
    }

    @ParameterizedTest
    @MethodSource("families")
    void aVectorDependsNeitherOnTheOthersNorOnThePlan(Path model) throws Exception {
        List<String> texts = texts();
        List<float[]> alone = new ArrayList<>();
        List<float[]> together;
        try (PrefetchEngine engine = PrefetchEngine.open(options(model))) {
            assertThat(engine.plan().allResident()).isTrue();
            for (String text : texts) {
                alone.addAll(vectors(engine, List.of(text), Pooling.MEAN));
            }
            together = vectors(engine, texts, Pooling.MEAN);
        }
        assertSame("together", together, alone);
        int streaming = 0;
        for (int percent = 5; percent <= 80; percent += 15) {
            for (int lookAhead = 0; lookAhead <= 4; lookAhead += 2) {
                EngineOptions plan = options(model)
                        .withThreads(1 + lookAhead % 3)
                        .withUbatch(16)
                        .withMemory(MemoryOptions.AUTO
                                .withWeights(MemoryAmount.parse(percent + "%"))
                                .withLookAheadBlocks(lookAhead));
                if (!StreamingLawTest.possible(plan)) {
                    continue;
                }
                streaming++;
                try (PrefetchEngine engine = PrefetchEngine.open(plan)) {
                    assertSame(
                            "%d %%, %d ahead".formatted(percent, lookAhead),
                            vectors(engine, texts, Pooling.MEAN),
                            alone);
                    assertThat(engine.statistics().diskBlocks()).isPositive();
                    assertThat(engine.statistics().failures()).isZero();
                }
            }
        }
        assertThat(streaming).isGreaterThan(3);
    }

    private static void assertSame(String what, List<float[]> actual, List<float[]> expected) {
        assertThat(actual).hasSameSizeAs(expected);
        for (int i = 0; i < actual.size(); i++) {
            assertThat(actual.get(i)).as("%s, text %d", what, i).containsExactly(expected.get(i));
        }
    }

    @Test
    void everyPositionSeesTheWholeText() throws Exception {
        try (PrefetchEngine engine = PrefetchEngine.open(options(RandomEncoder.file("bert-F32")))) {
            List<float[]> firsts = vectors(engine, List.of("w5 w6 w7", "w5 w6 w8"), Pooling.CLS);
            assertThat(firsts.get(0)).isNotEqualTo(firsts.get(1));
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 16, 512})
    void aTextIsComputedInOneSweepWhateverTheUbatch(int ubatch) throws Exception {
        EngineOptions options = options(RandomEncoder.file("bert-Q8_0")).withUbatch(ubatch);
        String text = RandomEncoder.text(RandomEncoder.tokens(RandomEncoder.CONTEXT - 2));
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            assertThat(engine.info().contextLength()).isEqualTo(RandomEncoder.CONTEXT);
            engine.embed(List.of(text));
            assertThat(engine.statistics().sweeps()).isEqualTo(1);
            // As many whole texts as a sweep has room for.
            engine.embed(List.of(text, text, text, text, text, text, text, text));
            assertThat(engine.statistics().sweeps()).isEqualTo(1 + (ubatch == 16 ? 8 : 2));
            Awaitility.await()
                    .untilAsserted(
                            () -> assertThat(engine.status().kvBytesInUse()).isZero());
        }
    }

    @Test
    void shortTextsDoNotKeepALongOneWaiting() throws Exception {
        EngineOptions options = options(RandomEncoder.file("nomic-bert-Q8_0")).withUbatch(RandomEncoder.CONTEXT);
        String longText = RandomEncoder.text(RandomEncoder.tokens(RandomEncoder.CONTEXT - 2));
        List<String> texts = new ArrayList<>(IntStream.range(0, 60)
                .mapToObj(i -> RandomEncoder.text(RandomEncoder.tokens(1 + i % 40)))
                .toList());
        texts.add(7, longText);
        texts.add(30, longText);
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            List<float[]> vectors = vectors(engine, texts, Pooling.MEAN);
            assertThat(vectors).hasSize(62);
            assertThat(vectors.get(7)).containsExactly(vectors.get(30));
            assertThat(vectors.get(7))
                    .containsExactly(
                            vectors(engine, List.of(longText), Pooling.MEAN).getFirst());
        }
    }

    @Test
    void refusesATextThatDoesNotFitAndNamesTheLimit() throws Exception {
        String text = RandomEncoder.text(RandomEncoder.tokens(RandomEncoder.CONTEXT - 1));
        try (PrefetchEngine engine = PrefetchEngine.open(options(RandomEncoder.file("bert-F32")))) {
            assertThatExceptionOfType(ContextLengthExceededException.class)
                    .isThrownBy(() -> engine.embed(List.of("w5", text)))
                    .withMessageContaining("text 1 has 129 tokens but the context length is 128: split it")
                    .withMessageContaining("trained for no more");
            assertThat(engine.status().counters().embeddedTexts()).isZero();
        }
        EngineOptions shorter = options(RandomEncoder.file("bert-F32")).withContextLength(10);
        try (PrefetchEngine engine = PrefetchEngine.open(shorter)) {
            assertThatExceptionOfType(ContextLengthExceededException.class)
                    .isThrownBy(() -> engine.embed(List.of(text)))
                    .withMessageContaining("context length is 10")
                    .withMessageContaining("spring.ai.prefetch.context-length")
                    .withMessageContaining("128");
        }
    }

    @Test
    void noMorePositionsThanTheModelHasLearnt() throws Exception {
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(() -> PrefetchEngine.open(
                        options(RandomEncoder.file("bert-F32")).withContextLength(129)))
                .withMessageContaining("bert-F32.gguf: the context length 129")
                .withMessageContaining("spring.ai.prefetch.context-length to at most 128");
        EngineOptions rotating = options(RandomEncoder.file("nomic-bert-F32")).withContextLength(300);
        String text = RandomEncoder.text(RandomEncoder.tokens(298));
        try (PrefetchEngine engine = PrefetchEngine.open(rotating)) {
            assertThat(engine.embed(List.of(text)).tokens()).containsExactly(300);
        }
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(() -> PrefetchEngine.open(rotating.withContextLength(100_000)))
                .withMessageContaining("at most 16384");
    }

    @Test
    void keysAndValuesInFewerBytesGiveNearlyTheSameVectors() throws Exception {
        String text = RandomEncoder.text(ExactVectors.tokens());
        float[] exact = ExactVectors.of("bert-F32").vector(Pooling.MEAN);
        for (KvCacheType type : List.of(KvCacheType.F16, KvCacheType.Q8_0)) {
            EngineOptions options = options(RandomEncoder.file("bert-F32")).withKvCacheType(type);
            try (PrefetchEngine engine = PrefetchEngine.open(options)) {
                float[] alone = vectors(engine, List.of(text), Pooling.MEAN).getFirst();
                assertThat(ReferenceLogitsTest.relativeRms(alone, exact)).isBetween(1e-6, 2e-2);
                assertThat(vectors(engine, List.of("w5 w9", text, "w7"), Pooling.MEAN)
                                .get(1))
                        .containsExactly(alone);
            }
        }
    }

    @Test
    void keysAndValuesTakeTheRoomOfOneLayer() throws Exception {
        EngineOptions options = options(RandomEncoder.file("bert-F32")).withMaxConcurrency(1);
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            // Two pages of 64 positions hold the context; keys and values are 256 wide.
            assertThat(engine.status().kvBytesCapacity()).isEqualTo(2 * 64 * 2 * 256 * 4);
            assertThat(engine.embed(texts()).vectors()).hasSize(20);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"bert-F32", "bert-fused-F32", "nomic-bert-F32", "nomic-bert-moe-F32"})
    void adaptersAddWhatMergedWeightsHave(String name, @TempDir Path folder) throws Exception {
        Path model = RandomEncoder.file(name);
        RandomAdapter adapter = new RandomAdapter(
                model,
                tensor -> tensor.startsWith("blk.") && !tensor.matches(".*(bias|norm\\.weight)")
                        || tensor.equals("token_embd.weight"),
                6,
                1);
        Path merged = Files.copy(model, folder.resolve("merged.gguf"));
        adapter.mergeInto(merged, 0.75f);
        EngineOptions adapted =
                options(model).withLora(List.of(new LoraSource(adapter.write(folder.resolve("adapter.gguf")), 0.75f)));
        List<String> text = List.of(RandomEncoder.text(ExactVectors.tokens()));
        try (PrefetchEngine plain = PrefetchEngine.open(options(model));
                PrefetchEngine expected = PrefetchEngine.open(options(merged));
                PrefetchEngine actual = PrefetchEngine.open(adapted)) {
            float[] vector = vectors(expected, text, Pooling.MEAN).getFirst();
            assertThat(ReferenceLogitsTest.relativeRms(
                            vectors(plain, text, Pooling.MEAN).getFirst(), vector))
                    .as("the change matters")
                    .isGreaterThan(0.1);
            assertThat(ReferenceLogitsTest.relativeRms(
                            vectors(actual, text, Pooling.MEAN).getFirst(), vector))
                    .isLessThan(TOLERANCE);
        }
    }

    @Test
    void refusesToContinueTextsAndSaysWhatToDo() throws Exception {
        try (PrefetchEngine engine = PrefetchEngine.open(options(RandomEncoder.file("bert-F32")))) {
            assertThat(engine.info().generates()).isFalse();
            for (Prompt prompt : List.of(
                    new Prompt.Text("w5"), new Prompt.Chat(List.of(ChatMessage.user("Hello")), List.of(), Map.of()))) {
                GenerationRequest request = new GenerationRequest(prompt, SamplingOptions.GREEDY, 4, List.of());
                assertThatExceptionOfType(UnsupportedOperationException.class)
                        .isThrownBy(() -> engine.generate(request, GenerationListener.NONE))
                        .withMessageContaining("bert-F32.gguf: architecture 'bert' is an encoder")
                        .withMessageContaining("spring.ai.prefetch.model")
                        .withMessageContaining("spring.ai.model.chat=none");
            }
            assertThatExceptionOfType(UnsupportedOperationException.class)
                    .isThrownBy(() -> engine.logits(new int[] {5}, false))
                    .withMessageContaining("encoder");
            assertThat(engine.embed(List.of("w5")).vectors()).hasSize(1);
        }
    }

    @Test
    void anotherBackendRefusesEncodersAndUnderAutoTheProcessorServes() throws Exception {
        EngineOptions options = options(RandomEncoder.file("bert-F32"));
        assertThatExceptionOfType(UnsupportedModelException.class)
                .isThrownBy(() -> PrefetchEngine.open(options.withBackend(TestAccelerator.ID)))
                .withMessageContaining("bert-F32.gguf: encoders, as architecture 'bert' is one")
                .withMessageContaining("backend test-accelerator; use spring.ai.prefetch.backend=cpu");
        List<BackendProvider> providers = List.of(new TestAccelerator(), MeteredBackend.cpu());
        assertThat(Backends.choose(providers, "auto", any -> true).id()).isEqualTo(TestAccelerator.ID);
        assertThat(Backends.choose(providers, "auto", BackendProvider::supportsEncoders)
                        .id())
                .isEqualTo("cpu");
    }

    @Test
    void promptCacheAndGuessesAreOfNoConcern() throws Exception {
        Path file = Path.of("target", "random-models", "encoder-prompts");
        EngineOptions options =
                options(RandomEncoder.file("bert-F32")).withServing(ServingOptions.DEFAULT.withPromptCacheFile(file));
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            engine.embed(texts());
            Awaitility.await()
                    .untilAsserted(
                            () -> assertThat(engine.status().kvBytesInUse()).isZero());
            assertThat(engine.status().kvBytesCached()).isZero();
            assertThat(engine.info().slowPaths()).noneMatch(path -> path.what().contains("prompt"));
        }
        assertThat(file).doesNotExist();
    }
}
