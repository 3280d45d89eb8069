package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.api.FinishReason;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.prefetch.WeightUnavailableException;
import dev.prefetch.spring.FakeEngine;
import dev.prefetch.spring.GenerationGuard;
import dev.prefetch.spring.GenerationLimits;
import dev.prefetch.spring.GenerationTimeoutException;
import dev.prefetch.spring.PrefetchChatModel;
import dev.prefetch.spring.PrefetchEmbeddingModel;
import io.github.resilience4j.bulkhead.Bulkhead;
import io.github.resilience4j.bulkhead.BulkheadFullException;
import io.github.resilience4j.bulkhead.BulkheadRegistry;
import io.github.resilience4j.circuitbreaker.CallNotPermittedException;
import io.github.resilience4j.circuitbreaker.CircuitBreaker;
import io.github.resilience4j.circuitbreaker.CircuitBreakerConfig;
import io.github.resilience4j.circuitbreaker.CircuitBreakerRegistry;
import io.github.resilience4j.springboot.bulkhead.autoconfigure.BulkheadAutoConfiguration;
import io.github.resilience4j.springboot.circuitbreaker.autoconfigure.CircuitBreakerAutoConfiguration;
import io.github.resilience4j.springboot.timelimiter.autoconfigure.TimeLimiterAutoConfiguration;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.model.Generation;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.model.chat.client.autoconfigure.ChatClientAutoConfiguration;
import org.springframework.ai.model.tool.autoconfigure.ToolCallingAutoConfiguration;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.context.annotation.ImportCandidates;
import org.springframework.boot.diagnostics.FailureAnalyzedException;
import org.springframework.boot.test.context.FilteredClassLoader;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Fallback;
import reactor.core.Disposable;
import reactor.core.publisher.Flux;
import reactor.test.StepVerifier;

@Timeout(30)
class PrefetchResilienceAutoConfigurationTest {

    private final FakeEngine engine = FakeEngine.manual();

    private final ApplicationContextRunner runner = new ApplicationContextRunner()
            .withConfiguration(AutoConfigurations.of(
                    PrefetchEngineAutoConfiguration.class,
                    PrefetchChatAutoConfiguration.class,
                    PrefetchModelsAutoConfiguration.class,
                    PrefetchEnginesAutoConfiguration.class,
                    PrefetchResilienceAutoConfiguration.class,
                    ToolCallingAutoConfiguration.class,
                    ChatClientAutoConfiguration.class))
            .withBean(PrefetchEngine.class, () -> engine);

    private final ApplicationContextRunner resilient = runner.withConfiguration(AutoConfigurations.of(
            BulkheadAutoConfiguration.class,
            CircuitBreakerAutoConfiguration.class,
            TimeLimiterAutoConfiguration.class));

    private static int places(BulkheadRegistry registry) {
        return registry.bulkhead("prefetch").getBulkheadConfig().getMaxConcurrentCalls();
    }

    @Test
    void isRegistered() {
        assertThat(ImportCandidates.load(AutoConfiguration.class, getClass().getClassLoader()))
                .contains(PrefetchResilienceAutoConfiguration.class.getName());
    }

    @Test
    void hasPlacesForWhatRunsAndForSomeThatWait() {
        resilient
                .withPropertyValues("spring.ai.prefetch.max-concurrency=3")
                .run(context -> assertThat(places(context.getBean(BulkheadRegistry.class)))
                        .isEqualTo(12));
    }

    @Test
    void theApplicationsOwnSettingsWin() {
        resilient
                .withPropertyValues("resilience4j.bulkhead.instances.prefetch.max-concurrent-calls=1")
                .run(context -> assertThat(places(context.getBean(BulkheadRegistry.class)))
                        .isEqualTo(1));
    }

    @Test
    void aKeyThatIsLeftOutKeepsOurDefault() {
        resilient
                .withPropertyValues(
                        "spring.ai.prefetch.max-concurrency=3",
                        "resilience4j.bulkhead.instances.prefetch.max-wait-duration=1s",
                        "resilience4j.circuitbreaker.instances.prefetch.minimum-number-of-calls=2")
                .run(context -> {
                    assertThat(places(context.getBean(BulkheadRegistry.class))).isEqualTo(12);
                    assertThat(context.getBean(BulkheadRegistry.class)
                                    .bulkhead("prefetch")
                                    .getBulkheadConfig()
                                    .getMaxWaitDuration())
                            .isEqualTo(Duration.ofSeconds(1));
                    CircuitBreakerConfig breaker = context.getBean(CircuitBreakerRegistry.class)
                            .circuitBreaker("prefetch")
                            .getCircuitBreakerConfig();
                    assertThat(breaker.getMinimumNumberOfCalls()).isEqualTo(2);
                    assertThat(breaker.getSlidingWindowSize()).isEqualTo(10);
                });
    }

