package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.prefetch.LoadListener;
import dev.prefetch.spring.FakeEngine;
import dev.prefetch.spring.LoadState;
import dev.prefetch.spring.LoadingEngine;
import dev.prefetch.spring.PrefetchChatModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.availability.ApplicationAvailability;
import org.springframework.boot.availability.ReadinessState;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.boot.health.contributor.Health;
import org.springframework.boot.health.contributor.HealthIndicator;
import org.springframework.boot.health.contributor.Status;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;
import org.springframework.boot.test.system.CapturedOutput;
import org.springframework.boot.test.system.OutputCaptureExtension;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.support.GenericApplicationContext;

/** Loading in the background: what is seen meanwhile, who waits, and how it ends. */
@Timeout(60)
@ExtendWith(OutputCaptureExtension.class)
class LoadingTest {

    private final FakeEngine engine = FakeEngine.answering("Hello");
    private final SlowOpener opener = new SlowOpener();

    @TempDir
    private Path folder;

    private ApplicationContextRunner runner;

    /** Opens nothing until the test says how it ends. */
    private static final class SlowOpener implements EngineOpener {

        private final BlockingQueue<LoadListener> opening = new LinkedBlockingQueue<>();
        private final CompletableFuture<PrefetchEngine> end = new CompletableFuture<>();
        private final CountDownLatch stopped = new CountDownLatch(1);

        @Override
        public PrefetchEngine open(dev.prefetch.api.EngineOptions options, LoadListener listener) {
            opening.add(listener);
            while (!end.isDone()) {
                try {
                    listener.progress(30, 120);
                } catch (RuntimeException e) {
                    stopped.countDown();
                    throw e;
                }
                java.util.concurrent.locks.LockSupport.parkNanos(1_000_000);
            }
            try {
                return end.join();
            } catch (java.util.concurrent.CompletionException e) {
                throw (RuntimeException) Objects.requireNonNull(e.getCause());
            }
        }
    }

