package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.api.ChatMessage;
import dev.prefetch.api.ContextLengthExceededException;
import dev.prefetch.api.FinishReason;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.Prompt.Chat;
import dev.prefetch.api.ToolDefinition;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.messages.SystemMessage;
import org.springframework.ai.chat.messages.ToolResponseMessage;
import org.springframework.ai.chat.messages.UserMessage;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.model.Generation;
import org.springframework.ai.chat.prompt.ChatOptions;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.content.Media;
import org.springframework.ai.tool.function.FunctionToolCallback;
import org.springframework.core.io.ByteArrayResource;
import org.springframework.util.MimeTypeUtils;

class PrefetchChatModelTest {

    private static PrefetchChatModel model(FakeEngine engine) {
        return PrefetchChatModel.builder(engine).build();
    }

    private static PrefetchChatOptions.Builder options() {
        return PrefetchChatOptions.builder();
    }

    private static GenerationRequest requestFor(Prompt prompt) {
        FakeEngine engine = FakeEngine.answering("ok");
        model(engine).call(prompt);
        return engine.last().request();
    }

    private static GenerationRequest requestFor(ChatOptions options) {
        return requestFor(new Prompt("hi", options));
    }

    private static Generation result(ChatResponse response) {
        return Objects.requireNonNull(response.getResult());
    }

    @Test
    void mapsEveryKindOfMessage() {
        GenerationRequest request = requestFor(new Prompt(List.of(
                new SystemMessage("be brief"),
                new UserMessage("what time is it in Rome and in Oslo?"),
                AssistantMessage.builder()
                        .content("")
                        .toolCalls(List.of(
                                new AssistantMessage.ToolCall("1", "function", "clock", "{\"city\":\"Rome\"}"),
                                new AssistantMessage.ToolCall("2", "function", "clock", "{\"city\":\"Oslo\"}")))
                        .build(),
                ToolResponseMessage.builder()
                        .responses(List.of(
                                new ToolResponseMessage.ToolResponse("1", "clock", "noon"),
                                new ToolResponseMessage.ToolResponse("2", "clock", "one")))
                        .build(),
                new AssistantMessage("noon and one"),
                new UserMessage("thanks"))));

        assertThat(((Chat) request.prompt()).messages())
                .containsExactly(
                        ChatMessage.system("be brief"),
                        ChatMessage.user("what time is it in Rome and in Oslo?"),
                        new ChatMessage(
                                "assistant",
                                "",
                                List.of(
                                        new ChatMessage.ToolCall("1", "clock", "{\"city\":\"Rome\"}"),
                                        new ChatMessage.ToolCall("2", "clock", "{\"city\":\"Oslo\"}")),
                                null,
                                null),
                        new ChatMessage("tool", "noon", List.of(), "1", "clock"),
                        new ChatMessage("tool", "one", List.of(), "2", "clock"),
                        ChatMessage.assistant("noon and one"),
                        ChatMessage.user("thanks"));
    }

    @Test
    void mapsEveryOption() {
        GenerationRequest request = requestFor(options()
                .temperature(0.5)
                .topK(7)
                .topP(0.25)
                .minP(0.125)
                .repetitionPenalty(1.5)
                .presencePenalty(0.75)
                .frequencyPenalty(-0.5)
                .seed(42L)
                .maxTokens(12)
                .stopSequences(List.of("END"))
                .templateVariables(Map.of("enable_thinking", false))
                .build());

        assertThat(request.sampling())
                .satisfies(sampling -> assertThat(sampling.temperature()).isEqualTo(0.5f))
                .satisfies(sampling -> assertThat(sampling.topK()).isEqualTo(7))
                .satisfies(sampling -> assertThat(sampling.topP()).isEqualTo(0.25f))
                .satisfies(sampling -> assertThat(sampling.minP()).isEqualTo(0.125f))
                .satisfies(sampling -> assertThat(sampling.repetitionPenalty()).isEqualTo(1.5f))
                .satisfies(sampling -> assertThat(sampling.presencePenalty()).isEqualTo(0.75f))
                .satisfies(sampling -> assertThat(sampling.frequencyPenalty()).isEqualTo(-0.5f))
                .satisfies(sampling -> assertThat(sampling.seed()).isEqualTo(42L));
        assertThat(request.maxTokens()).isEqualTo(12);
        assertThat(request.stopSequences()).containsExactly("END");
        assertThat(((Chat) request.prompt()).templateVariables()).isEqualTo(Map.of("enable_thinking", false));
    }

