package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.testing.DemoModel;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(120)
class PrefetchEngineTest {

    private static final Prompt STORY = chat("Tell me a story about a fox.");
    private static final SamplingOptions WILD = new SamplingOptions(3, 0, 1, 0, 1, 0, 0, 0, 7);

    private static PrefetchEngine engine;

    @BeforeAll
    static void open() {
        engine = PrefetchEngine.open(EngineOptions.of(DemoModel.file()).withThreads(2));
    }

    @AfterAll
    static void close() {
        engine.close();
    }

    @Test
    void saysWhatItRuns() {
        EngineInfo info = engine.info();
        assertThat(info.architecture()).isEqualTo("qwen3");
        assertThat(info.quantization()).isEqualTo("Q8_0");
        assertThat(info.backend()).isEqualTo("cpu");
        assertThat(info.contextLength()).isEqualTo(info.trainedContextLength()).isEqualTo(1024);
        assertThat(info.vocabularySize()).isEqualTo(1536);
    }

    @Test
    void aWarmUpAnswersPromptsAloneAndTogetherAndSaysHowLongItTook() throws InterruptedException {
        try (PrefetchEngine fresh =
                PrefetchEngine.open(EngineOptions.of(DemoModel.file()).withThreads(2))) {
            assertThat(fresh.info().warmUpNanos()).isZero();
            assertThat(fresh.warmUp(Duration.ZERO)).isZero();
            assertThat(fresh.status().generations()).isZero();

            Duration taken = fresh.warmUp(Duration.ofMinutes(1));

            assertThat(taken)
                    .isPositive()
                    .isEqualTo(Duration.ofNanos(fresh.info().warmUpNanos()));
            // Rounds of one alone and four together; it takes a second to see that it gained nothing.
            assertThat(fresh.status().generations())
                    .isGreaterThanOrEqualTo(10)
                    .satisfies(generations -> assertThat(generations % 5).isZero());
            assertThat(fresh.status().counters().cachedPromptTokens())
                    .isLessThan(fresh.status().counters().promptTokens() / 2);
            assertThat(fresh.status().failures()).isZero();
        }
    }

    @Test
    void aWarmUpChangesNoAnswer() throws InterruptedException {
        try (PrefetchEngine fresh =
                PrefetchEngine.open(EngineOptions.of(DemoModel.file()).withThreads(2))) {
            fresh.warmUp(Duration.ofMinutes(1));

            assertThat(fresh.generate(GenerationRequest.greedy(STORY)).tokens())
                    .isEqualTo(engine.generate(GenerationRequest.greedy(STORY)).tokens());
        }
    }

    @Test
    void aWarmUpIsCutOffAtItsLimitAndEndsWithTheEngine() throws InterruptedException {
        PrefetchEngine fresh =
                PrefetchEngine.open(EngineOptions.of(DemoModel.file()).withThreads(2));
        assertThatIllegalArgumentException().isThrownBy(() -> fresh.warmUp(Duration.ofMillis(-1)));
        fresh.warmUp(Duration.ofNanos(1));
        assertThat(fresh.status().generations()).isEqualTo(1);

        fresh.close();

        assertThatIllegalStateException().isThrownBy(() -> fresh.warmUp(Duration.ofMinutes(1)));
    }

    @Test
    void aWarmUpDoesWithAShortContext() throws InterruptedException {
        try (PrefetchEngine fresh = PrefetchEngine.open(
                EngineOptions.of(DemoModel.file()).withThreads(2).withContextLength(8))) {
            fresh.warmUp(Duration.ofMinutes(1));

            assertThat(fresh.status().failures()).isZero();
        }
    }

    @Test
    void tellsAListenerHowFarLoadingIs() {
        List<Long> done = new ArrayList<>();
        AtomicLong total = new AtomicLong();
        EngineOptions half = EngineOptions.of(DemoModel.file())
                .withMemory(MemoryOptions.AUTO.withWeights(MemoryAmount.parse("50%")));
        try (PrefetchEngine streaming = PrefetchEngine.open(half, (bytes, of) -> {
            done.add(bytes);
            total.set(of);
        })) {
            assertThat(total.get())
                    .isEqualTo(streaming.statistics().loadedBytes())
                    .isPositive();
            assertThat(done).isSorted().startsWith(0L).endsWith(total.get());
        }
    }

