package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.FinishReason;
import dev.prefetch.prefetch.WeightUnavailableException;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.model.Generation;
import org.springframework.ai.chat.prompt.ChatOptions;
import org.springframework.ai.chat.prompt.Prompt;
import reactor.core.publisher.Flux;
import reactor.test.StepVerifier;

/** Another chat model answers when the engine cannot, and only then. */
@Timeout(30)
class ChatFallbackTest {

    private static final WeightUnavailableException DISK =
            new WeightUnavailableException("Block L03 could not be read", new IOException("disk on fire"));

    private final Remote remote =
            new Remote(ChatOptions.builder().model("fleet").temperature(0.9).build());

    /** Another provider's chat model, which knows the portable options alone. */
    private static final class Remote implements ChatModel {

        private final List<Prompt> prompts = new ArrayList<>();
        private final ChatOptions options;

        Remote(ChatOptions options) {
            this.options = options;
        }

        @Override
        public ChatOptions getOptions() {
            return options;
        }

        @Override
        public ChatResponse call(Prompt prompt) {
            prompts.add(prompt);
            return new ChatResponse(List.of(new Generation(new AssistantMessage("from the fleet"))));
        }

        @Override
        public Flux<ChatResponse> stream(Prompt prompt) {
            return Flux.defer(() -> Flux.just(call(prompt)));
        }
    }

    /** Refuses everything as saturated. */
    private static final class Full implements GenerationGuard {

        @Override
        public <T> T call(Supplier<T> generation) {
            throw new IllegalStateException("full");
        }

        @Override
        public <T> Flux<T> stream(Flux<T> generation) {
            return Flux.error(new IllegalStateException("full"));
        }

        @Override
        public ChatFallback.@Nullable Reason refusal(Throwable failure) {
            return "full".equals(failure.getMessage()) ? ChatFallback.Reason.SATURATED : null;
        }
    }

    private PrefetchChatModel model(FakeEngine engine, GenerationGuard guard, Set<ChatFallback.Reason> on) {
        return PrefetchChatModel.builder(engine)
                .guard(guard)
                .fallback(new ChatFallback(() -> remote, on))
                .build();
    }

    private PrefetchChatModel model(FakeEngine engine) {
        return model(engine, GenerationGuard.NONE, EnumSet.allOf(ChatFallback.Reason.class));
    }

    private static FakeEngine failing(RuntimeException failure) {
        return FakeEngine.scripted(generation -> generation.fail(failure));
    }

    private static List<String> texts(Flux<ChatResponse> stream) {
        return Objects.requireNonNull(stream.collectList().block(Duration.ofSeconds(10))).stream()
                .map(response ->
                        Objects.requireNonNull(response.getResult()).getOutput().getText())
                .filter(text -> text != null && !text.isEmpty())
                .toList();
    }

    @Test
    void aWorkingEngineAnswersItself() {
        PrefetchChatModel model = model(FakeEngine.answering("mine"));

        assertThat(model.call("hi")).isEqualTo("mine");
        assertThat(texts(model.stream(new Prompt("hi")))).containsExactly("mine");
        assertThat(remote.prompts).isEmpty();
    }

    @Test
    void whatFindsNoPlaceGoesToTheOtherModel() {
        PrefetchChatModel model =
                model(FakeEngine.answering("mine"), new Full(), Set.of(ChatFallback.Reason.SATURATED));

        assertThat(model.call("hi")).isEqualTo("from the fleet");
        assertThat(texts(model.stream(new Prompt("hi")))).containsExactly("from the fleet");
    }

    @Test
    void itIsAskedForTheConfiguredReasonsAlone() {
        PrefetchChatModel model = model(FakeEngine.answering("mine"), new Full(), Set.of(ChatFallback.Reason.DOWN));

        assertThatThrownBy(() -> model.call("hi")).hasMessage("full");
        assertThat(remote.prompts).isEmpty();
    }

