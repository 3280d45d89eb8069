package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.KvCacheType;
import dev.prefetch.api.LoraSource;
import dev.prefetch.api.MemoryOptions;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.ServingOptions;
import dev.prefetch.inference.Speculation;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.spring.FakeEngine;
import dev.prefetch.spring.PrefetchChatModel;
import dev.prefetch.spring.PrefetchChatOptions;
import io.micrometer.observation.ObservationRegistry;
import io.micrometer.observation.tck.TestObservationRegistry;
import io.micrometer.observation.tck.TestObservationRegistryAssert;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.chat.memory.ChatMemory;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.model.chat.client.autoconfigure.ChatClientAutoConfiguration;
import org.springframework.ai.model.tool.autoconfigure.ToolCallingAutoConfiguration;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.boot.context.annotation.ImportCandidates;
import org.springframework.boot.test.context.FilteredClassLoader;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;
import org.springframework.boot.test.system.CapturedOutput;
import org.springframework.boot.test.system.OutputCaptureExtension;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.support.DefaultLifecycleProcessor;
import org.springframework.context.support.GenericApplicationContext;

@ExtendWith(OutputCaptureExtension.class)
class PrefetchAutoConfigurationTest {

    private final FakeEngine engine = FakeEngine.answering("Hello");
    private final AtomicReference<EngineOptions> opened = new AtomicReference<>();

    @TempDir
    private Path folder;

    private Path model;
    private ApplicationContextRunner runner;

