package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufTensor;
import dev.prefetch.inference.DeadlineExceededException;
import dev.prefetch.inference.Pooling;
import dev.prefetch.inference.QueueFullException;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.testing.DemoModel;
import dev.prefetch.testing.RandomModel;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.IntStream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(120)
class EmbeddingTest {

    private static final List<String> TEXTS = List.of(
            "Once upon a time there was a fox.",
            "A",
            "What is double buffering, and when does it pay?",
            "one two three four five six seven eight nine ten");

    private static final EmbeddingOptions LAST = new EmbeddingOptions(Pooling.LAST, false);
    private static final EmbeddingOptions MEAN = new EmbeddingOptions(Pooling.MEAN, false);
    private static final EmbeddingOptions CLS = new EmbeddingOptions(Pooling.CLS, false);

    private static PrefetchEngine engine;

    @BeforeAll
    static void open() {
        // Sweeps are counted here: none may be for prompts that could come next.
        engine = PrefetchEngine.open(EngineOptions.of(DemoModel.file())
                .withThreads(2)
                .withServing(ServingOptions.DEFAULT.withoutPromptCache()));
    }

    @AfterAll
    static void close() {
        engine.close();
    }

    /** The output projection is a product with the hidden state: logits are recomputed from the vector, in double. */
    @Test
    void theLastStateGivesTheLogitsOfTheLastToken() throws Exception {
        var model = RandomModel.file("olmo2-F32");
        try (PrefetchEngine small = PrefetchEngine.open(EngineOptions.of(model).withThreads(1));
                GgufFile file = GgufFile.open(model)) {
            GgufTensor output = file.find("output.weight")
                    .orElseGet(() -> file.find("token_embd.weight").orElseThrow());
            assertThat(output.type()).isEqualTo(GgmlType.F32);
            MemorySegment weights = file.slice(output);
            int[] tokens = small.encode(new Prompt.Text("Hello there")).stream()
                    .mapToInt(Integer::intValue)
                    .toArray();
            float[] logits = small.logits(tokens, false);
            int vocabulary = logits.length / tokens.length;

            float[] state = small.embed(List.of("Hello there"), LAST).vectors().getFirst();

            assertThat(state).hasSize(small.info().embeddingDimensions());
            for (int token = 0; token < vocabulary; token++) {
                double logit = 0;
                for (int i = 0; i < state.length; i++) {
                    logit += (double) state[i]
                            * weights.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, (long) token * state.length + i);
                }
                assertThat((double) logits[(tokens.length - 1) * vocabulary + token])
                        .as("token %d", token)
                        .isCloseTo(logit, within(1e-3));
            }
        }
    }

    @Test
    void theMeanIsTheMeanOfTheStatesOfEveryPrefix() throws Exception {
        String text = "3141592653"; // a token per digit
        List<String> prefixes = prefixesOfOneTokenMore(text);
        List<float[]> states = engine.embed(prefixes, LAST).vectors();
        float[] mean = engine.embed(List.of(prefixes.getLast()), MEAN).vectors().getFirst();
        for (int i = 0; i < mean.length; i++) {
            int element = i;
            double expected =
                    states.stream().mapToDouble(s -> s[element]).average().orElseThrow();
            assertThat((double) mean[i]).isCloseTo(expected, within(1e-5));
        }
        float[] first = engine.embed(List.of(prefixes.getLast()), CLS).vectors().getFirst();
        assertThat(first).containsExactly(states.getFirst());
    }

    /** Prefixes of the text whose tokens are one token longer each, the first of one token. */
    private static List<String> prefixesOfOneTokenMore(String text) {
        List<String> prefixes = new ArrayList<>();
        List<Integer> before = List.of();
        for (int end = 1; end <= text.length(); end++) {
            List<Integer> tokens = engine.encode(new Prompt.Text(text.substring(0, end)));
            if (tokens.size() == before.size() + 1
                    && tokens.subList(0, before.size()).equals(before)) {
                prefixes.add(text.substring(0, end));
                before = tokens;
            }
        }
        assertThat(prefixes).hasSizeGreaterThan(2);
        return prefixes;
    }

    @Test
    void vectorsHaveLengthOneUnlessAskedOtherwise() throws Exception {
        List<float[]> unit = engine.embed(TEXTS).vectors();
        List<float[]> raw = engine.embed(TEXTS, MEAN).vectors();
        for (int i = 0; i < TEXTS.size(); i++) {
            double length = length(raw.get(i));
            assertThat(length(unit.get(i))).isCloseTo(1, within(1e-6));
            assertThat(length).isNotCloseTo(1, within(1e-3));
            for (int d = 0; d < raw.get(i).length; d++) {
                assertThat((double) unit.get(i)[d]).isCloseTo(raw.get(i)[d] / length, within(1e-6));
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 7, 512})
    void aVectorDoesNotDependOnTheOthersNorOnTheUbatchNorOnThePlan(int ubatch) throws Exception {
        List<float[]> alone = new ArrayList<>();
        for (String text : TEXTS) {
            alone.add(engine.embed(List.of(text), EmbeddingOptions.DEFAULT)
                    .vectors()
                    .getFirst());
        }
        EngineOptions options =
                EngineOptions.of(DemoModel.file()).withThreads(1).withUbatch(ubatch);
        EngineOptions streaming = options.withMemory(MemoryOptions.AUTO.withWeights(MemoryAmount.parse("50%")));
        for (EngineOptions each : List.of(options, streaming)) {
            try (PrefetchEngine other = PrefetchEngine.open(each)) {
                Generation beside = other.generate(
                        GenerationRequest.greedy(new Prompt.Text("Once upon a time")), GenerationListener.NONE);
                List<float[]> together = other.embed(TEXTS).vectors();
                for (int i = 0; i < TEXTS.size(); i++) {
                    assertThat(together.get(i)).containsExactly(alone.get(i));
                }
                beside.cancel();
            }
        }
    }

    @Test
    void manyTextsShareSweepsWithEachOtherAndWithGenerations() throws Exception {
        List<Integer> expected = engine.generate(GenerationRequest.greedy(new Prompt.Text("Once upon")))
                .tokens();
        List<String> many =
                IntStream.range(0, 100).mapToObj(i -> "text number " + i).toList();
        long before = engine.statistics().sweeps();
        EmbeddingResult alone = engine.embed(many);
        // At most 32 texts at a time, and rows for all of those in one sweep.
        assertThat(engine.statistics().sweeps() - before).isEqualTo(4);

        Generation running =
                engine.generate(GenerationRequest.greedy(new Prompt.Text("Once upon")), GenerationListener.NONE);
        EmbeddingResult beside = engine.embed(many);
        assertThat(running.await().tokens()).isEqualTo(expected);
        for (int i = 0; i < many.size(); i++) {
            assertThat(beside.vectors().get(i)).containsExactly(alone.vectors().get(i));
        }
    }

    @Test
    void saysDimensionsTokensAndHowManyTextsThereWere() throws Exception {
        assertThat(engine.info().pooling()).isEqualTo(Pooling.MEAN);
        long before = engine.status().counters().embeddedTexts();
        EmbeddingResult result = engine.embed(TEXTS);
        assertThat(result.vectors())
                .allSatisfy(v -> assertThat(v).hasSize(engine.info().embeddingDimensions()));
        List<Integer> tokens = TEXTS.stream()
                .map(text -> engine.encode(new Prompt.Text(text)).size())
                .toList();
        assertThat(result.tokens()).isEqualTo(tokens);
        assertThat(result.totalTokens())
                .isEqualTo(tokens.stream().mapToInt(Integer::intValue).sum());
        assertThat(engine.status().counters().embeddedTexts() - before).isEqualTo(TEXTS.size());
        Awaitility.await()
                .untilAsserted(() -> assertThat(engine.status().kvBytesInUse()).isZero());
        assertThat(engine.embed(List.of()).vectors()).isEmpty();
    }

    @Test
    void poolsAsTheFileSays() {
        assertThat(Embedder.poolingOf(0)).isEqualTo(Pooling.MEAN);
        assertThat(Embedder.poolingOf(1)).isEqualTo(Pooling.MEAN);
        assertThat(Embedder.poolingOf(2)).isEqualTo(Pooling.CLS);
        assertThat(Embedder.poolingOf(3)).isEqualTo(Pooling.LAST);
        assertThat(Embedder.poolingOf(4)).isNull();
    }

    @Test
    void refusesATextThatDoesNotFitAndEmbedsNothingOfTheCall() {
        String longText = "word ".repeat(1200);
        long before = engine.status().counters().embeddedTexts();
        assertThatExceptionOfType(ContextLengthExceededException.class)
                .isThrownBy(() -> engine.embed(List.of("short", longText)))
                .withMessageContaining("text 1")
                .withMessageContaining("1024");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> engine.embed(List.of("short", "")))
                .withMessageContaining("text 1");
        assertThat(engine.status().counters().embeddedTexts()).isEqualTo(before);
    }

    @Test
    void aListenerCannotWaitForAVector() {
        Generation generation =
                engine.generate(GenerationRequest.greedy(new Prompt.Text("Once upon")), new GenerationListener() {
                    @Override
                    public void onText(String text) {
                        try {
                            engine.embed(List.of("x"));
                        } catch (InterruptedException e) {
                            throw new IllegalStateException(e);
                        }
                    }
                });
        assertThatIllegalStateException().isThrownBy(generation::await).withMessageContaining("another thread");
    }

    @Test
    void closingEndsTheWait() {
        PrefetchEngine closing =
                PrefetchEngine.open(EngineOptions.of(DemoModel.file()).withThreads(1));
        List<String> many = IntStream.range(0, 2000).mapToObj(i -> "text " + i).toList();
        CompletableFuture<EmbeddingResult> waiting = CompletableFuture.supplyAsync(() -> {
            try {
                return closing.embed(many);
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        });
        while (closing.status().counters().embeddedTexts() == 0) {
            Thread.onSpinWait();
        }
        closing.close();
        assertThatExceptionOfType(CompletionException.class)
                .isThrownBy(waiting::join)
                .withCauseInstanceOf(CancellationException.class);
        assertThatIllegalStateException().isThrownBy(() -> closing.embed(List.of("x")));
    }

    @Test
    void asManyRequestsAreAdmittedAsGenerationsAndTheOthersAreRefused() throws Exception {
        CountDownLatch release = new CountDownLatch(1);
        EngineOptions options = EngineOptions.of(DemoModel.file())
                .withThreads(1)
                .withMaxConcurrency(1)
                .withServing(ServingOptions.DEFAULT.withQueueLimit(1));
        try (PrefetchEngine small = PrefetchEngine.open(options);
                ExecutorService callers = Executors.newVirtualThreadPerTaskExecutor()) {
            Generation holdsTheEngine = hold(small, release);
            List<CompletableFuture<EmbeddingResult>> admitted = IntStream.range(0, 2)
                    .mapToObj(i -> CompletableFuture.supplyAsync(() -> embed(small, EmbeddingOptions.DEFAULT), callers))
                    .toList();
            EmbeddingOptions impatient = EmbeddingOptions.DEFAULT.withTimeout(Duration.ofMillis(1));
            Awaitility.await()
                    .untilAsserted(() -> assertThatExceptionOfType(QueueFullException.class)
                            .isThrownBy(() -> embed(small, impatient))
                            .withMessageContaining("1 requests for vectors wait already")
                            .withMessageContaining("spring.ai.prefetch.queue-limit"));
            assertThat(small.status().counters().refused()).isPositive();
            assertThat(admitted).noneMatch(CompletableFuture::isDone);

            release.countDown();
            holdsTheEngine.cancel();
            for (CompletableFuture<EmbeddingResult> request : admitted) {
                assertThat(request.join().vectors()).hasSize(TEXTS.size());
            }
            assertThat(embed(small, EmbeddingOptions.DEFAULT).vectors()).hasSize(TEXTS.size());
        }
    }

    @Test
    void aRequestThatIsNotDoneInItsTimeFailsAndLeavesNothingBehind() throws Exception {
        CountDownLatch release = new CountDownLatch(1);
        try (PrefetchEngine small =
                PrefetchEngine.open(EngineOptions.of(DemoModel.file()).withThreads(1))) {
            Generation holdsTheEngine = hold(small, release);
            assertThatExceptionOfType(DeadlineExceededException.class)
                    .isThrownBy(() -> embed(small, EmbeddingOptions.DEFAULT.withTimeout(Duration.ofMillis(20))))
                    .withMessageContaining("within 20 ms: 0 of 4 texts")
                    .withMessageContaining("spring.ai.prefetch.embedding.timeout");
            assertThat(small.status().counters().expired()).isEqualTo(1);
            release.countDown();
            holdsTheEngine.cancel();
            assertThat(embed(small, EmbeddingOptions.DEFAULT.withTimeout(Duration.ofMinutes(1)))
                            .vectors())
                    .hasSize(TEXTS.size());
            assertThat(small.status().counters().embeddedTexts())
                    .as("nobody wanted the vectors of the first request any more")
                    .isEqualTo(TEXTS.size());
        }
    }

    /** A generation whose listener keeps the compute thread until it is let go. */
    private static Generation hold(PrefetchEngine engine, CountDownLatch release) throws InterruptedException {
        CountDownLatch held = new CountDownLatch(1);
        Generation generation =
                engine.generate(GenerationRequest.greedy(new Prompt.Text("Once upon")), new GenerationListener() {
                    @Override
                    public void onText(String text) {
                        held.countDown();
                        try {
                            release.await();
                        } catch (InterruptedException e) {
                            throw new IllegalStateException(e);
                        }
                    }
                });
        held.await();
        return generation;
    }

    private static EmbeddingResult embed(PrefetchEngine engine, EmbeddingOptions options) {
        try {
            return engine.embed(TEXTS, options);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static double length(float[] vector) {
        double squares = 0;
        for (float value : vector) {
            squares += (double) value * value;
        }
        return Math.sqrt(squares);
    }
}
