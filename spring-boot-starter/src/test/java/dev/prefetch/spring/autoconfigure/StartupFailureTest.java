package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.api.BackendUnavailableException;
import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.model.UnsupportedModelException;
import dev.prefetch.spring.FakeEngine;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.boot.diagnostics.FailureAnalysis;
import org.springframework.boot.diagnostics.FailureAnalyzedException;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;
import org.springframework.boot.test.system.CapturedOutput;
import org.springframework.boot.test.system.OutputCaptureExtension;
import org.springframework.context.annotation.Configuration;

@ExtendWith(OutputCaptureExtension.class)
class StartupFailureTest {

    @TempDir
    private Path folder;

    private Path model;

    @BeforeEach
    void prepare() throws IOException {
        model = Files.writeString(folder.resolve("demo.gguf"), "GGUF");
    }

    private static FailureAnalysis failureOf(EngineOpener opener, String... properties) {
        FailureAnalysis[] analysis = new FailureAnalysis[1];
        new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(
                        PrefetchEngineAutoConfiguration.class, PrefetchChatAutoConfiguration.class))
                .withBean(EngineOpener.class, () -> opener)
                .withPropertyValues("spring.ai.prefetch.load-in-background=false", "spring.ai.prefetch.warm-up=false")
                .withPropertyValues(properties)
                .run(context -> {
                    assertThat(context).hasFailed();
                    for (Throwable t = context.getStartupFailure(); t != null; t = t.getCause()) {
                        if (t instanceof FailureAnalyzedException analyzed) {
                            analysis[0] = analyzed.analysis();
                        }
                    }
                });
        return Objects.requireNonNull(analysis[0], "the failure is not an analysed one");
    }

    private FailureAnalysis failureOfOpening(RuntimeException failure) {
        return failureOf(
                (options, listener) -> {
                    throw failure;
                },
                "spring.ai.prefetch.model=" + model,
                "spring.ai.prefetch.backend=cuda");
    }

    private static FailureAnalysis failureOfModel(String location) {
        return failureOf((options, listener) -> FakeEngine.manual(), "spring.ai.prefetch.model=" + location);
    }

    @Test
    void noModelIsConfigured() {
        FailureAnalysis failure = failureOf((options, listener) -> FakeEngine.manual());

        assertThat(failure.getDescription()).contains("spring.ai.prefetch.model is not set");
        assertThat(failure.getAction()).contains("Set spring.ai.prefetch.model").contains("spring.ai.model.chat");
    }

    @Test
    void theFileDoesNotExist() {
        FailureAnalysis failure = failureOfModel(folder.resolve("absent.gguf").toString());

        assertThat(failure.getDescription())
                .contains(folder.resolve("absent.gguf").toString())
                .contains("does not exist");
        assertThat(failure.getAction()).contains("Correct spring.ai.prefetch.model");
    }

    @Test
    void theFileIsAFolder() {
        assertThat(failureOfModel(folder.toString()).getDescription()).contains("is not a file");
    }

    @Test
    void theResourceIsNotOnTheClassPath() {
        FailureAnalysis failure = failureOfModel("classpath:models/absent.gguf");

        assertThat(failure.getDescription()).contains("'classpath:models/absent.gguf' is not on the class path");
        assertThat(failure.getAction()).contains("spring.ai.prefetch.model");
    }

    @Test
    void theModelIsOnTheNetwork() {
        FailureAnalysis failure = failureOfModel("https://example.org/demo.gguf");

        assertThat(failure.getDescription()).contains("never downloaded");
        assertThat(failure.getAction()).contains("Download the file");
    }

    private static Stream<Arguments> failuresOfOpening() {
        return Stream.of(
                Arguments.of(
                        new GgufFormatException("demo.gguf: offset 4: version 99"),
                        "is not a valid GGUF file: demo.gguf: offset 4: version 99",
                        "Get the file again"),
                Arguments.of(
                        new UnsupportedModelException("architecture 'mamba'"),
                        "is not supported: architecture 'mamba'",
                        "Set spring.ai.prefetch.model"),
                Arguments.of(
                        new BackendUnavailableException("no driver"),
                        "The backend 'cuda' cannot be used: no driver",
                        "Set spring.ai.prefetch.backend to 'auto' or 'cpu'"),
                Arguments.of(
                        new UncheckedIOException(new IOException("disk on fire")),
                        "could not be read: disk on fire",
                        "Check the file"));
    }

    @ParameterizedTest
    @MethodSource("failuresOfOpening")
    void theModelCannotBeOpened(RuntimeException cause, String description, String action) {
        FailureAnalysis failure = failureOfOpening(cause);

        assertThat(failure.getDescription()).contains(description);
        assertThat(failure.getAction()).contains(action);
        assertThat(failure.getCause()).hasCause(cause);
    }

    @Test
    void anUnexpectedFailureKeepsItsStackTrace() {
        new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(PrefetchEngineAutoConfiguration.class))
                .withBean(EngineOpener.class, () -> (options, listener) -> {
                    throw new ArithmeticException("a bug");
                })
                .withPropertyValues("spring.ai.prefetch.model=" + model, "spring.ai.prefetch.load-in-background=false")
                .run(context ->
                        assertThat(context.getStartupFailure()).hasRootCauseInstanceOf(ArithmeticException.class));
    }

    @ParameterizedTest
    @CsvSource({
        "context-length, 0",
        "threads, -1",
        "backend, ' '",
        "max-concurrency, 0",
        "ubatch, 0",
        "ubatch-beside-decode, 0",
        "prompt-cache-file, /",
        "queue-limit, -1",
        "prompt-cache, much",
        "chat.timeout, PT0S",
        "look-ahead, -1",
        "look-ahead, many",
        "memory.ram, lots",
        "memory.weights, 140%",
        "lora[0].path, /nowhere/adapter.gguf",
        "lora[0].path, file:/nowhere/adapter.gguf",
        "buffer-size, 0MB",
        "buffer-size, much",
        "chat.temperature, -0.1",
        "chat.top-p, 0",
        "chat.top-p, 1.1",
        "chat.top-k, -1",
        "chat.min-p, -0.1",
        "chat.min-p, 1.1",
        "chat.max-tokens, 0",
        "chat.repetition-penalty, 0",
        "chat.presence-penalty, NaN",
        "chat.frequency-penalty, Infinity",
    })
    void aValueIsOutOfItsRange(String name, String value) {
        FailureAnalysis failure = failureOf(
                (options, listener) -> {
                    throw new AssertionError("the model must not be loaded");
                },
                "spring.ai.prefetch.model=" + model,
                "spring.ai.prefetch." + name + "=" + value);

        assertThat(failure.getDescription())
                .contains("spring.ai.prefetch." + name + " must be ")
                .contains("'" + value.strip());
        assertThat(failure.getAction()).contains("spring.ai.prefetch." + name);
    }

    @ParameterizedTest
    @CsvSource({"look-ahead, auto", "look-ahead, 0", "buffer-size, AUTO", "buffer-size, 1GB", "backend, auto"})
    void aValueIsAccepted(String name, String value) {
        new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(
                        PrefetchEngineAutoConfiguration.class, PrefetchChatAutoConfiguration.class))
                .withBean(EngineOpener.class, () -> (options, listener) -> FakeEngine.manual())
                .withPropertyValues("spring.ai.prefetch.model=" + model, "spring.ai.prefetch." + name + "=" + value)
                .run(context -> assertThat(context).hasNotFailed());
    }

    @Test
    void anApplicationPrintsTheReasonAndTheRemedyInsteadOfAStackTrace(CapturedOutput output) {
        SpringApplicationBuilder application = new SpringApplicationBuilder(Application.class)
                .web(WebApplicationType.NONE)
                .properties("spring.ai.prefetch.model=" + folder.resolve("absent.gguf"));

        assertThatThrownBy(application::run).isInstanceOf(RuntimeException.class);
        assertThat(output)
                .contains("APPLICATION FAILED TO START")
                .contains("Description:")
                .contains("absent.gguf does not exist")
                .contains("Action:")
                .contains("Correct spring.ai.prefetch.model")
                .doesNotContain("\tat ");
    }

    /** An application with nothing but the starter. */
    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Application {}
}
