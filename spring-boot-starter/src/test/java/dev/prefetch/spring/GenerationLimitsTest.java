package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.api.ContextLengthExceededException;
import dev.prefetch.api.FinishReason;
import dev.prefetch.api.Generation;
import dev.prefetch.api.GenerationListener;
import dev.prefetch.api.GenerationRequest;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import org.awaitility.Awaitility;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.prompt.Prompt;
import reactor.test.StepVerifier;

/** Generations that take too long end with a reason, and the engine stops computing them. */
@Timeout(30)
class GenerationLimitsTest {

    private static final Duration SHORT = Duration.ofMillis(40);

    private final Limits limits = new Limits();
    private final List<RuntimeException> recorded = new CopyOnWriteArrayList<>();

    /** Limits that the test sets, and what they heard. */
    private static final class Limits implements GenerationLimits {

        private @Nullable Duration deadline;
        private @Nullable Duration stall;
        private final AtomicInteger kept = new AtomicInteger();
        private final List<GenerationTimeoutException> exceeded = new CopyOnWriteArrayList<>();

        @Override
        public @Nullable Duration deadline() {
            return deadline;
        }

        @Override
        public @Nullable Duration stall() {
            return stall;
        }

        @Override
        public void kept() {
            kept.incrementAndGet();
        }

        @Override
        public void exceeded(GenerationTimeoutException failure) {
            exceeded.add(failure);
        }
    }

    private PrefetchChatModel model(FakeEngine engine) {
        return PrefetchChatModel.builder(engine)
                .limits(limits)
                .recorder(new GenerationRecorder() {
                    @Override
                    public void failed(RuntimeException failure) {
                        recorded.add(failure);
                    }
                })
                .build();
    }

    @Test
    void theDeadlineEndsAGenerationThatSaysNothing() {
        limits.deadline = SHORT;
        FakeEngine engine = FakeEngine.manual();

        assertThatThrownBy(() -> model(engine).call("hi"))
                .isInstanceOf(GenerationTimeoutException.class)
                .hasMessageContaining("not complete within 0.04 s")
                .matches(e -> !((GenerationTimeoutException) e).isStall());
        assertThat(engine.last().isCancelled()).isTrue();
        assertThat(limits.exceeded).hasSize(1);
        assertThat(recorded).hasSize(1);
    }

    @Test
    void theDeadlineEndsAStreamAfterWhatItHasShown() {
        limits.deadline = Duration.ofMillis(300);
        FakeEngine engine = FakeEngine.scripted(generation -> generation.text("Once"));

        StepVerifier.create(model(engine).stream(new Prompt("hi")))
                .expectNextCount(1)
                .expectError(GenerationTimeoutException.class)
                .verify(Duration.ofSeconds(10));
        assertThat(engine.last().isCancelled()).isTrue();
    }

    @Test
    void aStallIsNoticedOnceTheAnswerHasBegun() {
        limits.stall = SHORT;
        FakeEngine engine = FakeEngine.scripted(generation -> generation.text("Once"));

        assertThatThrownBy(() -> model(engine).call("hi"))
                .isInstanceOf(GenerationTimeoutException.class)
                .hasMessageContaining("no token for 0.04 s")
                .matches(EngineFaults::isInfrastructure);
    }

    /** A long prompt, or a place in the queue, is no stall. */
    @Test
    void theTimeBeforeTheFirstTokenIsNoStall() {
        limits.stall = SHORT.multipliedBy(5);
        FakeEngine engine = FakeEngine.manual();

        StepVerifier.create(model(engine).stream(new Prompt("hi")))
                .thenAwait(SHORT.multipliedBy(15))
                .then(() -> {
                    engine.last().text("Once");
                    engine.last().complete(FinishReason.STOP);
                })
                .expectNextCount(2)
                .verifyComplete();
        assertThat(limits.kept).hasValue(1);
        assertThat(limits.exceeded).isEmpty();
    }

    @Test
    void tokensThatKeepComingAreNoStallHoweverLongTheAnswer() {
        limits.stall = Duration.ofSeconds(5);
        FakeEngine engine = FakeEngine.scripted(generation -> {
            for (int i = 0; i < 20; i++) {
                generation.text("word ");
            }
            generation.complete(FinishReason.STOP);
        });

        assertThat(model(engine).call("hi")).contains("word");
        assertThat(limits.kept).hasValue(1);
    }

    /** The engine's thread may be done before the thread that asked it goes on. */
    @Test
    void aGenerationThatEndsBeforeItIsHandedOverIsNotCancelled() {
        FakeEngine engine = FakeEngine.manual();
        GenerationWatch watch = new GenerationWatch(new GenerationListener() {}, limits);
        Generation generation =
                engine.generate(GenerationRequest.greedy(new dev.prefetch.api.Prompt.Text("hi")), watch);
        engine.last().complete(FinishReason.STOP);

        watch.watch(generation);

        assertThat(engine.last().isCancelled()).isFalse();
    }

    @Test
    void aGenerationThatExceedsItsLimitBeforeItIsHandedOverIsCancelled() {
        limits.deadline = SHORT;
        FakeEngine engine = FakeEngine.manual();
        GenerationWatch watch = new GenerationWatch(new GenerationListener() {}, limits);
        Generation generation =
                engine.generate(GenerationRequest.greedy(new dev.prefetch.api.Prompt.Text("hi")), watch);
        Awaitility.await().until(() -> limits.exceeded.size() == 1);

        watch.watch(generation);

        assertThat(engine.last().isCancelled()).isTrue();
    }

    @Test
    void aRequestThatWasNeverTakenIsNotReportedLater() throws InterruptedException {
        limits.deadline = SHORT;
        FakeEngine engine = FakeEngine.manual();
        engine.refuseWith(new ContextLengthExceededException(9, 8));

        assertThatThrownBy(() -> model(engine).call("hi")).isInstanceOf(ContextLengthExceededException.class);
        // Longer than the deadline: the point is that nothing happens in this time.
        Thread.sleep(SHORT.multipliedBy(4));
        assertThat(limits.exceeded).isEmpty();
        assertThat(recorded).isEmpty();
    }
}
