package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.KvCacheType;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.spring.FakeEngine;
import dev.prefetch.spring.PrefetchChatModel;
import dev.prefetch.spring.PrefetchEngines;
import dev.prefetch.spring.actuate.PrefetchEndpoint;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.model.chat.client.autoconfigure.ChatClientAutoConfiguration;
import org.springframework.ai.model.tool.autoconfigure.ToolCallingAutoConfiguration;
import org.springframework.beans.factory.annotation.Qualifier;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.diagnostics.FailureAnalyzedException;
import org.springframework.boot.health.contributor.CompositeHealthContributor;
import org.springframework.boot.micrometer.metrics.autoconfigure.CompositeMeterRegistryAutoConfiguration;
import org.springframework.boot.micrometer.metrics.autoconfigure.MetricsAutoConfiguration;
import org.springframework.boot.test.context.assertj.AssertableApplicationContext;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

/** Several engines in one application, each with a name of its own. */
class SeveralModelsTest {

    private final Map<String, FakeEngine> opened = new ConcurrentHashMap<>();
    private final Map<String, EngineOptions> options = new ConcurrentHashMap<>();

    @TempDir
    private Path folder;

    private ApplicationContextRunner runner;

    @BeforeEach
    void prepare() throws IOException {
        for (String name : new String[] {"big", "small", "root"}) {
            Files.writeString(folder.resolve(name + ".gguf"), "GGUF");
        }
        runner = new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(
                        PrefetchEngineAutoConfiguration.class,
                        PrefetchChatAutoConfiguration.class,
                        PrefetchModelsAutoConfiguration.class,
                        PrefetchEnginesAutoConfiguration.class,
                        PrefetchActuatorAutoConfiguration.class,
                        MetricsAutoConfiguration.class,
                        CompositeMeterRegistryAutoConfiguration.class,
                        ToolCallingAutoConfiguration.class,
                        ChatClientAutoConfiguration.class))
                .withBean(SimpleMeterRegistry.class, SimpleMeterRegistry::new)
                .withBean(EngineOpener.class, () -> (wanted, listener) -> {
                    String name = wanted.model().getFileName().toString().replace(".gguf", "");
                    FakeEngine engine = FakeEngine.answering("I am " + name).named(name);
                    opened.put(name, engine);
                    options.put(name, wanted);
                    return engine;
                })
                .withPropertyValues("spring.ai.prefetch.load-in-background=false", "spring.ai.prefetch.warm-up=false");
    }

    private ApplicationContextRunner two() {
        return runner.withPropertyValues(
                "spring.ai.prefetch.models.big-one.model=" + folder.resolve("big.gguf"),
                "spring.ai.prefetch.models.big-one.context-length=2048",
                "spring.ai.prefetch.models.big-one.chat.temperature=0.25",
                "spring.ai.prefetch.models.small.model=" + folder.resolve("small.gguf"),
                "spring.ai.prefetch.models.small.max-concurrency=2",
                "spring.ai.prefetch.models.small.kv-cache-type=f16",
                "spring.ai.prefetch.primary=big-one");
    }

    private static String ask(AssertableApplicationContext context, String bean) {
        return context.getBean(bean, ChatModel.class).call("hi");
    }

    private static String failure(AssertableApplicationContext context) {
        for (Throwable t = context.getStartupFailure(); t != null; t = t.getCause()) {
            if (t instanceof FailureAnalyzedException analyzed) {
                return analyzed.analysis().getDescription() + " "
                        + analyzed.analysis().getAction();
            }
        }
        throw new AssertionError("the start did not fail with an analysis", context.getStartupFailure());
    }

    @Test
    void eachHasItsEngineAndItsChatModel() {
        two().run(context -> {
            assertThat(context).hasNotFailed();
            assertThat(ask(context, "bigOneChatModel")).isEqualTo("I am big");
            assertThat(ask(context, "smallChatModel")).isEqualTo("I am small");
            assertThat(Objects.requireNonNull(options.get("big")).kvCacheType()).isEqualTo(KvCacheType.F32);
            assertThat(Objects.requireNonNull(options.get("small")).kvCacheType())
                    .isEqualTo(KvCacheType.F16);
            assertThat(Objects.requireNonNull(options.get("big")).contextLength())
                    .isEqualTo(2048);
            assertThat(Objects.requireNonNull(options.get("small")).maxConcurrency())
                    .isEqualTo(2);
            assertThat(context.getBean("bigOneChatModel", PrefetchChatModel.class)
                            .getOptions()
                            .getTemperature())
                    .isEqualTo(0.25);
            assertThat(context.getBean("smallChatModel", PrefetchChatModel.class)
                            .getOptions()
                            .getTemperature())
                    .isNull();
        });
        assertThat(opened.values()).hasSize(2).allMatch(FakeEngine::isClosed);
    }

    @Test
    void onlyThePrimaryOneIsMeantWhereNoneIsNamed() {
        two().run(context -> {
            assertThat(context.getBean(ChatModel.class).call("hi")).isEqualTo("I am big");
            assertThat(context.getBean(PrefetchEngine.class)).isSameAs(context.getBean("bigOneEngine"));
            assertThat(context.getBean(ChatClient.Builder.class)
                            .build()
                            .prompt("hi")
                            .call()
                            .content())
                    .isEqualTo("I am big");
        });
    }

    /** As in an application: by a qualifier. */
    @Configuration(proxyBeanMethods = false)
    static class Injection {
        @Bean
        String answers(
                @Qualifier("smallChatModel") ChatModel small,
                @Qualifier("bigOneChatModel") ChatModel big,
                ChatModel any) {
            return small.call("hi") + ", " + big.call("hi") + ", " + any.call("hi");
        }
    }

    @Test
    void anyOneIsInjectedByItsQualifier() {
        two().withUserConfiguration(Injection.class)
                .run(context -> assertThat(context.getBean("answers")).isEqualTo("I am small, I am big, I am big"));
    }

    @Test
    void theModelWithoutANameStaysThePrimaryOne() {
        runner.withPropertyValues(
                        "spring.ai.prefetch.model=" + folder.resolve("root.gguf"),
                        "spring.ai.prefetch.models.small.model=" + folder.resolve("small.gguf"))
                .run(context -> {
                    assertThat(context.getBean(ChatModel.class).call("hi")).isEqualTo("I am root");
                    assertThat(ask(context, "smallChatModel")).isEqualTo("I am small");
                    assertThat(context.getBean(PrefetchEngines.class).primary()).isEqualTo("prefetch");
                });
    }

    @Test
    void theApplicationsOwnEngineStaysThePrimaryOne() {
        runner.withPropertyValues(
                        "spring.ai.prefetch.model=" + folder.resolve("root.gguf"),
                        "spring.ai.prefetch.models.small.model=" + folder.resolve("small.gguf"))
                .withBean("ownEngine", PrefetchEngine.class, () -> FakeEngine.answering("mine"))
                .run(context -> {
                    assertThat(context.getBean(ChatModel.class).call("hi")).isEqualTo("mine");
                    assertThat(context.getBean(PrefetchEngines.class).byName()).containsOnlyKeys("own", "small");
                });
        assertThat(opened).containsOnlyKeys("small");
    }

    /** Another provider's, beside ours by name: by type it is the other one. */
    @Test
    void anotherChatModelOfTheApplicationGoesBeforeFallbackBeans() {
        ChatModel other = new ChatModel() {
            @Override
            public ChatResponse call(Prompt prompt) {
                throw new UnsupportedOperationException("not asked here");
            }
        };
        runner.withPropertyValues(
                        "spring.ai.prefetch.models.big.model=" + folder.resolve("big.gguf"),
                        "spring.ai.prefetch.models.small.model=" + folder.resolve("small.gguf"),
                        "spring.ai.prefetch.primary=small",
                        "spring.ai.model.chat=none",
                        "spring.ai.model.embedding=none")
                .withBean("other", ChatModel.class, () -> other)
                .run(context -> {
                    assertThat(context.getBean(ChatModel.class)).isSameAs(other);
                    assertThat(context).doesNotHaveBean(PrefetchEngine.class);
                });
    }

    @Test
    void twoChatModelsWithoutAPrimaryOneAreRefused() {
        runner.withPropertyValues(
                        "spring.ai.prefetch.models.big.model=" + folder.resolve("big.gguf"),
                        "spring.ai.prefetch.models.small.model=" + folder.resolve("small.gguf"))
                .run(context -> assertThat(failure(context))
                        .contains("[big, small]")
                        .contains("Set spring.ai.prefetch.primary"));
        assertThat(opened).isEmpty();
    }

    @Test
    void anUnknownPrimaryOneIsRefused() {
        runner.withPropertyValues(
                        "spring.ai.prefetch.models.big.model=" + folder.resolve("big.gguf"),
                        "spring.ai.prefetch.primary=small")
                .run(context -> assertThat(failure(context)).contains("'small', which is none of [big]"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"plan", "trace", "prefetch", "1st", "a_b"})
    void aNameThatCannotBeIsRefused(String name) {
        runner.withPropertyValues("spring.ai.prefetch.models[" + name + "].model=" + folder.resolve("big.gguf"))
                .run(context -> assertThat(failure(context)).contains("'" + name + "' cannot be the name of a model"));
    }

    @Test
    void aWrongPropertyIsNamedWithItsModel() {
        runner.withPropertyValues(
                        "spring.ai.prefetch.models.big.model=" + folder.resolve("big.gguf"),
                        "spring.ai.prefetch.models.big.chat.top-k=-1")
                .run(context ->
                        assertThat(failure(context)).contains("spring.ai.prefetch.models.big.chat.top-k must be"));
        runner.withPropertyValues("spring.ai.prefetch.models.big.model=" + folder.resolve("absent.gguf"))
                .run(context -> assertThat(failure(context)).contains("Correct spring.ai.prefetch.models.big.model"));
    }

    @Test
    void healthEndpointAndMetersKeepThemApart() {
        two().withPropertyValues("management.endpoints.web.exposure.include=prefetch")
                .run(context -> {
                    ask(context, "smallChatModel");
                    MeterRegistry registry = context.getBean(MeterRegistry.class);
                    assertThat(registry.get("prefetch.generations")
                                    .tags("engine", "small", "model", "small")
                                    .counter()
                                    .count())
                            .isEqualTo(1);
                    assertThat(registry.find("prefetch.generations")
                                    .tags("engine", "big-one")
                                    .counter())
                            .isNull();
                    assertThat(registry.get("prefetch.kv.bytes")
                                    .tags("engine", "big-one")
                                    .gauges())
                            .hasSize(3);
                    assertThat(context.getBean(CompositeHealthContributor.class).stream()
                                    .map(CompositeHealthContributor.Entry::name))
                            .containsExactly("big-one", "small");
                    PrefetchEndpoint endpoint = context.getBean(PrefetchEndpoint.class);
                    assertThat(endpoint.engine().get("engine")).isEqualTo("big-one");
                    assertThat(endpoint.part("small")).contains("\"name\":\"small\"");
                    assertThat(endpoint.partOf("small", "plan")).contains("blocks");
                    assertThat(endpoint.partOf("absent", "plan")).isNull();
                });
    }
}
