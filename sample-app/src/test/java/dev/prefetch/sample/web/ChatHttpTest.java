package dev.prefetch.sample.web;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.ChatMessage;
import dev.prefetch.api.FinishReason;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.GenerationResult;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.sample.GoldenCases;
import dev.prefetch.sample.GoldenCases.GoldenCase;
import dev.prefetch.sample.ObservedEngine;
import dev.prefetch.sample.SampleApplication;
import dev.prefetch.sample.web.ChatHttpClient.Answer;
import dev.prefetch.sample.web.ChatHttpClient.AnswerStream;
import java.net.http.HttpResponse;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.springframework.beans.factory.annotation.Autowired;
import org.springframework.boot.test.context.SpringBootTest;
import org.springframework.boot.test.context.SpringBootTest.WebEnvironment;
import org.springframework.boot.test.web.server.LocalServerPort;
import org.springframework.context.annotation.Import;
import tools.jackson.databind.JsonNode;

@SpringBootTest(
        classes = SampleApplication.class,
        webEnvironment = WebEnvironment.RANDOM_PORT,
        properties = "sample.chat.heartbeat=20ms")
@Import(EngineObservation.class)
class ChatHttpTest {

    private static final String STORY = "Could you write me a story about a parrot called Lucia.";
    private static final int TEXTS_BEFORE_HOLD = 5;

    private final ChatHttpClient client;
    private final ObservedEngine engine;
    private String conversation = "";

    ChatHttpTest(@LocalServerPort int port, @Autowired PrefetchEngine engine) {
        this.client = new ChatHttpClient(port);
        this.engine = (ObservedEngine) engine;
    }

    @BeforeEach
    void startConversation() throws Exception {
        engine.reset();
        conversation = client.startConversation();
    }

    @AfterEach
    void close() {
        client.close();
    }

    @Test
    void streamsTheRecordedAnswerWithItsFigures() throws Exception {
        GoldenCase golden = GoldenCases.surestQuestion();

        Answer answer = client.ask(conversation, golden.question());

        assertThat(answer.text()).isEqualTo(golden.answer());
        assertThat(answer.deltas()).hasSizeGreaterThan(3);
        assertThat(answer.lastName()).isEqualTo("done");
        assertThat(answer.last().get("finishReason").asString()).isEqualTo("stop");
        assertThat(answer.last().get("promptTokens").asInt())
                .isEqualTo(golden.promptIds().size());
        assertThat(answer.last().get("completionTokens").asInt())
                .isEqualTo(golden.answerIds().size());
        assertThat(answer.last().get("tokensPerSecond").asDouble()).isPositive();
        assertThat(answer.last().get("timeToFirstTokenMillis").asDouble())
                .isPositive()
                .isLessThanOrEqualTo(answer.last().get("totalMillis").asDouble());
    }

    @Test
    void showsTheModelWhatWasSaidBefore() throws Exception {
        Answer first = client.ask(conversation, "Good morning, my name is Mateo.");
        Answer second = client.ask(conversation, "What is my name?");

        assertThat(messages(engine.nextRequest())).containsExactly(ChatMessage.user("Good morning, my name is Mateo."));
        assertThat(messages(engine.nextRequest()))
                .containsExactly(
                        ChatMessage.user("Good morning, my name is Mateo."),
                        ChatMessage.assistant(first.text()),
                        ChatMessage.user("What is my name?"));
        assertThat(texts(client.messages(conversation)))
                .containsExactly("Good morning, my name is Mateo.", first.text(), "What is my name?", second.text());
    }

    @Test
    void keepsConversationsApart() throws Exception {
        client.ask(conversation, "Good morning, my name is Mateo.");
        client.ask(client.startConversation(), "What is my name?");

        engine.nextRequest();
        assertThat(messages(engine.nextRequest())).containsExactly(ChatMessage.user("What is my name?"));
    }

    @Test
    void stopsTheModelAndKeepsWhatWasShown() throws Exception {
        engine.holdNextAfter(TEXTS_BEFORE_HOLD);
        try (AnswerStream stream = client.open(conversation, STORY)) {
            stream.next("event:delta");

            HttpResponse<String> stopped = client.post("api/conversations/" + conversation + "/stop", null);

            assertThat(stopped.statusCode()).isEqualTo(204);
            assertCancelledAtOnce(engine.nextResult());
            Answer rest = stream.rest();
            assertThat(rest.lastName()).isEqualTo("done");
            assertThat(rest.last().get("finishReason").asString()).isEqualTo("cancelled");
        }
        List<String> remembered = texts(client.messages(conversation));
        assertThat(remembered).hasSize(2);
        assertThat(remembered.getLast()).isNotBlank();
        assertThat(client.ask(conversation, "What is GGUF?").lastName()).isEqualTo("done");
    }