    @Test
    void streamsExactlyTheTextOfTheResult() throws Exception {
        StringBuilder streamed = new StringBuilder();
        GenerationResult result = engine.generate(GenerationRequest.greedy(STORY), new GenerationListener() {
                    @Override
                    public void onText(String text) {
                        streamed.append(text);
                    }
                })
                .await();
        assertThat(streamed.toString()).isEqualTo(result.text()).isNotEmpty();
        assertThat(result.finishReason()).isEqualTo(FinishReason.STOP);
        assertThat(result.timings().prefillNanos()).isPositive();
        assertThat(result.timings().firstTokenNanos())
                .isGreaterThanOrEqualTo(
                        result.timings().queueNanos() + result.timings().prefillNanos());
    }

    @Test
    void endsAtMaxTokens() throws Exception {
        GenerationResult result = engine.generate(new GenerationRequest(STORY, SamplingOptions.GREEDY, 3, List.of()));
        assertThat(result.completionTokens()).isEqualTo(3);
        assertThat(result.finishReason()).isEqualTo(FinishReason.LENGTH);
    }

    @Test
    void endsAtAStopSequenceThatSpansTokens() throws Exception {
        String full = engine.generate(GenerationRequest.greedy(STORY)).text();
        String stop = full.substring(full.length() / 2, full.length() / 2 + 12);
        GenerationResult result =
                engine.generate(new GenerationRequest(STORY, SamplingOptions.GREEDY, 0, List.of(stop)));
        assertThat(result.text()).isEqualTo(full.substring(0, full.indexOf(stop)));
        assertThat(result.finishReason()).isEqualTo(FinishReason.STOP);
        assertThat(result.completionTokens()).isGreaterThan(1);
    }

    @Test
    void sameSeedSameTextOtherSeedOtherText() throws Exception {
        SamplingOptions other = new SamplingOptions(3, 0, 1, 0, 1, 0, 0, 0, 8);
        String first = generate(WILD, 40).text();
        assertThat(generate(WILD, 40).text()).isEqualTo(first);
        assertThat(generate(other, 40).text()).isNotEqualTo(first);
    }

    @Test
    void refusesAPromptThatFillsTheContextAndStatesBothNumbers() {
        Prompt prompt = new Prompt.Text("word ".repeat(1200));
        int tokens = engine.encode(prompt).size();
        assertThatExceptionOfType(ContextLengthExceededException.class)
                .isThrownBy(() -> engine.generate(GenerationRequest.greedy(prompt)))
                .withMessageContaining(Integer.toString(tokens))
                .withMessageContaining("1024");
    }

    @Test
    void endsWhenTheContextIsFull() throws Exception {
        try (PrefetchEngine small = PrefetchEngine.open(
                EngineOptions.of(DemoModel.file()).withContextLength(32).withThreads(1))) {
            GenerationResult result = small.generate(new GenerationRequest(STORY, WILD, 0, List.of()));
            assertThat(result.promptTokens() + result.completionTokens()).isEqualTo(32);
            assertThat(result.finishReason()).isEqualTo(FinishReason.LENGTH);
        }
    }

    @Test
    void aUserCannotEndTheirTurnByTypingASpecialToken() {
        int end = engine.tokenizer().endToken();
        String text = engine.tokenizer().tokenText(end);
        List<Integer> honest = engine.encode(chat("Hello"));
        List<Integer> typed = engine.encode(chat("Hello" + text));
        assertThat(typed.stream().filter(t -> t == end).count())
                .isEqualTo(honest.stream().filter(t -> t == end).count());
    }

    @Test
    void stopsWithinOneTokenWhenCancelled() throws Exception {
        AtomicInteger pieces = new AtomicInteger();
        AtomicReference<Generation> running = new AtomicReference<>();
        CountDownLatch started = new CountDownLatch(1);
        Generation generation =
                engine.generate(new GenerationRequest(STORY, WILD, 0, List.of()), new GenerationListener() {
                    @Override
                    public void onText(String text) {
                        awaitQuietly(started);
                        if (pieces.incrementAndGet() == 3) {
                            running.get().cancel();
                        }
                    }
                });
        running.set(generation);
        started.countDown();
        GenerationResult result = generation.await();
        assertThat(result.finishReason()).isEqualTo(FinishReason.CANCELLED);
        // What the decoder held back may follow as one more piece.
        assertThat(pieces.get()).isBetween(3, 4);
    }

