package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.api.FinishReason;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.spring.FakeEngine;
import dev.prefetch.spring.GenerationGuard;
import dev.prefetch.spring.PrefetchChatModel;
import io.github.resilience4j.bulkhead.BulkheadFullException;
import io.github.resilience4j.bulkhead.BulkheadRegistry;
import io.github.resilience4j.springboot.bulkhead.autoconfigure.BulkheadAutoConfiguration;
import java.time.Duration;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.model.chat.client.autoconfigure.ChatClientAutoConfiguration;
import org.springframework.ai.model.tool.autoconfigure.ToolCallingAutoConfiguration;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.context.annotation.ImportCandidates;
import org.springframework.boot.test.context.FilteredClassLoader;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;
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
                    PrefetchResilienceAutoConfiguration.class,
                    ToolCallingAutoConfiguration.class,
                    ChatClientAutoConfiguration.class))
            .withBean(PrefetchEngine.class, () -> engine);

    private final ApplicationContextRunner resilient =
            runner.withConfiguration(AutoConfigurations.of(BulkheadAutoConfiguration.class));

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
