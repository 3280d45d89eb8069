package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.ContextLengthExceededException;
import dev.prefetch.api.FinishReason;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.prompt.Prompt;
import reactor.core.Disposable;
import reactor.core.publisher.Flux;
import reactor.test.StepVerifier;

@Timeout(30)
class PrefetchChatModelStreamTest {

    private static final Duration PATIENCE = Duration.ofSeconds(10);

    private static Flux<ChatResponse> stream(FakeEngine engine) {
        return PrefetchChatModel.builder(engine).build().stream(new Prompt("hi"));
    }

    private static String text(ChatResponse response) {
        return String.valueOf(
                Objects.requireNonNull(response.getResult()).getOutput().getText());
    }

    @Test
    void streamsTheTextAndThenTheEnd() {
        List<ChatResponse> responses = Objects.requireNonNull(
                stream(FakeEngine.answering("Hel", "lo")).collectList().block(PATIENCE));

        assertThat(responses).extracting(PrefetchChatModelStreamTest::text).containsExactly("Hel", "lo", "");
        assertThat(responses)
                .extracting(response -> response.getMetadata().getId())
                .doesNotContain("")
                .containsOnly(responses.getFirst().getMetadata().getId());
        assertThat(responses)
                .extracting(response -> response.getMetadata().getModel())
                .containsOnly("Demo 1M");
        assertThat(responses)
                .extracting(response -> Objects.requireNonNull(response.getResult())
                        .getMetadata()
                        .getFinishReason())
                .containsExactly(null, null, "stop");
        assertThat(responses)
                .extracting(response -> response.getMetadata().getUsage().getTotalTokens())
                .containsExactly(0, 0, 9);
        assertThat(responses.getLast().getMetadata().<Duration>get("time-to-first-token"))
                .isEqualTo(Duration.ofMillis(25));
    }

    @Test
    void everySubscriptionAsksAnew() {
        FakeEngine engine = FakeEngine.answering("ok");
        Flux<ChatResponse> stream = stream(engine);
        assertThat(engine.requests()).isEmpty();

        stream.blockLast(PATIENCE);
        stream.blockLast(PATIENCE);

        assertThat(engine.requests()).hasSize(2);
    }

    @Test
    void cancellingTheStreamCancelsTheGeneration() {
        FakeEngine engine = FakeEngine.manual();
        StepVerifier.create(stream(engine))
                .then(() -> engine.last().text("one"))
                .expectNextMatches(response -> text(response).equals("one"))
                .thenCancel()
                .verify(PATIENCE);

        Awaitility.await().until(() -> engine.last().isCancelled());
    }

    @Test
    void takingOnlyTheFirstPartCancelsTheGeneration() {
        FakeEngine engine = FakeEngine.scripted(generation -> {
            // Plays an endless answer, as a model can give one.
            while (!generation.isCancelled()) {
                generation.text("more ");
            }
        });

        assertThat(stream(engine).take(1).collectList().block(PATIENCE)).hasSize(1);
        Awaitility.await().until(() -> engine.last().isDone());
    }

    @Test
    void cancellingBeforeTheFirstTokenCancelsTheGeneration() {
        FakeEngine engine = FakeEngine.manual();
        Disposable subscription = stream(engine).subscribe();
        subscription.dispose();

        assertThat(engine.last().isCancelled()).isTrue();
    }

    @Test
    void aStreamThatEndsIsNotCancelled() {
        FakeEngine engine = FakeEngine.answering("ok");
        stream(engine).blockLast(PATIENCE);

        assertThat(engine.last().isCancelled()).isFalse();
    }

    @Test
    void aGenerationThatTheEngineStopsEndsTheStreamNormally() {
        FakeEngine engine = FakeEngine.manual();
        StepVerifier.create(stream(engine))
                .then(() -> engine.last().text("half"))
                .expectNextCount(1)
                .then(() -> engine.last().complete(FinishReason.CANCELLED))
                .expectNextMatches(response -> "cancelled"
                        .equals(Objects.requireNonNull(response.getResult())
                                .getMetadata()
                                .getFinishReason()))
                .expectComplete()
                .verify(PATIENCE);
    }

    @Test
    void aFailureEndsTheStreamAfterTheTextBeforeIt() {
        RuntimeException failure = new IllegalStateException("device lost");
        FakeEngine engine = FakeEngine.scripted(generation -> {
            generation.text("a");
            generation.fail(failure);
        });

        StepVerifier.create(stream(engine))
                .expectNextCount(1)
                .expectErrorSatisfies(error -> assertThat(error).isSameAs(failure))
                .verify(PATIENCE);
    }

    @Test
    void aRequestTheEngineRefusesIsAnErrorOfTheStream() {
        FakeEngine engine = FakeEngine.manual();
        Flux<ChatResponse> stream = stream(engine);
        engine.close();

        StepVerifier.create(stream).expectError(IllegalStateException.class).verify(PATIENCE);
    }

    @Test
    void aRequestThatCannotBeMappedIsAnErrorOfTheStream() {
        FakeEngine engine = FakeEngine.manual();
        Flux<ChatResponse> stream = PrefetchChatModel.builder(engine).build().stream(
                new Prompt("hi", PrefetchChatOptions.builder().model("another").build()));

        StepVerifier.create(stream).expectError(IllegalArgumentException.class).verify(PATIENCE);
        assertThat(engine.requests()).isEmpty();
    }

    @Test
    void aContextThatIsTooShortIsTheEnginesError() {
        FakeEngine engine =
                FakeEngine.scripted(generation -> generation.fail(new ContextLengthExceededException(9, 8)));

        StepVerifier.create(stream(engine))
                .expectError(ContextLengthExceededException.class)
                .verify(PATIENCE);
    }

    @Test
    void aSubscriberThatBlocksDoesNotBlockTheEnginesThread() throws InterruptedException {
        FakeEngine engine = FakeEngine.manual();
        CountDownLatch entered = new CountDownLatch(1);
        CountDownLatch release = new CountDownLatch(1);
        CountDownLatch completed = new CountDownLatch(1);
        AtomicReference<Thread> subscriber = new AtomicReference<>();
        stream(engine)
                .doOnNext(response -> {
                    subscriber.set(Thread.currentThread());
                    entered.countDown();
                    awaitQuietly(release);
                })
                .doOnComplete(completed::countDown)
                .subscribe();

        // This thread plays the engine's: were it the one that delivers, the calls below would never return.
        engine.last().text("first");
        assertThat(entered.await(10, TimeUnit.SECONDS)).isTrue();
        for (int i = 0; i < 1_000; i++) {
            engine.last().text("more");
        }
        engine.last().complete(FinishReason.STOP);
        assertThat(subscriber.get()).isNotSameAs(Thread.currentThread());
        assertThat(completed.getCount()).isOne();

        release.countDown();
        assertThat(completed.await(10, TimeUnit.SECONDS)).isTrue();
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Test
    void aSubscriberThatAsksForNothingLosesNothing() {
        FakeEngine engine = FakeEngine.manual();
        StepVerifier.create(stream(engine), 0)
                .expectSubscription()
                .then(() -> {
                    for (int i = 0; i < 1_000; i++) {
                        engine.last().text("x");
                    }
                    engine.last().complete(FinishReason.STOP);
                })
                .thenRequest(1_001)
                .expectNextCount(1_001)
                .expectComplete()
                .verify(PATIENCE);
    }
}