    @Test
    void unsetOptionsTakeTheDocumentedDefaultsAndANewSeedEachTime() {
        FakeEngine engine = FakeEngine.answering("ok");
        PrefetchChatModel model = model(engine);
        model.call("hi");
        model.call("hi");

        GenerationRequest request = engine.requests().getFirst();
        assertThat(request.sampling().temperature()).isEqualTo(0.8f);
        assertThat(request.sampling().topK()).isEqualTo(40);
        assertThat(request.sampling().topP()).isEqualTo(0.95f);
        assertThat(request.sampling().minP()).isEqualTo(0.05f);
        assertThat(request.sampling().repetitionPenalty()).isEqualTo(1f);
        assertThat(request.maxTokens()).isZero();
        assertThat(request.stopSequences()).isEmpty();
        assertThat(request.sampling().seed())
                .isNotEqualTo(engine.requests().getLast().sampling().seed());
    }

    private static Stream<ChatOptions> ownAndPortableOptions() {
        return Stream.of(
                options().temperature(0.0).build(),
                ChatOptions.builder().temperature(0.0).build());
    }

    @ParameterizedTest
    @MethodSource("ownAndPortableOptions")
    void optionsOfARequestWinOverTheModelsOneByOne(ChatOptions requested) {
        FakeEngine engine = FakeEngine.answering("ok");
        PrefetchChatModel model = PrefetchChatModel.builder(engine)
                .options(options()
                        .temperature(1.5)
                        .maxTokens(9)
                        .stopSequences(List.of("END"))
                        .build())
                .build();
        model.call(new Prompt("hi", requested));

        assertThat(engine.last().request().sampling().temperature()).isZero();
        assertThat(engine.last().request().maxTokens()).isEqualTo(9);
        assertThat(engine.last().request().stopSequences()).containsExactly("END");
    }

    @Test
    void optionsNameTheLoadedModel() {
        assertThat(model(FakeEngine.manual()).getOptions().getModel()).isEqualTo("Demo 1M");
    }

    @ParameterizedTest
    @ValueSource(strings = {"Demo 1M", "demo-1m.gguf"})
    void acceptsTheLoadedModelByNameAndByFile(String name) {
        assertThat(requestFor(options().model(name).build())).isNotNull();
    }

    @Test
    void refusesAnotherModel() {
        assertThatIllegalArgumentException()
                .isThrownBy(
                        () -> requestFor(ChatOptions.builder().model("gpt-9").build()))
                .withMessageContaining("'gpt-9'")
                .withMessageContaining("'Demo 1M'");
    }

    @Test
    void refusesMedia() {
        Media image = new Media(MimeTypeUtils.IMAGE_PNG, new ByteArrayResource(new byte[] {1}));
        UserMessage message =
                UserMessage.builder().text("what is this?").media(image).build();

        assertThatIllegalArgumentException()
                .isThrownBy(() -> requestFor(new Prompt(message)))
                .withMessageContaining("text only");
    }

    @Test
    void anOutputSchemaBindsTheAnswer() {
        assertThat(requestFor(options().outputSchema("{}").build()).grammar()).isNotNull();
        assertThat(requestFor(options().build()).grammar()).isNull();
    }

    private static Stream<PrefetchChatOptions> optionsOutOfRange() {
        return Stream.of(
                options().topP(1.5).build(),
                options().topK(-1).build(),
                options().temperature(-0.1).build(),
                options().minP(2.0).build(),
                options().repetitionPenalty(0.0).build(),
                options().maxTokens(0).build(),
                options().stopSequences(List.of("")).build());
    }

    @ParameterizedTest
    @MethodSource("optionsOutOfRange")
    void refusesOptionsOutOfRange(PrefetchChatOptions options) {
        assertThatIllegalArgumentException().isThrownBy(() -> requestFor(options));
    }