    @Test
    void aSharedConfigurationWinsOverOurDefaults() {
        resilient
                .withPropertyValues(
                        "resilience4j.bulkhead.configs.default.max-concurrent-calls=5",
                        "resilience4j.timelimiter.configs.patient.timeout-duration=3h",
                        "resilience4j.timelimiter.instances.prefetch.base-config=patient")
                .run(context -> {
                    assertThat(places(context.getBean(BulkheadRegistry.class))).isEqualTo(5);
                    assertThat(context.getBean(GenerationLimits.class).deadline())
                            .isEqualTo(Duration.ofHours(3));
                    assertThat(context.getBean(GenerationLimits.class).stall()).isEqualTo(Duration.ofMinutes(2));
                });
    }

    @Test
    void limitsOfTimeAreTheKeysOfTwoTimeLimiters() {
        resilient
                .withPropertyValues(
                        "resilience4j.timelimiter.instances.prefetch.timeout-duration=90s",
                        "resilience4j.timelimiter.instances.prefetch-stall.timeout-duration=0")
                .run(context -> {
                    assertThat(context.getBean(GenerationLimits.class).deadline())
                            .isEqualTo(Duration.ofSeconds(90));
                    assertThat(context.getBean(GenerationLimits.class).stall()).isNull();
                });
    }

    @Test
    void aGenerationThatExceedsTheDeadlineIsCancelledAndSaysWhichKeyAllowsMore() {
        resilient
                .withPropertyValues("resilience4j.timelimiter.instances.prefetch.timeout-duration=50ms")
                .run(context -> {
                    PrefetchChatModel model = context.getBean(PrefetchChatModel.class);
                    assertThatThrownBy(() -> model.call("hi"))
                            .isInstanceOf(GenerationTimeoutException.class)
                            .hasMessageContaining("resilience4j.timelimiter.instances.prefetch.timeout-duration");
                    assertThat(engine.last().isCancelled()).isTrue();
                });
    }

    @Test
    void requestsForVectorsPassTheSameInstances() {
        resilient
                .withConfiguration(AutoConfigurations.of(PrefetchEmbeddingAutoConfiguration.class))
                .withPropertyValues(
                        "spring.ai.model.embedding=prefetch",
                        "resilience4j.bulkhead.instances.prefetch.max-concurrent-calls=1",
                        "resilience4j.circuitbreaker.instances.prefetch.minimum-number-of-calls=2",
                        "resilience4j.timelimiter.instances.prefetch.timeout-duration=90s")
                .run(context -> {
                    PrefetchEmbeddingModel model = context.getBean(PrefetchEmbeddingModel.class);
                    model.embed("a");
                    assertThat(engine.embeddings().getLast().timeout()).isEqualTo(Duration.ofSeconds(90));

                    Bulkhead bulkhead = context.getBean(BulkheadRegistry.class).bulkhead("prefetch");
                    assertThat(bulkhead.tryAcquirePermission()).isTrue();
                    assertThatThrownBy(() -> model.embed("a")).isInstanceOf(BulkheadFullException.class);
                    bulkhead.onComplete();

                    WeightUnavailableException fault =
                            new WeightUnavailableException("Block L03 could not be read", null);
                    engine.failEmbeddings(fault);
                    assertThatThrownBy(() -> model.embed("a")).isSameAs(fault);
                    assertThatThrownBy(() -> model.embed("a")).isInstanceOf(CallNotPermittedException.class);
                });
    }

    @Test
    void theBreakerOpensForFaultsOfTheDiskAndNotForWrongRequestsAndClosesAgain() {
        resilient
                .withPropertyValues(
                        "resilience4j.circuitbreaker.instances.prefetch.minimum-number-of-calls=2",
                        "resilience4j.circuitbreaker.instances.prefetch.wait-duration-in-open-state=1h")
                .run(context -> {
                    PrefetchChatModel model = context.getBean(PrefetchChatModel.class);
                    CircuitBreaker breaker =
                            context.getBean(CircuitBreakerRegistry.class).circuitBreaker("prefetch");
                    for (int i = 0; i < 4; i++) {
                        fail(model, new IllegalArgumentException("too long"));
                    }
                    assertThat(breaker.getState()).isEqualTo(CircuitBreaker.State.CLOSED);
                    while (breaker.getState() == CircuitBreaker.State.CLOSED) {
                        fail(model, new WeightUnavailableException("Block L03 could not be read", null));
                    }

                    int asked = engine.requests().size();
                    assertThatThrownBy(() -> model.call("hi")).isInstanceOf(CallNotPermittedException.class);
                    StepVerifier.create(model.stream(new Prompt("hi")))
                            .expectError(CallNotPermittedException.class)
                            .verify(Duration.ofSeconds(10));
                    assertThat(engine.requests()).hasSize(asked);

                    // Once the wait is over, one request is let through to see, and its success closes the breaker.
                    breaker.transitionToHalfOpenState();
                    CompletableFuture<String> answer = CompletableFuture.supplyAsync(() -> model.call("hi"));
                    Awaitility.await().until(() -> engine.requests().size() > asked);
                    engine.last().complete(FinishReason.STOP);
                    answer.join();
                    assertThat(breaker.getState()).isEqualTo(CircuitBreaker.State.CLOSED);
                });
    }