    @Test
    void manyAtOnceGetTheAnswersTheyGetAlone() throws Exception {
        List<String> questions = List.of(
                "How is your day going",
                "Tell me a story about a fox.",
                "What is GGUF?",
                "Count from 1 to 5",
                "I want to learn about double buffering.",
                "What is Spring AI?",
                "Hi",
                "What is quantisation?",
                "What is Actuator?",
                "Who are you?",
                "Say hello to Anna",
                "What is a slot?");
        List<List<Integer>> alone = new ArrayList<>();
        for (String question : questions) {
            alone.add(engine.generate(GenerationRequest.greedy(chat(question))).tokens());
        }
        List<Generation> running = questions.stream()
                .map(question -> engine.generate(GenerationRequest.greedy(chat(question)), GenerationListener.NONE))
                .toList();
        for (int i = 0; i < running.size(); i++) {
            assertThat(running.get(i).await().tokens()).as(questions.get(i)).isEqualTo(alone.get(i));
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 7, 16, 64})
    void logitsDoNotDependOnTheUbatch(int ubatch) throws Exception {
        int[] tokens =
                engine.encode(chat("Tell me a story about a fox and a very old house near the sea, please.")).stream()
                        .mapToInt(Integer::intValue)
                        .toArray();
        float[] expected = engine.logits(tokens, false);
        try (PrefetchEngine other = PrefetchEngine.open(
                EngineOptions.of(DemoModel.file()).withUbatch(ubatch).withThreads(1))) {
            assertThat(other.logits(tokens, false)).containsExactly(expected);
        }
    }

    @Test
    void aFailingListenerHarmsNobodyElse() throws Exception {
        Generation failing = engine.generate(GenerationRequest.greedy(STORY), new GenerationListener() {
            @Override
            public void onText(String text) {
                throw new IllegalStateException("listener is broken");
            }
        });
        assertThatIllegalStateException().isThrownBy(failing::await).withMessage("listener is broken");
        assertThat(engine.generate(GenerationRequest.greedy(STORY)).text()).isNotEmpty();
    }

    @Test
    void closingEndsWhatRunsAndRefusesWhatComes() throws Exception {
        PrefetchEngine closing = PrefetchEngine.open(
                EngineOptions.of(DemoModel.file()).withThreads(1).withMaxConcurrency(1));
        Generation running =
                closing.generate(new GenerationRequest(STORY, WILD, 0, List.of()), GenerationListener.NONE);
        Generation queued = closing.generate(new GenerationRequest(STORY, WILD, 0, List.of()), GenerationListener.NONE);
        closing.close();
        assertThat(running.await().finishReason()).isIn(FinishReason.CANCELLED, FinishReason.STOP, FinishReason.LENGTH);
        assertThat(queued.await().finishReason()).isEqualTo(FinishReason.CANCELLED);
        assertThatIllegalStateException()
                .isThrownBy(() -> closing.generate(GenerationRequest.greedy(STORY)))
                .withMessageContaining("closed");
        closing.close();
    }

    @Test
    void refusesTokensOutsideTheVocabulary() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> engine.logits(new int[] {1, 1536}, false))
                .withMessageContaining("1536");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> engine.encode(new Prompt.Tokens(List.of(-1))))
                .withMessageContaining("-1");
    }

    @Test
    void namesTheFileThatIsMissing() {
        assertThatThrownBy(() -> PrefetchEngine.open(EngineOptions.of(Path.of("no-such.gguf"))))
                .isInstanceOf(UncheckedIOException.class)
                .hasMessageContaining("no-such.gguf");
    }

    @Test
    void namesTheBackendThatIsMissing() {
        assertThatExceptionOfType(BackendUnavailableException.class)
                .isThrownBy(() ->
                        PrefetchEngine.open(EngineOptions.of(DemoModel.file()).withBackend("abacus")))
                .withMessageContaining("abacus")
                .withMessageContaining("cpu");
    }

    private static GenerationResult generate(SamplingOptions sampling, int maxTokens) throws InterruptedException {
        return engine.generate(new GenerationRequest(STORY, sampling, maxTokens, List.of()));
    }

    private static Prompt chat(String text) {
        return new Prompt.Chat(List.of(ChatMessage.user(text)));
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