    @Test
    void givesToolDefinitionsToTheTemplate() {
        GenerationRequest request = requestFor(options()
                .toolCallbacks(FunctionToolCallback.builder("clock", (City city) -> "noon in " + city.name())
                        .description("tells the time")
                        .inputType(City.class)
                        .build())
                .build());

        ToolDefinition tool = ((Chat) request.prompt()).tools().getFirst();
        assertThat(tool.name()).isEqualTo("clock");
        assertThat(tool.description()).isEqualTo("tells the time");
        assertThat(tool.parametersSchema()).contains("\"name\"").contains("\"type\"");
    }

    /** Input of the tool. */
    record City(String name) {}

    @Test
    void answersWithTextUsageAndTimings() {
        FakeEngine engine = FakeEngine.answering("Hel", "lo", "!");
        ChatResponse response =
                model(engine).call(new Prompt("hi", options().seed(5L).build()));

        assertThat(result(response).getOutput().getText()).isEqualTo("Hello!");
        assertThat(result(response).getMetadata().getFinishReason()).isEqualTo("stop");
        assertThat(response.getMetadata().getModel()).isEqualTo("Demo 1M");
        assertThat(response.getMetadata().getId()).isNotBlank();
        assertThat(response.getMetadata().getUsage().getPromptTokens()).isEqualTo(7);
        assertThat(response.getMetadata().getUsage().getCompletionTokens()).isEqualTo(3);
        assertThat(response.getMetadata().getUsage().getTotalTokens()).isEqualTo(10);
        assertThat(response.getMetadata().getUsage().getCacheReadInputTokens()).isEqualTo(4);
        assertThat(response.getMetadata().<Instant>get("created-at")).isNotNull();
        assertThat(metadata(response))
                .containsEntry("queue-duration", Duration.ofMillis(1))
                .containsEntry("prompt-eval-duration", Duration.ofMillis(20))
                .containsEntry("prompt-eval-count", 7)
                .containsEntry("prompt-tokens-per-second", 150.0)
                .containsEntry("eval-duration", Duration.ofMillis(100))
                .containsEntry("eval-count", 3)
                .containsEntry("tokens-per-second", 20.0)
                .containsEntry("time-to-first-token", Duration.ofMillis(25))
                .containsEntry("total-duration", Duration.ofMillis(125))
                .containsEntry("seed", 5L)
                .containsEntry("done", true);
    }

    private static Map<String, Object> metadata(ChatResponse response) {
        return response.getMetadata().entrySet().stream()
                .collect(Collectors.toMap(Map.Entry::getKey, Map.Entry::getValue));
    }

    @ParameterizedTest
    @CsvSource({"STOP, stop", "LENGTH, length", "CANCELLED, cancelled"})
    void saysWhyTheAnswerEnded(FinishReason reason, String expected) {
        FakeEngine engine = FakeEngine.scripted(generation -> {
            generation.text("some");
            generation.complete(reason);
        });
        ChatResponse response = model(engine).call(new Prompt("hi"));

        assertThat(result(response).getMetadata().getFinishReason()).isEqualTo(expected);
        assertThat(result(response).getOutput().getText()).isEqualTo("some");
    }

    @Test
    void callThrowsWhatTheEngineReports() {
        RuntimeException failure = new ContextLengthExceededException(2000, 1024);
        FakeEngine engine = FakeEngine.scripted(generation -> generation.fail(failure));

        assertThatThrownBy(() -> model(engine).call("hi")).isSameAs(failure);
    }

    @Test
    void callThrowsWhenTheEngineIsClosed() {
        FakeEngine engine = FakeEngine.manual();
        PrefetchChatModel model = model(engine);
        engine.close();

        assertThatThrownBy(() -> model.call("hi")).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void interruptingACallCancelsTheGenerationAndStaysVisible() throws InterruptedException {
        FakeEngine engine = FakeEngine.manual();
        PrefetchChatModel model = model(engine);
        AtomicReference<Throwable> thrown = new AtomicReference<>();
        AtomicBoolean interrupted = new AtomicBoolean();
        Thread caller = Thread.ofPlatform().start(() -> {
            try {
                model.call("hi");
            } catch (IllegalStateException e) {
                thrown.set(e);
                interrupted.set(Thread.currentThread().isInterrupted());
            }
        });
        Awaitility.await().until(() -> !engine.requests().isEmpty());
        caller.interrupt();
        caller.join(10_000);

        assertThat(thrown.get()).hasMessageContaining("interrupted");
        assertThat(interrupted).isTrue();
        assertThat(engine.last().isCancelled()).isTrue();
    }
}
