package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.PrefetchEngine;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.chat.client.advisor.MessageChatMemoryAdvisor;
import org.springframework.ai.chat.memory.ChatMemory;
import org.springframework.ai.chat.memory.MessageWindowChatMemory;
import org.springframework.ai.document.Document;
import org.springframework.ai.rag.advisor.RetrievalAugmentationAdvisor;
import org.springframework.ai.rag.retrieval.search.VectorStoreDocumentRetriever;
import org.springframework.ai.tool.annotation.Tool;
import org.springframework.ai.vectorstore.SearchRequest;
import org.springframework.ai.vectorstore.SimpleVectorStore;

/**
 * What an application does with {@code ChatClient}, with real generation by the demo model and nothing scripted. Single tool
 * calls are in {@link DemoModelToolsTest}, entities in {@link DemoModelStructuredOutputTest}.
 */
@Timeout(120)
class DemoModelChatClientTest {

    private static final Path MODEL =
            Path.of("..", "sample-app", "src", "main", "resources", "demo-model", "tiny-demo-chat-Q8_0.gguf");

    private static PrefetchEngine engine;

    @BeforeAll
    static void open() {
        engine = PrefetchEngine.open(EngineOptions.of(MODEL));
    }

    @AfterAll
    static void close() {
        engine.close();
    }

    private static ChatClient.Builder client() {
        return ChatClient.builder(PrefetchChatModel.builder(engine)
                .options(PrefetchChatOptions.builder().temperature(0.0).build())
                .build());
    }

    /** A tool that remembers what it was asked. */
    static final class Weather {

        private final List<String> cities = new CopyOnWriteArrayList<>();

        @Tool(description = "Looks up the weather of a city")
        public String getWeather(String city) {
            cities.add(city);
            return "sunny, 21 degrees";
        }
    }

    @Test
    void callsAToolTwiceInOneTurn() {
        Weather weather = new Weather();

        String answer = client().build()
                .prompt("What is the weather in Paris and in Tokyo?")
                .tools(weather)
                .call()
                .content();

        assertThat(weather.cities).containsExactlyInAnyOrder("Paris", "Tokyo");
        assertThat(answer).contains("sunny, 21 degrees").doesNotContain("<tool_call>");
    }

    @Test
    void callsAToolTwiceInOneTurnOfAStream() {
        Weather weather = new Weather();

        List<String> parts = Objects.requireNonNull(
                client().build().prompt("What is the weather in Paris and in Tokyo?").tools(weather).stream()
                        .content()
                        .collectList()
                        .block(Duration.ofSeconds(60)));

        assertThat(weather.cities).containsExactlyInAnyOrder("Paris", "Tokyo");
        assertThat(String.join("", parts)).contains("sunny, 21 degrees").doesNotContain("<tool_call>");
        assertThat(parts).hasSizeGreaterThan(2);
    }

    @Test
    void remembersAConversation() {
        ChatClient client = client().defaultAdvisors(MessageChatMemoryAdvisor.builder(
                                MessageWindowChatMemory.builder().build())
                        .build())
                .build();

        say(client, "a", "Good morning, my name is Mateo.");
        say(client, "a", "The name of my dog is Edgar.");

        assertThat(say(client, "a", "Do you remember the name of my dog?")).contains("Edgar");
        assertThat(say(client, "b", "Do you remember the name of my dog?")).doesNotContain("Edgar");
    }

    private static String say(ChatClient client, String conversation, String text) {
        return Objects.requireNonNull(client.prompt(text)
                .advisors(advisors -> advisors.param(ChatMemory.CONVERSATION_ID, conversation))
                .call()
                .content());
    }

    private static SimpleVectorStore documents() {
        SimpleVectorStore store = SimpleVectorStore.builder(
                        PrefetchEmbeddingModel.builder(engine).build())
                .build();
        store.add(List.of(
                new Document("The returns period of the Krat shop is 63 days."),
                new Document("Morgan is the manager of Vathaplax."),
                new Document("The pharmacy is open from 8 to 16."),
                new Document("The deposit is 47 days."),
                new Document("The Drurit project ends on 2032-02-28."),
                new Document("Ingrid's favourite colour is crimson.")));
        return store;
    }

    @ParameterizedTest
    @CsvSource({
        "How many days is the returns period of the Krat shop?, 63 days",
        "Who is the manager of Vathaplax?, Morgan",
        "When is the pharmacy open?, from 8 to 16",
    })
    void answersFromDocumentsThatItsOwnVectorsFound(String question, String expected) {
        SimpleVectorStore store = documents();
        ChatClient client = client().defaultAdvisors(RetrievalAugmentationAdvisor.builder()
                        .documentRetriever(VectorStoreDocumentRetriever.builder()
                                .vectorStore(store)
                                .topK(2)
                                .build())
                        .build())
                .build();

        assertThat(client.prompt(question).call().content()).contains(expected);
        // Without the documents it does not know: the answer came from what was retrieved.
        assertThat(client().build().prompt(question).call().content()).doesNotContain(expected);
    }

    @Test
    void aTextIsNearestToItself() {
        SimpleVectorStore store = documents();

        assertThat(store.similaritySearch(SearchRequest.builder()
                        .query("The Drurit project ends on 2032-02-28.")
                        .topK(1)
                        .build()))
                .singleElement()
                .satisfies(document -> assertThat(document.getText()).startsWith("The Drurit project"));
    }

    @Test
    void vectorsHaveTheLengthOneAndTheDimensionsThatAreSaid() {
        PrefetchEmbeddingModel model = PrefetchEmbeddingModel.builder(engine).build();

        float[] vector = model.embed("What is GGUF?");

        assertThat(vector).hasSize(model.dimensions());
        double square = 0;
        for (float element : vector) {
            square += element * element;
        }
        assertThat(square).isCloseTo(1, org.assertj.core.data.Offset.offset(1e-5));
    }
}
