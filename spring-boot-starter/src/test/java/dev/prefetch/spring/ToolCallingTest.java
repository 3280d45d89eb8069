package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.ChatMessage;
import dev.prefetch.api.FinishReason;
import dev.prefetch.api.Prompt.Chat;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.messages.ToolResponseMessage;
import org.springframework.ai.chat.messages.UserMessage;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.support.ToolCallbacks;
import org.springframework.ai.tool.annotation.Tool;

/** Tool calls through Spring AI's own loop, with a scripted engine in place of a model. */
@Timeout(30)
class ToolCallingTest {

    private static final String TWO_CALLS = """
            Let me see.
            <tool_call>
            {"name": "temperature", "arguments": {"city": "Paris"}}
            </tool_call>
            <tool_call>
            {"name": "temperature", "arguments": {"city": "Rome"}}
            </tool_call>""";

    /** A tool that notes what it was asked. */
    static final class Weather {

        private final List<String> asked = new ArrayList<>();

        @Tool(description = "temperature of a city")
        public int temperature(String city) {
            asked.add(city);
            return city.length();
        }
    }

    private static FakeEngine engine(String first, String then) {
        return FakeEngine.scripted(generation -> {
                    Chat chat = (Chat) generation.request().prompt();
                    boolean answered = chat.messages().getLast().role().equals("tool");
                    // Parts that cut every tag: the way tokens may.
                    for (String part : (answered ? then : first).split("(?<=\\G.{3})", -1)) {
                        generation.text(part);
                    }
                    generation.complete(FinishReason.STOP);
                })
                .withTemplate("<tool_call>");
    }

    private static ChatClient client(FakeEngine engine) {
        return ChatClient.create(PrefetchChatModel.builder(engine).build());
    }

    private static List<ChatMessage> lastMessages(FakeEngine engine) {
        return ((Chat) engine.last().request().prompt()).messages();
    }

    @Test
    void executesParallelCallsAndAnswers() {
        FakeEngine engine = engine(TWO_CALLS, "5 and 4 degrees");
        Weather weather = new Weather();

        assertThat(client(engine).prompt("weather?").tools(weather).call().content())
                .isEqualTo("5 and 4 degrees");
        assertThat(weather.asked).containsExactly("Paris", "Rome");
        assertHistory(lastMessages(engine));
    }

    @Test
    void executesParallelCallsOfAStream() {
        FakeEngine engine = engine(TWO_CALLS, "5 and 4 degrees");
        Weather weather = new Weather();

        List<String> parts = client(engine).prompt("weather?").tools(weather).stream()
                .content()
                .collectList()
                .block(Duration.ofSeconds(20));

        assertThat(String.join("", Objects.requireNonNull(parts))).isEqualTo("Let me see.5 and 4 degrees");
        assertThat(weather.asked).containsExactly("Paris", "Rome");
        assertHistory(lastMessages(engine));
    }

    /** The model sees its own calls and their results, joined by identifiers. */
    private static void assertHistory(List<ChatMessage> messages) {
        assertThat(messages).extracting(ChatMessage::role).containsExactly("user", "assistant", "tool", "tool");
        List<ChatMessage.ToolCall> calls = messages.get(1).toolCalls();
        assertThat(messages.get(1).content()).isEqualTo("Let me see.");
        assertThat(calls).extracting(ChatMessage.ToolCall::name).containsExactly("temperature", "temperature");
        assertThat(calls)
                .extracting(ChatMessage.ToolCall::arguments)
                .containsExactly("{\"city\":\"Paris\"}", "{\"city\":\"Rome\"}");
        assertThat(calls)
                .extracting(ChatMessage.ToolCall::id)
                .doesNotHaveDuplicates()
                .allMatch(id -> id.matches("[0-9A-Za-z]{9}"));
        assertThat(messages.subList(2, 4))
                .extracting(ChatMessage::toolCallId)
                .containsExactly(calls.get(0).id(), calls.get(1).id());
        assertThat(messages.subList(2, 4)).extracting(ChatMessage::content).containsExactly("5", "4");
    }

    @Test
    void aStreamCarriesEachCallOnceInItsLastElement() {
        PrefetchChatModel model =
                PrefetchChatModel.builder(engine(TWO_CALLS, "")).build();
        PrefetchChatOptions options = PrefetchChatOptions.builder()
                .toolCallbacks(ToolCallbacks.from(new Weather()))
                .build();

        List<ChatResponse> responses = Objects.requireNonNull(
                model.stream(new Prompt("weather?", options)).collectList().block(Duration.ofSeconds(20)));

        assertThat(responses.subList(0, responses.size() - 1)).noneMatch(ChatResponse::hasToolCalls);
        AssistantMessage last =
                Objects.requireNonNull(responses.getLast().getResult()).getOutput();
        assertThat(last.getText()).isEmpty();
        assertThat(last.getToolCalls())
                .extracting(AssistantMessage.ToolCall::arguments)
                .containsExactly("{\"city\":\"Paris\"}", "{\"city\":\"Rome\"}");
        assertThat(Objects.requireNonNull(responses.getLast().getResult())
                        .getMetadata()
                        .getFinishReason())
                .isEqualTo("tool_calls");
    }

