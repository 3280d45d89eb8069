package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.PrefetchEngine;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.chat.client.advisor.MessageChatMemoryAdvisor;
import org.springframework.ai.chat.memory.ChatMemory;
import org.springframework.ai.chat.memory.MessageWindowChatMemory;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.model.Generation;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.converter.BeanOutputConverter;
import org.springframework.ai.tool.annotation.Tool;
import org.springframework.core.ParameterizedTypeReference;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Structured output with real generation: the demo model through ChatClient. */
@Timeout(120)
class DemoModelStructuredOutputTest {

    private static final Path MODEL =
            Path.of("..", "sample-app", "src", "main", "resources", "demo-model", "tiny-demo-chat-Q8_0.gguf");

    private static final String FILM =
            "Please extract the film from the following text. The movie The Silent Canyon was released in 1975.";

    private static PrefetchEngine engine;

    @BeforeAll
    static void open() {
        engine = PrefetchEngine.open(EngineOptions.of(MODEL));
    }

    @AfterAll
    static void close() {
        engine.close();
    }

    private static PrefetchChatModel model(double temperature) {
        return PrefetchChatModel.builder(engine)
                .options(PrefetchChatOptions.builder()
                        .temperature(temperature)
                        .topK(0)
                        .topP(1.0)
                        .minP(0.0)
                        .seed(42L)
                        .maxTokens(400)
                        .build())
                .build();
    }

    /** What is asked for. */
    record Film(String title, int year) {}

    /** More than the model was ever trained on. */
    record Library(List<Film> films, List<Integer> counts, Kind kind, Boolean open) {}

    enum Kind {
        PUBLIC,
        PRIVATE
    }

    @Test
    void readsAnEntityThroughThePrompt() {
        assertThat(ChatClient.create(model(0)).prompt(FILM).call().entity(Film.class))
                .isEqualTo(new Film("The Silent Canyon", 1975));
    }

    @Test
    void readsAnEntityThroughTheGrammar() {
        assertThat(ChatClient.create(model(0))
                        .prompt(FILM)
                        .call()
                        .entity(Film.class, spec -> spec.useProviderStructuredOutput()))
                .isEqualTo(new Film("The Silent Canyon", 1975));
    }

    /** At this temperature the model writes anything: it is the grammar that makes it an entity, where the context does not end before. */
    @Test
    void whateverTheModelWantsToSayBecomesAnEntity() {
        BeanOutputConverter<Library> converter = new BeanOutputConverter<>(Library.class);
        int ended = 0;
        for (long seed = 1; seed <= 12; seed++) {
            ChatResponse response = ChatClient.create(model(2))
                    .prompt("Tell me a story")
                    .options(PrefetchChatOptions.builder()
                            .seed(seed)
                            .maxTokens(2000)
                            .outputSchema(converter.getJsonSchema()))
                    .call()
                    .chatResponse();
            Generation generation =
                    Objects.requireNonNull(Objects.requireNonNull(response).getResult());
            if ("LENGTH".equalsIgnoreCase(generation.getMetadata().getFinishReason())) {
                continue;
            }
            String text = Objects.requireNonNull(generation.getOutput().getText());
            assertThat(Objects.requireNonNull(converter.convert(text)).kind()).isNotNull();
            ended++;
        }
        // Nine of twelve answers end, by chance.
        assertThat(ended).isGreaterThanOrEqualTo(4);
    }

    @Test
    void readsAListThroughTheGrammar() {
        List<Film> films = ChatClient.create(model(0))
                .prompt(FILM)
                .call()
                .entity(new ParameterizedTypeReference<List<Film>>() {}, spec -> spec.useProviderStructuredOutput());

        assertThat(films).isNotNull();
    }

    @Test
    void anAnswerFollowsAGbnfGrammar() {
        assertThat(ChatClient.create(model(1.5))
                        .prompt("Tell me a story")
                        .options(PrefetchChatOptions.builder().grammar("root ::= \"yes\" | \"no\""))
                        .call()
                        .content())
                .isIn("yes", "no");
    }

    @Test
    void streamsAnAnswerThatFollowsASchema() {
        PrefetchChatOptions options = PrefetchChatOptions.builder()
                .outputSchema(
                        "{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\",\"maximum\":9,\"minimum\":3}},"
                                + "\"required\":[\"n\"]}")
                .build();
        String text = String.join(
                "",
                Objects.requireNonNull(model(1.5).stream(new Prompt("Tell me a story", options))
                        .map(response -> String.valueOf(Objects.requireNonNull(response.getResult())
                                .getOutput()
                                .getText()))
                        .collectList()
                        .block(Duration.ofSeconds(60))));

        JsonNode json = JsonMapper.shared().readTree(text);
        assertThat(json.get("n").asInt()).isBetween(3, 9);
    }

    /** A tool. */
    static final class Shop {

        @Tool(description = "Find an order")
        public String trackOrder(String number) {
            return "Order " + number + " is pending";
        }
    }

    /** What is asked for after a tool call. */
    record Order(String number, String state) {}

    /** Whether this small model calls the tool when it is also asked for JSON is its own affair: the end is an entity. */
    @Test
    void aSchemaHoldsThroughTheRoundsOfTools() {
        assertThat(ChatClient.create(model(0))
                        .prompt("Any news on order 73459?")
                        .tools(new Shop())
                        .call()
                        .entity(Order.class, spec -> spec.useProviderStructuredOutput()))
                .isNotNull();
    }

    @Test
    void remembersThroughTheMemoryAdvisor() {
        ChatClient client = ChatClient.builder(model(0))
                .defaultAdvisors(MessageChatMemoryAdvisor.builder(
                                MessageWindowChatMemory.builder().build())
                        .build())
                .defaultSystem("You are a kind assistant for our demo shop.")
                .build();
        String answer = "";
        for (String text : List.of("I have lived in Marseille for years.", "Can you tell me where I live?")) {
            answer = client.prompt(text)
                    .advisors(advisors -> advisors.param(ChatMemory.CONVERSATION_ID, "1"))
                    .call()
                    .content();
        }

        assertThat(answer).isEqualTo("You live in Marseille.");
    }
}
