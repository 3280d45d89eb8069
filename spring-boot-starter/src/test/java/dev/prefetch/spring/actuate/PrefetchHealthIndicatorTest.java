package dev.prefetch.spring.actuate;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.EngineStatus;
import dev.prefetch.spring.FakeEngine;
import java.time.Instant;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.springframework.boot.health.contributor.Health;
import org.springframework.boot.health.contributor.Status;

class PrefetchHealthIndicatorTest {

    private static Health health(EngineStatus.State state, EngineStatus.@Nullable Fault fault) {
        EngineStatus status = new EngineStatus(state, 1, 2, 8, 1 << 20, 4 << 20, 0, 5, 0, fault);
        return Objects.requireNonNull(
                new PrefetchHealthIndicator(FakeEngine.manual().withStatus(status)).health());
    }

    @ParameterizedTest
    @CsvSource({"READY,UP", "DEGRADED,UP", "LOADING,OUT_OF_SERVICE", "CLOSED,OUT_OF_SERVICE", "FAILED,DOWN"})
    void saysWhetherTheEngineAnswers(EngineStatus.State state, String expected) {
        assertThat(health(state, null).getStatus()).isEqualTo(new Status(expected));
    }

    @Test
    void tellsWhatAnOperatorAsksFirst() {
        Health health = health(EngineStatus.State.READY, null);

        assertThat(health.getDetails())
                .containsEntry("model", "Demo 1M")
                .containsEntry("plan", "all 0 blocks (3.0 MiB) in memory, 0.0 MiB of it copied")
                .containsEntry("running", 1)
                .containsEntry("waiting", 2)
                .containsKeys("backend", "memory", "slowPaths")
                .doesNotContainKey("lastFault");
        assertThat(health.getDetails().get("memory"))
                .asInstanceOf(org.assertj.core.api.InstanceOfAssertFactories.MAP)
                .containsEntry("kvCacheType", "f32")
                .containsEntry("kvCacheBytesInUse", 1L << 20)
                .containsEntry("kvCacheBytesCapacity", 4L << 20);
    }

    @Test
    void aFailedRequestIsShownAndLeavesTheEngineUp() {
        Health health = health(EngineStatus.State.READY, new EngineStatus.Fault(Instant.EPOCH, "disk on fire"));

        assertThat(health.getStatus()).isEqualTo(Status.UP);
        assertThat(health.getDetails())
                .containsEntry("lastFault", Map.of("at", "1970-01-01T00:00:00Z", "message", "disk on fire"));
    }
}