    /** Asks, and has the engine fail. */
    private void fail(PrefetchChatModel model, RuntimeException failure) {
        int asked = engine.requests().size();
        CompletableFuture<String> answer = CompletableFuture.supplyAsync(() -> model.call("hi"));
        Awaitility.await().until(() -> engine.requests().size() > asked);
        engine.last().fail(failure);
        assertThatThrownBy(answer::join).hasCause(failure);
    }

    /** Another chat model of the application, behind ours. */
    @Configuration(proxyBeanMethods = false)
    static class Fleet {
        @Bean
        @Fallback
        ChatModel fleet() {
            return prompt -> new ChatResponse(List.of(new Generation(new AssistantMessage("from the fleet"))));
        }
    }

    @Test
    void whatFindsNoPlaceGoesToTheFallbackModel() {
        resilient
                .withUserConfiguration(Fleet.class)
                .withPropertyValues(
                        "resilience4j.bulkhead.instances.prefetch.max-concurrent-calls=1",
                        "spring.ai.prefetch.fallback.chat-model=fleet")
                .run(context -> {
                    PrefetchChatModel model = context.getBean(PrefetchChatModel.class);
                    assertThat(context.getBean(ChatModel.class)).isSameAs(model);
                    Disposable first = model.stream(new Prompt("hi")).subscribe();
                    Awaitility.await().until(() -> engine.requests().size() == 1);

                    assertThat(model.call("hi")).isEqualTo("from the fleet");

                    first.dispose();
                });
    }

    @Test
    void aFallbackModelThatIsNotThereIsRefused() {
        resilient
                .withPropertyValues("spring.ai.prefetch.fallback.chat-model=fleet")
                .run(context -> assertThat(context.getStartupFailure())
                        .rootCause()
                        .isInstanceOfSatisfying(
                                FailureAnalyzedException.class,
                                failure -> assertThat(failure.analysis().getDescription())
                                        .contains("spring.ai.prefetch.fallback.chat-model is 'fleet'")));
    }

    @Test
    void refusesWhatThereIsNoPlaceForAndTakesItLater() {
        resilient
                .withPropertyValues("resilience4j.bulkhead.instances.prefetch.max-concurrent-calls=1")
                .run(context -> {
                    PrefetchChatModel model = context.getBean(PrefetchChatModel.class);
                    Flux<ChatResponse> stream = model.stream(new Prompt("hi"));
                    Disposable first = stream.subscribe();
                    Awaitility.await().until(() -> engine.requests().size() == 1);

                    assertThatThrownBy(() -> model.call("hi")).isInstanceOf(BulkheadFullException.class);
                    StepVerifier.create(stream)
                            .expectError(BulkheadFullException.class)
                            .verify(Duration.ofSeconds(10));
                    assertThat(engine.requests()).hasSize(1);

                    first.dispose();
                    StepVerifier.create(stream)
                            .then(() -> engine.last().complete(FinishReason.STOP))
                            .expectNextCount(1)
                            .verifyComplete();
                    assertThat(engine.requests()).hasSize(2);
                });
    }

    @Test
    void backsOffWithoutResilience4j() {
        runner.withClassLoader(new FilteredClassLoader("io.github.resilience4j"))
                .run(context -> assertThat(context)
                        .hasNotFailed()
                        .hasSingleBean(PrefetchChatModel.class)
                        .doesNotHaveBean(GenerationGuard.class));
    }

    @Test
    void backsOffWithoutARegistry() {
        runner.run(context -> assertThat(context).hasNotFailed().doesNotHaveBean(GenerationGuard.class));
    }

    @Test
    void backsOffWhenTheApplicationHasItsOwnGuard() {
        resilient
                .withBean("ownGuard", GenerationGuard.class, () -> GenerationGuard.NONE)
                .run(context ->
                        assertThat(context.getBean(GenerationGuard.class)).isSameAs(GenerationGuard.NONE));
    }
}
