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
import java.util.function.Consumer;
import org.awaitility.Awaitility;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.prompt.Prompt;
import reactor.test.StepVerifier;
import reactor.test.scheduler.VirtualTimeScheduler;

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
        limits.stall = Duration.ofMillis(1);
        inVirtualTime(time -> {
            GenerationWatch watch = new GenerationWatch(new GenerationListener() {}, limits);
            time.advanceTimeBy(Duration.ofSeconds(1));
            assertThat(limits.exceeded).isEmpty();

            watch.onText("Once");
            awaitRealTime(Duration.ofMillis(1));
            time.advanceTimeBy(Duration.ofMillis(2));
            assertThat(limits.exceeded).singleElement().matches(GenerationTimeoutException::isStall);
        });
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
    void aRequestThatWasNeverTakenIsNotReportedLater() {
        limits.deadline = Duration.ofNanos(1);
        FakeEngine engine = FakeEngine.manual();
        engine.refuseWith(new ContextLengthExceededException(9, 8));
        inVirtualTime(time -> {
            assertThatThrownBy(() -> model(engine).call("hi")).isInstanceOf(ContextLengthExceededException.class);
            time.advanceTimeBy(Duration.ofHours(1));
            assertThat(limits.exceeded).isEmpty();
            assertThat(recorded).isEmpty();

            // One that is not refused is.
            GenerationWatch watch = new GenerationWatch(new GenerationListener() {}, limits);
            time.advanceTimeBy(Duration.ofHours(1));
            assertThat(limits.exceeded).hasSize(1);
            watch.abandon();
        });
    }

    /** Timers run when they are told to, and not before. */
    private static void inVirtualTime(Consumer<VirtualTimeScheduler> test) {
        VirtualTimeScheduler time = VirtualTimeScheduler.getOrSet();
        try {
            test.accept(time);
        } finally {
            VirtualTimeScheduler.reset();
        }
    }

    /** Limits are measured on the real clock. */
    private static void awaitRealTime(Duration duration) {
        long start = System.nanoTime();
        while (System.nanoTime() - start <= duration.toNanos()) {
            Thread.onSpinWait();
        }
    }
}
