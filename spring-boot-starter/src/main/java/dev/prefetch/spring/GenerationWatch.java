package dev.prefetch.spring;

import dev.prefetch.api.Generation;
import dev.prefetch.api.GenerationListener;
import dev.prefetch.api.GenerationResult;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import reactor.core.Disposable;
import reactor.core.scheduler.Schedulers;

/**
 * Holds a generation to its limits: passes on what it says, and when it exceeds one, reports that as its failure and cancels
 * it. The failure does not wait for the engine, which may be what hangs; whatever the engine says afterwards is dropped.
 *
 * <p>Called by the engine's thread and by a timer; whichever sets {@link #ended} first reports the end.
 */
final class GenerationWatch implements GenerationListener {

    private final GenerationListener listener;
    private final GenerationLimits limits;
    private final long deadlineNanos;
    private final long stallNanos;
    private final long startNanos = System.nanoTime();
    private final AtomicBoolean ended = new AtomicBoolean();
    private volatile boolean exceeded;
    private volatile boolean begun;
    private volatile long lastTextNanos;
    private volatile @Nullable Generation generation;
    private volatile @Nullable Disposable timer;

    GenerationWatch(GenerationListener listener, GenerationLimits limits) {
        this.listener = listener;
        this.limits = limits;
        this.deadlineNanos = nanos(limits.deadline());
        this.stallNanos = nanos(limits.stall());
        schedule(Math.min(deadlineNanos, stallNanos));
    }

    private static long nanos(@Nullable Duration limit) {
        return limit == null ? Long.MAX_VALUE : limit.toNanos();
    }

    /** To be called with the generation that this listens to. */
    void watch(Generation started) {
        generation = started;
        if (exceeded) {
            // The limit was met before the engine had answered.
            started.cancel();
        }
    }

    /** To be called when there is no generation after all. */
    void abandon() {
        ended.set(true);
        stopTimer();
    }

    private void schedule(long delayNanos) {
        if (delayNanos == Long.MAX_VALUE) {
            return;
        }
        timer = Schedulers.parallel().schedule(this::check, Math.max(1, delayNanos), TimeUnit.NANOSECONDS);
        if (ended.get()) {
            stopTimer();
        }
    }

    private void stopTimer() {
        Disposable running = timer;
        if (running != null) {
            running.dispose();
        }
    }

    private void check() {
        long now = System.nanoTime();
        long toDeadline = deadlineNanos == Long.MAX_VALUE ? Long.MAX_VALUE : startNanos + deadlineNanos - now;
        if (toDeadline <= 0) {
            exceeded(GenerationTimeoutException.deadline(Duration.ofNanos(deadlineNanos), limits.remedy()));
            return;
        }
        long toStall = stallNanos;
        if (begun && stallNanos != Long.MAX_VALUE) {
            toStall = lastTextNanos + stallNanos - now;
            if (toStall <= 0) {
                exceeded(GenerationTimeoutException.stalled(Duration.ofNanos(stallNanos), limits.remedy()));
                return;
            }
        }
        schedule(Math.min(toDeadline, toStall));
    }

    private void exceeded(GenerationTimeoutException failure) {
        if (ended.compareAndSet(false, true)) {
            // Before the look at the generation, as watch() writes and looks in the other order: one of the two
            // cancels.
            exceeded = true;
            Generation running = generation;
            if (running != null) {
                running.cancel();
            }
            limits.exceeded(failure);
            listener.onFailure(failure);
        }
    }

    @Override
    public void onText(String text) {
        lastTextNanos = System.nanoTime();
        begun = true;
        if (!ended.get()) {
            listener.onText(text);
        }
    }

    @Override
    public void onComplete(GenerationResult result) {
        if (ended.compareAndSet(false, true)) {
            stopTimer();
            limits.kept();
            listener.onComplete(result);
        }
    }

    @Override
    public void onFailure(RuntimeException failure) {
        if (ended.compareAndSet(false, true)) {
            stopTimer();
            listener.onFailure(failure);
        }
    }
}
