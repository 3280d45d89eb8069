package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.api.ChatMessage;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.Prompt.Chat;
import dev.prefetch.grammar.UnsupportedSchemaException;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.chat.client.advisor.MessageChatMemoryAdvisor;
import org.springframework.ai.chat.memory.ChatMemory;
import org.springframework.ai.chat.memory.MessageWindowChatMemory;
import org.springframework.ai.chat.prompt.ChatOptions;

/** What an application sees: the model below Spring AI's own client and advisors. */
@Timeout(30)
class ChatClientTest {

    private static List<ChatMessage> messages(GenerationRequest request) {
        return ((Chat) request.prompt()).messages();
    }

    private static ChatClient client(FakeEngine engine, PrefetchChatOptions defaults) {
        return ChatClient.create(
                PrefetchChatModel.builder(engine).options(defaults).build());
    }

    private static ChatClient client(FakeEngine engine) {
        return client(engine, PrefetchChatOptions.builder().build());
    }

    @Test
    void answersAPromptWithASystemText() {
        FakeEngine engine = FakeEngine.answering("Hel", "lo");

        assertThat(client(engine).prompt().system("be brief").user("hi").call().content())
                .isEqualTo("Hello");
        assertThat(messages(engine.last().request()))
                .containsExactly(ChatMessage.system("be brief"), ChatMessage.user("hi"));
    }

    @Test
    void streamsTheText() {
        assertThat(client(FakeEngine.answering("Hel", "lo")).prompt("hi").stream()
                        .content()
                        .collectList()
                        .block(Duration.ofSeconds(10)))
                .contains("Hel", "lo")
                .satisfies(parts -> assertThat(String.join("", parts)).isEqualTo("Hello"));
    }

    @Test
    void mergesPortableAndOwnOptionsOverTheDefaults() {
        FakeEngine engine = FakeEngine.answering("ok");
        ChatClient client = client(
                engine,
                PrefetchChatOptions.builder()
                        .temperature(1.5)
                        .minP(0.25)
                        .maxTokens(9)
                        .build());
        client.prompt("hi")
                .options(ChatOptions.builder().temperature(0.0))
                .call()
                .content();
        client.prompt("hi")
                .options(PrefetchChatOptions.builder().minP(0.5))
                .call()
                .content();

        GenerationRequest portable = engine.requests().getFirst();
        assertThat(portable.sampling().temperature()).isZero();
        assertThat(portable.sampling().minP()).isEqualTo(0.25f);
        assertThat(portable.maxTokens()).isEqualTo(9);
        GenerationRequest own = engine.requests().getLast();
        assertThat(own.sampling().temperature()).isEqualTo(1.5f);
        assertThat(own.sampling().minP()).isEqualTo(0.5f);
        assertThat(own.maxTokens()).isEqualTo(9);
    }

    @Test
    void doesNotRepeatTheStopSequencesOfTheDefaults() {
        FakeEngine engine = FakeEngine.answering("ok");
        client(
                        engine,
                        PrefetchChatOptions.builder()
                                .stopSequences(List.of("END"))
                                .build())
                .prompt("hi")
                .call()
                .content();

        assertThat(engine.last().request().stopSequences()).containsExactly("END");
    }

    @Test
    void remembersAConversationThroughTheMemoryAdvisor() {
        FakeEngine engine = FakeEngine.answering("Hello Ann");
        ChatClient client = ChatClient.builder(PrefetchChatModel.builder(engine).build())
                .defaultAdvisors(MessageChatMemoryAdvisor.builder(
                                MessageWindowChatMemory.builder().build())
                        .build())
                .build();
        for (String text : List.of("I am Ann", "Who am I?")) {
            client.prompt(text)
                    .advisors(advisors -> advisors.param(ChatMemory.CONVERSATION_ID, "1"))
                    .call()
                    .content();
        }

        assertThat(messages(engine.last().request()))
                .containsExactly(
                        ChatMessage.user("I am Ann"),
                        ChatMessage.assistant("Hello Ann"),
                        ChatMessage.user("Who am I?"));
    }

    @Test
    void readsAnEntityWithTheSchemaInThePrompt() {
        FakeEngine engine = FakeEngine.answering("{\"name\":", "\"Rome\"}");

        assertThat(client(engine).prompt("the capital of Italy?").call().entity(City.class))
                .isEqualTo(new City("Rome"));
        assertThat(messages(engine.last().request()).getLast().content())
                .startsWith("the capital of Italy?")
                .contains("\"name\"");
    }

    @Test
    void bindsTheAnswerToTheSchemaAndTellsTheModel() {
        FakeEngine engine = FakeEngine.answering("{\"name\":", "\"Rome\"}");

        assertThat(client(engine)
                        .prompt("the capital of Italy?")
                        .call()
                        .entity(City.class, spec -> spec.useProviderStructuredOutput()))
                .isEqualTo(new City("Rome"));
        assertThat(engine.last().request().grammar()).isNotNull();
        assertThat(messages(engine.last().request()).getLast().content())
                .startsWith("the capital of Italy?\nYour response should be in JSON format.")
                .contains("\"name\"");
    }

    @Test
    void namesTheKeywordOfASchemaThatCannotBeEnforced() {
        FakeEngine engine = FakeEngine.answering("{}");

        assertThatThrownBy(() -> client(engine)
                        .prompt("hi")
                        .options(PrefetchChatOptions.builder().outputSchema("{\"type\":\"string\",\"pattern\":\"a+\"}"))
                        .call()
                        .content())
                .isInstanceOf(UnsupportedSchemaException.class)
                .hasMessageContaining("'pattern'");
        assertThat(engine.requests()).isEmpty();
    }

    @Test
    void schemaAndGrammarExcludeEachOther() {
        assertThatThrownBy(() -> client(FakeEngine.answering("{}"))
                        .prompt("hi")
                        .options(
                                PrefetchChatOptions.builder().outputSchema("{}").grammar("root ::= [a-z]"))
                        .call()
                        .content())
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("exclude each other");
    }

    /** What the model is asked for. */
    record City(String name) {}
}