    @Test
    void aFaultOfTheDiskGoesToTheOtherModel() {
        PrefetchChatModel model = model(failing(DISK));

        assertThat(model.call("hi")).isEqualTo("from the fleet");
        assertThat(texts(model.stream(new Prompt("hi")))).containsExactly("from the fleet");
    }

    @Test
    void aWrongRequestStaysWrong() {
        PrefetchChatModel model = model(failing(new IllegalArgumentException("too long")));

        assertThatThrownBy(() -> model.call("hi")).hasMessage("too long");
        StepVerifier.create(model.stream(new Prompt("hi")))
                .expectErrorMessage("too long")
                .verify(Duration.ofSeconds(10));
        assertThat(remote.prompts).isEmpty();
    }

    @Test
    void anEngineThatHasFailedIsNotAskedFirst() {
        FakeEngine engine = FakeEngine.answering("mine").withStatus(EngineStatus.absent(EngineStatus.State.FAILED));

        assertThat(model(engine).call("hi")).isEqualTo("from the fleet");
        assertThat(texts(model(engine).stream(new Prompt("hi")))).containsExactly("from the fleet");
        assertThat(engine.requests()).isEmpty();
    }

    @Test
    void anAnswerThatHasBegunIsNotBegunAnew() {
        FakeEngine engine = FakeEngine.scripted(generation -> {
            generation.text("Once upon");
            generation.fail(DISK);
        });

        StepVerifier.create(model(engine).stream(new Prompt("hi")))
                .expectNextCount(1)
                .expectErrorMessage(DISK.getMessage())
                .verify(Duration.ofSeconds(10));
        assertThat(remote.prompts).isEmpty();
    }

    @Test
    void theOtherModelIsAskedWithItsOwnOptionsAndThePortableOnesOfTheRequest() {
        model(failing(DISK))
                .call(new Prompt(
                        "hi",
                        PrefetchChatOptions.builder()
                                .model("Demo 1M")
                                .maxTokens(7)
                                .minP(0.5)
                                .build()));

        ChatOptions asked = Objects.requireNonNull(remote.prompts.getFirst().getOptions());
        assertThat(asked.getModel()).isEqualTo("fleet");
        assertThat(asked.getTemperature()).isEqualTo(0.9);
        assertThat(asked.getMaxTokens()).isEqualTo(7);
    }

    @Test
    void anAnswerThatMustFollowASchemaIsNotAskedOfAModelThatCannotBeTold() {
        PrefetchChatModel model = model(failing(DISK));
        Prompt prompt = new Prompt(
                "hi",
                PrefetchChatOptions.builder()
                        .outputSchema("{\"type\":\"object\"}")
                        .build());

        assertThatThrownBy(() -> model.call(prompt)).isSameAs(DISK);
        assertThat(remote.prompts).isEmpty();
    }

    @Test
    void aModelThatTakesSchemasIsToldIt() {
        FakeEngine other = FakeEngine.answering("{}");
        PrefetchChatModel model = PrefetchChatModel.builder(failing(DISK))
                .fallback(new ChatFallback(
                        () -> PrefetchChatModel.builder(other).build(), EnumSet.allOf(ChatFallback.Reason.class)))
                .build();

        model.call(new Prompt(
                "hi",
                PrefetchChatOptions.builder()
                        .outputSchema("{\"type\":\"object\"}")
                        .build()));

        assertThat(other.last().request().grammar()).isNotNull();
    }

    @Test
    void aCancelledStreamAsksNobody() {
        FakeEngine engine = FakeEngine.manual();
        StepVerifier.create(model(engine).stream(new Prompt("hi")))
                .thenAwait(Duration.ofMillis(50))
                .thenCancel()
                .verify(Duration.ofSeconds(10));
        engine.requests()
                .forEach(request -> assertThat(engine.last().isCancelled()).isTrue());
        engine.last().complete(FinishReason.CANCELLED);
        assertThat(remote.prompts).isEmpty();
    }
}