    @Test
    void stopsTheModelWhenTheConnectionIsClosed() throws Exception {
        engine.holdNextAfter(TEXTS_BEFORE_HOLD);
        try (AnswerStream stream = client.open(conversation, STORY)) {
            stream.next("event:delta");
        }

        assertCancelledAtOnce(engine.nextResult());
    }

    @Test
    void provesThatTheConnectionLivesWhileThereIsNoText() throws Exception {
        engine.holdNextAfter(1);
        try (AnswerStream stream = client.open(conversation, STORY)) {
            stream.next("event:delta");
            stream.next(":");
            stream.next(":");
            client.post("api/conversations/" + conversation + "/stop", null);
        }
    }

    @Test
    void refusesASecondQuestionBeforeTheAnswer() throws Exception {
        engine.holdNextAfter(1);
        try (AnswerStream stream = client.open(conversation, STORY)) {
            stream.next("event:delta");

            HttpResponse<String> refused =
                    client.post("api/conversations/" + conversation + "/messages", Map.of("text", "What is GGUF?"));

            assertThat(refused.statusCode()).isEqualTo(409);
            assertThat(ChatHttpClient.json(refused).get("detail").asString()).contains("still being written");
            client.post("api/conversations/" + conversation + "/stop", null);
        }
    }

    @Test
    void saysWhyAMessageDoesNotFitAndForgetsIt() throws Exception {
        Answer refused = client.ask(conversation, "word ".repeat(5000));

        assertThat(refused.lastName()).isEqualTo("error");
        assertThat(refused.last().get("message").asString())
                .contains(String.valueOf(engine.info().contextLength()))
                .contains("context length");
        assertThat(client.messages(conversation)).isEmpty();
        assertThat(client.ask(conversation, "What is GGUF?").lastName()).isEqualTo("done");
    }

    @Test
    void refusesEmptyAndEndlessMessages() throws Exception {
        String path = "api/conversations/" + conversation + "/messages";

        assertThat(client.post(path, Map.of("text", "  ")).statusCode()).isEqualTo(400);
        assertThat(client.post(path, Map.of()).statusCode()).isEqualTo(400);
        HttpResponse<String> tooLong = client.post(path, Map.of("text", "x".repeat(100_001)));
        assertThat(tooLong.statusCode()).isEqualTo(400);
        assertThat(ChatHttpClient.json(tooLong).get("detail").asString())
                .contains("100001")
                .contains("100000");
    }

    @Test
    void forgetsAConversation() throws Exception {
        client.ask(conversation, "Good morning, my name is Mateo.");

        assertThat(client.delete("api/conversations/" + conversation).statusCode())
                .isEqualTo(204);

        assertThat(client.messages(conversation)).isEmpty();
    }

    @Test
    void saysWhatRuns() throws Exception {
        JsonNode model = client.get("api/model");

        assertThat(model.get("name").asString()).isEqualTo(engine.info().modelName());
        assertThat(model.get("quantization").asString()).isEqualTo("Q8_0");
        assertThat(model.get("backend").asString()).isEqualTo("cpu");
        assertThat(model.get("contextLength").asInt()).isEqualTo(engine.info().contextLength());
        assertThat(model.has("modelFile")).isFalse();
    }

    private static void assertCancelledAtOnce(GenerationResult result) {
        assertThat(result.finishReason()).isEqualTo(FinishReason.CANCELLED);
        // The whole story has more than 150 tokens; the engine had been held at the latest after these texts, each of
        // which may have taken several tokens.
        assertThat(result.tokens()).hasSizeBetween(1, 4 * TEXTS_BEFORE_HOLD);
    }

    private static List<ChatMessage> messages(GenerationRequest request) {
        return ((Prompt.Chat) request.prompt()).messages();
    }

    private static List<String> texts(JsonNode messages) {
        return messages.valueStream()
                .map(message -> message.get("text").asString())
                .toList();
    }
}
