package dev.prefetch.spring.resilience;

import dev.prefetch.spring.GenerationLimits;
import dev.prefetch.spring.GenerationTimeoutException;
import dev.prefetch.spring.PrefetchEngines;
import io.github.resilience4j.timelimiter.TimeLimiter;
import io.github.resilience4j.timelimiter.TimeLimiterRegistry;
import java.time.Duration;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Limits that two time limiters of Resilience4j hold, one for the whole generation and one for the time between two tokens;
 * a duration of 0 means no limit. They hear how generations end, so that Resilience4j's events and meters have them.
 */
public final class TimeLimiterLimits implements GenerationLimits {

    private final TimeLimiterRegistry registry;
    private final TimeLimiter deadline;
    private final TimeLimiter stall;

    /** The limits of the default engine. */
    public TimeLimiterLimits(TimeLimiterRegistry registry) {
        this(registry, PrefetchEngines.DEFAULT_NAME);
    }

    private TimeLimiterLimits(TimeLimiterRegistry registry, String engine) {
        this.registry = Objects.requireNonNull(registry, "registry");
        this.deadline = registry.timeLimiter(ResilienceNames.of(engine));
        this.stall = registry.timeLimiter(ResilienceNames.stallOf(engine));
    }

    @Override
    public GenerationLimits forEngine(String name) {
        return new TimeLimiterLimits(registry, name);
    }

    @Override
    public @Nullable Duration deadline() {
        return limit(deadline);
    }

    @Override
    public @Nullable Duration stall() {
        return limit(stall);
    }

    private static @Nullable Duration limit(TimeLimiter limiter) {
        Duration limit = limiter.getTimeLimiterConfig().getTimeoutDuration();
        return limit.isPositive() ? limit : null;
    }

    @Override
    public String remedy() {
        return "Allow more with resilience4j.timelimiter.instances." + deadline.getName()
                + ".timeout-duration (the whole) or"
                + " resilience4j.timelimiter.instances." + stall.getName()
                + ".timeout-duration (between tokens); 0 for no limit.";
    }

    @Override
    public void kept() {
        deadline.onSuccess();
        stall.onSuccess();
    }

    @Override
    public void exceeded(GenerationTimeoutException failure) {
        (failure.isStall() ? stall : deadline).onError(failure);
    }
}