    @BeforeEach
    void prepare() throws IOException {
        Path model = Files.writeString(folder.resolve("demo.gguf"), "GGUF");
        runner = new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(
                        PrefetchEngineAutoConfiguration.class,
                        PrefetchChatAutoConfiguration.class,
                        PrefetchModelsAutoConfiguration.class,
                        PrefetchEnginesAutoConfiguration.class,
                        PrefetchActuatorAutoConfiguration.class))
                .withBean(EngineOpener.class, () -> opener)
                .withPropertyValues("spring.ai.prefetch.model=" + model);
    }

    private static Health health(org.springframework.context.ApplicationContext context) {
        return Objects.requireNonNull(context.getBean(HealthIndicator.class).health());
    }

    @Test
    void theProgressIsSeenWhileTheModelIsLoaded() {
        runner.withPropertyValues("spring.ai.prefetch.warm-up=false").run(context -> {
            LoadingEngine loading = (LoadingEngine) context.getBean(PrefetchEngine.class);
            Awaitility.await().until(() -> loading.loadState().percent() == 25);

            assertThat(loading.status().state()).isEqualTo(EngineStatus.State.LOADING);
            assertThat(health(context).getStatus()).isEqualTo(Status.OUT_OF_SERVICE);
            assertThat(health(context).getDetails())
                    .containsEntry("state", EngineStatus.State.LOADING)
                    .containsEntry("phase", LoadState.Phase.LOADING)
                    .containsEntry("percent", 25)
                    .containsEntry("loadedBytes", 30L)
                    .containsEntry("totalBytes", 120L);

            opener.end.complete(engine);

            loading.awaitLoaded();
            assertThat(health(context).getStatus()).isEqualTo(Status.UP);
            assertThat(health(context).getDetails()).containsEntry("model", "Demo 1M");
        });
    }

    @Test
    void whoeverAsksMeanwhileWaits() {
        runner.withPropertyValues("spring.ai.prefetch.warm-up=false").run(context -> {
            PrefetchChatModel model = context.getBean(PrefetchChatModel.class);
            assertThat(model.getOptions().getModel()).isNull();
            CompletableFuture<String> whole = CompletableFuture.supplyAsync(() -> model.call("hi"));
            CompletableFuture<List<String>> stream =
                    model.stream("hi").collectList().toFuture();
            assertThat(whole).isNotDone();
            assertThat(stream).isNotDone();

            opener.end.complete(engine);

            assertThat(whole.join()).isEqualTo("Hello");
            assertThat(String.join("", stream.join())).isEqualTo("Hello");
            assertThat(model.getOptions().getModel()).isEqualTo("Demo 1M");
        });
    }

    @Test
    void aFewTokensAreGeneratedBeforeTheModelCountsAsLoaded(CapturedOutput output) {
        FakeEngine manual = FakeEngine.manual();
        opener.end.complete(manual);
        runner.run(context -> {
            LoadingEngine loading = (LoadingEngine) context.getBean(PrefetchEngine.class);
            Awaitility.await().until(() -> !manual.requests().isEmpty());
            assertThat(loading.loadState().phase()).isEqualTo(LoadState.Phase.WARMING_UP);
            assertThat(loading.isLoaded()).isFalse();
            assertThat(manual.last().request().prompt()).isInstanceOf(Prompt.Tokens.class);

            manual.last().complete(dev.prefetch.api.FinishReason.LENGTH);

            loading.awaitLoaded();
            assertThat(manual.requests()).hasSize(1);
        });
        assertThat(manual.isClosed()).isTrue();
    }

    @Test
    void closingTheContextEndsTheLoading() throws InterruptedException {
        runner.run(context -> opener.opening.take());

        opener.stopped.await();
    }

    @Test
    void closingTheContextCancelsTheWarmUp() {
        FakeEngine manual = FakeEngine.manual();
        opener.end.complete(manual);
        runner.run(context -> Awaitility.await().until(() -> !manual.requests().isEmpty()));

        assertThat(manual.last().isCancelled()).isTrue();
        assertThat(manual.isClosed()).isTrue();
    }

    @Test
    void aFailureIsSeenAndSaidToWhoeverAsks() {
        opener.end.completeExceptionally(new GgufFormatException("offset 4: version 99"));
        runner.run(context -> {
            LoadingEngine loading = (LoadingEngine) context.getBean(PrefetchEngine.class);
            Awaitility.await().until(() -> loading.loadState().phase() == LoadState.Phase.FAILED);

            assertThat(health(context).getStatus()).isEqualTo(Status.DOWN);
            assertThat((String) health(context).getDetails().get("problem")).contains("version 99");
            assertThatThrownBy(() -> context.getBean(PrefetchChatModel.class).call("hi"))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("could not be loaded")
                    .hasMessageContaining("version 99");
        });
    }

    private SpringApplicationBuilder application() {
        return new SpringApplicationBuilder(Application.class)
                .web(WebApplicationType.NONE)
                .properties(
                        "spring.ai.prefetch.model=" + folder.resolve("demo.gguf"), "spring.ai.prefetch.warm-up=false");
    }

    /** An application with nothing but the starter. */
    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Application {}

    @Test
    void anApplicationRefusesTrafficUntilTheModelIsLoaded() throws Exception {
        CompletableFuture<GenericApplicationContext> started = new CompletableFuture<>();
        CompletableFuture<ConfigurableApplicationContext> run = CompletableFuture.supplyAsync(() -> application()
                .initializers(context -> {
                    ((GenericApplicationContext) context).registerBean(EngineOpener.class, () -> opener);
                    started.complete((GenericApplicationContext) context);
                })
                .run());
        GenericApplicationContext context = started.get();
        opener.opening.take();
        Awaitility.await().until(context::isRunning);
        ApplicationAvailability availability = context.getBean(ApplicationAvailability.class);
        // It stays like this however long the loading takes; the run has not returned.
        Awaitility.await().during(Duration.ofMillis(200)).until(() -> !run.isDone());
        assertThat(availability.getReadinessState()).isEqualTo(ReadinessState.REFUSING_TRAFFIC);

        opener.end.complete(engine);

        try (ConfigurableApplicationContext ready = run.get()) {
            assertThat(ready.getBean(ApplicationAvailability.class).getReadinessState())
                    .isEqualTo(ReadinessState.ACCEPTING_TRAFFIC);
        }
        assertThat(engine.isClosed()).isTrue();
    }

    @Test
    void anApplicationWhoseModelCannotBeLoadedDoesNotStart(CapturedOutput output) {
        opener.end.completeExceptionally(new GgufFormatException("offset 4: version 99"));

        assertThatThrownBy(() -> application()
                        .initializers(context ->
                                ((GenericApplicationContext) context).registerBean(EngineOpener.class, () -> opener))
                        .run())
                .isInstanceOf(RuntimeException.class);
        assertThat(output)
                .contains("APPLICATION FAILED TO START")
                .contains("is not a valid GGUF file: offset 4: version 99")
                .contains("Get the file again")
                .doesNotContain("\tat ");
    }
}