    @BeforeEach
    void prepare() throws IOException {
        model = Files.writeString(folder.resolve("demo.gguf"), "GGUF");
        runner = new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(
                        PrefetchEngineAutoConfiguration.class,
                        PrefetchChatAutoConfiguration.class,
                        PrefetchModelsAutoConfiguration.class,
                        PrefetchEnginesAutoConfiguration.class,
                        ToolCallingAutoConfiguration.class,
                        ChatClientAutoConfiguration.class))
                .withBean(EngineOpener.class, () -> (options, listener) -> {
                    opened.set(options);
                    return engine;
                })
                .withPropertyValues(
                        "spring.ai.prefetch.model=" + model,
                        // What is asserted of the opening must have happened; LoadingTest is about the background.
                        "spring.ai.prefetch.load-in-background=false",
                        "spring.ai.prefetch.warm-up=false");
    }

    @Test
    void bothAutoConfigurationsAreRegistered() {
        assertThat(ImportCandidates.load(AutoConfiguration.class, getClass().getClassLoader()))
                .contains(
                        PrefetchEngineAutoConfiguration.class.getName(), PrefetchChatAutoConfiguration.class.getName());
    }

    @Test
    void givesAChatClientOnTheConfiguredModel() {
        runner.run(context -> {
            assertThat(context).hasSingleBean(PrefetchEngine.class).hasSingleBean(ChatModel.class);
            ChatClient client = context.getBean(ChatClient.Builder.class).build();
            assertThat(client.prompt("hi").call().content()).isEqualTo("Hello");
            assertThat(opened.get()).isEqualTo(EngineOptions.of(model));
        });
    }

    @Test
    void anApplicationNeedsNothingButTheStarterAndAModel(CapturedOutput output) {
        SpringApplicationBuilder application = new SpringApplicationBuilder(Application.class)
                .web(WebApplicationType.NONE)
                .properties(
                        "spring.ai.prefetch.model=" + model,
                        "spring.ai.prefetch.warm-up=false",
                        "logging.level.dev.prefetch=INFO")
                .initializers(context -> ((GenericApplicationContext) context)
                        .registerBean(EngineOpener.class, () -> (options, listener) -> engine));
        try (ConfigurableApplicationContext context = application.run()) {
            ChatClient client = context.getBean(ChatClient.Builder.class).build();
            assertThat(client.prompt("hi").call().content()).isEqualTo("Hello");
            assertThat(context.getBeansOfType(ChatMemory.class)).hasSize(1);
        }
        assertThat(output)
                .contains("Loading " + model)
                .contains("Loaded Demo 1M in 1.5 s: qwen3, 1.23 million parameters, Q8_0, 3.0 MiB,"
                        + " context 1024 of 2048 tokens, backend cpu (a test), 2 threads");
    }

    /** An application with nothing but the starter. */
    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Application {}

    @Test
    void closesTheEngineWithTheContext() {
        runner.run(context -> {
            assertThat(context).hasNotFailed();
            assertThat(engine.isClosed()).isFalse();
        });
        assertThat(engine.isClosed()).isTrue();
    }

    @Test
    void letsRunningGenerationsEndBeforeItClosesTheEngine() {
        engine.withStatus(busy());
        runner.run(context -> {
            assertThat(context).hasNotFailed();
            Thread closer = Thread.ofPlatform().start(context::close);
            // The context is in the middle of its stop: the engine must still be there for what runs.
            Awaitility.await().until(() -> closer.getState() == Thread.State.TIMED_WAITING);
            assertThat(engine.isClosed()).isFalse();
            engine.withStatus(idle());
            closer.join();
        });
        assertThat(engine.isClosed()).isTrue();
    }

    @Test
    void closesTheEngineWhenGenerationsDoNotEndInTime() {
        engine.withStatus(busy());
        runner.withBean("lifecycleProcessor", DefaultLifecycleProcessor.class, () -> {
                    DefaultLifecycleProcessor processor = new DefaultLifecycleProcessor();
                    processor.setTimeoutPerShutdownPhase(50);
                    return processor;
                })
                .run(context -> assertThat(context).hasNotFailed());
        assertThat(engine.isClosed()).isTrue();
    }

    private static EngineStatus busy() {
        return new EngineStatus(EngineStatus.State.READY, 1, 0, 8, 0, 0, 0, 1, 0, null);
    }

    private static EngineStatus idle() {
        return new EngineStatus(EngineStatus.State.READY, 0, 0, 8, 0, 0, 0, 1, 0, null);
    }

    @Test
    void isThereWhenItIsTheSelectedChatModel() {
        runner.withPropertyValues("spring.ai.model.chat=prefetch")
                .run(context -> assertThat(context).hasSingleBean(PrefetchChatModel.class));
    }

    @ParameterizedTest
    @ValueSource(strings = {"none", "openai"})
    void loadsNothingWhenAnotherChatModelIsSelected(String selected) {
        runner.withPropertyValues(
                        "spring.ai.model.chat=" + selected,
                        // Needs a chat model, which nobody gives here.
                        "spring.ai.chat.client.enabled=false")
                .run(context -> assertThat(context)
                        .hasNotFailed()
                        .doesNotHaveBean(PrefetchChatModel.class)
                        .doesNotHaveBean(PrefetchEngine.class));
        assertThat(opened.get()).isNull();
    }

    @Test
    void backsOffWithoutSpringAi() {
        new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(PrefetchChatAutoConfiguration.class))
                .withClassLoader(new FilteredClassLoader(ChatModel.class))
                .run(context -> assertThat(context).hasNotFailed().doesNotHaveBean("prefetchChatModel"));
    }

    @Test
    void usesTheApplicationsOwnEngine() {
        FakeEngine own = FakeEngine.answering("mine");
        runner.withBean("ownEngine", PrefetchEngine.class, () -> own).run(context -> {
            assertThat(context).hasSingleBean(PrefetchEngine.class);
            assertThat(context.getBean(PrefetchChatModel.class).call("hi")).isEqualTo("mine");
        });
        assertThat(opened.get()).isNull();
    }

    @Test
    void loadsNothingWhenTheApplicationHasItsOwnChatModel() {
        PrefetchChatModel own = PrefetchChatModel.builder(engine).build();
        runner.withBean("ownModel", PrefetchChatModel.class, () -> own)
                .run(context ->
                        assertThat(context.getBean(PrefetchChatModel.class)).isSameAs(own));
        assertThat(opened.get()).isNull();
    }

    @Test
    void bindsEveryEngineProperty() {
        runner.withPropertyValues(
                        "spring.ai.prefetch.context-length=2048",
                        "spring.ai.prefetch.threads=3",
                        "spring.ai.prefetch.backend=CPU",
                        "spring.ai.prefetch.max-concurrency=4",
                        "spring.ai.prefetch.kv-cache-type=q8_0",
                        "spring.ai.prefetch.ubatch=64",
                        "spring.ai.prefetch.ubatch-beside-decode=32",
                        "spring.ai.prefetch.prompt-cache-file=prompts.cache",
                        "spring.ai.prefetch.look-ahead=3",
                        "spring.ai.prefetch.trace-sweeps=9",
                        "spring.ai.prefetch.queue-limit=16",
                        "spring.ai.prefetch.prompt-cache=25%",
                        "spring.ai.prefetch.speculation=off",
                        "spring.ai.prefetch.lora[0].path=" + model,
                        "spring.ai.prefetch.lora[0].scale=0.5",
                        "spring.ai.prefetch.lora[1].path=" + model.toUri(),
                        "spring.ai.prefetch.buffer-size=256MB",
                        "spring.ai.prefetch.memory.ram=3GiB",
                        "spring.ai.prefetch.memory.weights=40%",
                        "spring.ai.prefetch.memory.expert-cache=1GiB")
                .run(context -> assertThat(opened.get())
                        .isEqualTo(EngineOptions.of(model)
                                .withContextLength(2048)
                                .withThreads(3)
                                .withBackend("cpu")
                                .withMaxConcurrency(4)
                                .withKvCacheType(KvCacheType.Q8_0)
                                .withUbatch(64)
                                .withLora(List.of(new LoraSource(model, 0.5f), new LoraSource(model, 1)))
                                .withMemory(MemoryOptions.AUTO
                                        .withRam(MemoryAmount.parse("3GiB"))
                                        .withWeights(MemoryAmount.parse("40%"))
                                        .withExpertCache(MemoryAmount.parse("1GiB"))
                                        .withLookAheadBlocks(3)
                                        .withBufferBytes(256 << 20)
                                        .withTraceSweeps(9))
                                .withServing(ServingOptions.DEFAULT
                                        .withQueueLimit(16)
                                        .withUbatchBesideDecode(32)
                                        .withPromptCacheFile(Path.of("prompts.cache"))
                                        .withPromptCache(MemoryAmount.parse("25%"))
                                        .withSpeculation(Speculation.OFF))));
    }

    @Test
    void bindsEveryChatProperty() {
        runner.withPropertyValues(
                        "spring.ai.prefetch.chat.temperature=0.1",
                        "spring.ai.prefetch.chat.top-p=0.2",
                        "spring.ai.prefetch.chat.top-k=3",
                        "spring.ai.prefetch.chat.min-p=0.4",
                        "spring.ai.prefetch.chat.max-tokens=5",
                        "spring.ai.prefetch.chat.stop-sequences=END,STOP",
                        "spring.ai.prefetch.chat.seed=6",
                        "spring.ai.prefetch.chat.repetition-penalty=1.7",
                        "spring.ai.prefetch.chat.presence-penalty=0.8",
                        "spring.ai.prefetch.chat.frequency-penalty=0.9",
                        "spring.ai.prefetch.chat.enable-thinking=true",
                        "spring.ai.prefetch.chat.thinking-in-content=true",
                        "spring.ai.prefetch.chat.timeout=90s",
                        "spring.ai.prefetch.chat.template-variables.enable_thinking=false",
                        "spring.ai.prefetch.chat.template-variables.language=en")
                .run(context -> assertThat(
                                context.getBean(PrefetchChatModel.class).getOptions())
                        .isEqualTo(PrefetchChatOptions.builder()
                                .model("Demo 1M")
                                .temperature(0.1)
                                .topP(0.2)
                                .topK(3)
                                .minP(0.4)
                                .maxTokens(5)
                                .stopSequences(List.of("END", "STOP"))
                                .seed(6L)
                                .repetitionPenalty(1.7)
                                .presencePenalty(0.8)
                                .frequencyPenalty(0.9)
                                .enableThinking(true)
                                .thinkingInContent(true)
                                .timeout(Duration.ofSeconds(90))
                                .templateVariables(Map.of("enable_thinking", false, "language", "en"))
                                .build()));
    }

    @Test
    void observesThroughTheApplicationsRegistry() {
        TestObservationRegistry registry = TestObservationRegistry.create();
        runner.withBean(ObservationRegistry.class, () -> registry).run(context -> {
            context.getBean(PrefetchChatModel.class).call("hi");
            TestObservationRegistryAssert.assertThat(registry)
                    .hasObservationWithNameEqualTo("gen_ai.client.operation")
                    .that()
                    .hasBeenStopped();
        });
    }
}