    @Test
    void aMalformedCallComesBackAsText() {
        String malformed = "<tool_call>\n{\"name\": \"temperature\", \"arguments\": {\"city\": \"Par\n</tool_call>";
        Weather weather = new Weather();

        assertThat(client(engine(malformed, ""))
                        .prompt("weather?")
                        .tools(weather)
                        .call()
                        .content())
                .isEqualTo(malformed);
        assertThat(weather.asked).isEmpty();
    }

    @Test
    void theSameConversationGetsTheSameIdentifiers() {
        PrefetchChatModel model =
                PrefetchChatModel.builder(engine(TWO_CALLS, "")).build();
        Prompt prompt = new Prompt(
                "weather?",
                PrefetchChatOptions.builder()
                        .toolCallbacks(ToolCallbacks.from(new Weather()))
                        .build());

        assertThat(calls(model.call(prompt))).isEqualTo(calls(model.call(prompt)));
    }

    private static List<AssistantMessage.ToolCall> calls(ChatResponse response) {
        return Objects.requireNonNull(response.getResult()).getOutput().getToolCalls();
    }

    @Test
    void aCallThatIsRepeatedLaterGetsAnotherIdentifier() {
        PrefetchChatModel model =
                PrefetchChatModel.builder(engine(TWO_CALLS, TWO_CALLS)).build();
        PrefetchChatOptions options = PrefetchChatOptions.builder()
                .toolCallbacks(ToolCallbacks.from(new Weather()))
                .build();
        List<AssistantMessage.ToolCall> first = calls(model.call(new Prompt("weather?", options)));
        ToolResponseMessage results = ToolResponseMessage.builder()
                .responses(first.stream()
                        .map(call -> new ToolResponseMessage.ToolResponse(call.id(), call.name(), "5"))
                        .toList())
                .build();
        List<AssistantMessage.ToolCall> second = calls(model.call(new Prompt(
                List.of(
                        new UserMessage("weather?"),
                        AssistantMessage.builder().toolCalls(first).build(),
                        results),
                options)));

        assertThat(second)
                .hasSize(2)
                .extracting(AssistantMessage.ToolCall::id)
                .doesNotContainAnyElementsOf(
                        first.stream().map(AssistantMessage.ToolCall::id).toList());
    }

    @Test
    void parallelCallsAreShownOneByOneToATemplateThatTakesNoMore() {
        FakeEngine engine = engine(
                        "{\"name\":\"temperature\",\"parameters\":{\"city\":\"Paris\"}};"
                                + "{\"name\":\"temperature\",\"parameters\":{\"city\":\"Rome\"}}",
                        "done")
                .withTemplate(
                        "<|start_header_id|>ipython \"parameters\": This model only supports single tool-calls at once!");

        client(engine).prompt("weather?").tools(new Weather()).call().content();

        List<ChatMessage> messages = lastMessages(engine);
        assertThat(messages)
                .extracting(ChatMessage::role)
                .containsExactly("user", "assistant", "tool", "assistant", "tool");
        assertThat(messages).extracting(ChatMessage::content).containsExactly("weather?", "", "5", "", "4");
        assertThat(messages.get(1).toolCalls()).hasSize(1);
        assertThat(messages.get(3).toolCalls()).hasSize(1);
    }

    @Test
    void reasoningIsInTheMetadataAndShownToTheTemplateAgain() {
        FakeEngine engine = engine("<think>Which city?</think>" + TWO_CALLS, "<think>Done.</think>5 and 4")
                .withTemplate("<tool_call> </think>");

        ChatResponse response = Objects.requireNonNull(
                client(engine).prompt("weather?").tools(new Weather()).call().chatResponse());

        AssistantMessage message = Objects.requireNonNull(response.getResult()).getOutput();
        assertThat(message.getText()).isEqualTo("5 and 4");
        assertThat(message.getMetadata()).containsEntry("thinking", "Done.");
        assertThat(response.getResult().getMetadata().<String>get("thinking")).isEqualTo("Done.");
        assertThat(lastMessages(engine).get(1).reasoning()).isEqualTo("Which city?");
    }

    @Test
    void reasoningOfAStreamComesInPartsAndOnceWhole() {
        FakeEngine engine = engine("<think>One two three</think>Yes.", "").withTemplate("</think>");
        List<ChatResponse> responses =
                Objects.requireNonNull(PrefetchChatModel.builder(engine).build().stream(new Prompt("hi"))
                        .collectList()
                        .block(Duration.ofSeconds(20)));

        List<String> thoughts = responses.stream()
                .map(response -> Objects.requireNonNull(response.getResult())
                        .getOutput()
                        .getMetadata()
                        .get("thinking"))
                .filter(Objects::nonNull)
                .map(Object::toString)
                .toList();
        assertThat(thoughts).hasSizeGreaterThan(2);
        assertThat(String.join("", thoughts.subList(0, thoughts.size() - 1))).isEqualTo("One two three");
        assertThat(thoughts.getLast()).isEqualTo("One two three");
    }

    @Test
    void asksTheTemplateForReasoning() {
        FakeEngine engine =
                engine("Hm.</think>Yes.", "").withTemplate("</think>").withPromptEnd("<think>\n");
        PrefetchChatOptions options =
                PrefetchChatOptions.builder().enableThinking(true).build();

        ChatResponse response = PrefetchChatModel.builder(engine).build().call(new Prompt("hi", options));

        assertThat(((Chat) engine.last().request().prompt()).templateVariables())
                .containsEntry("enable_thinking", true);
        assertThat(Objects.requireNonNull(response.getResult()).getOutput().getText())
                .isEqualTo("Yes.");
    }
}
