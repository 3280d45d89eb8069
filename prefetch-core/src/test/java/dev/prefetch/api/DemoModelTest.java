package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.testing.Conformance;
import dev.prefetch.testing.DemoModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;

/** The demo model against its recorded greedy answers: template, tokenizer, engine and sampling in one. */
class DemoModelTest {

    private static final double LOGIT_TOLERANCE = 1e-3;

    @Test
    void f32GivesEveryRecordedAnswerTokenByToken() throws Exception {
        try (PrefetchEngine engine = open("tiny-demo-chat-F32.gguf")) {
            for (JsonNode golden : goldenCases()) {
                String id = "case " + golden.get("id").asInt();
                Prompt.Chat prompt = chat(golden);
                assertThat(engine.encode(prompt)).as(id).isEqualTo(ints(golden.get("prompt_ids")));
                GenerationResult result = engine.generate(GenerationRequest.greedy(prompt));
                assertThat(result.tokens()).as(id).isEqualTo(ints(golden.get("continuation_ids")));
                assertThat(result.text())
                        .as(id)
                        .isEqualTo(golden.get("continuation").asString());
                assertThat(result.finishReason()).as(id).isEqualTo(FinishReason.STOP);
            }
        }
    }

    @Test
    void f32GivesTheRecordedLogitsOfTheFirstPosition() throws Exception {
        try (PrefetchEngine engine = open("tiny-demo-chat-F32.gguf")) {
            int vocabulary = engine.info().vocabularySize();
            List<JsonNode> recorded =
                    goldenCases().stream().filter(golden -> golden.has("top10")).toList();
            assertThat(recorded).isNotEmpty();
            for (JsonNode golden : recorded) {
                int[] prompt = ints(golden.get("prompt_ids")).stream()
                        .mapToInt(Integer::intValue)
                        .toArray();
                float[] logits = engine.logits(prompt, false);
                int last = (prompt.length - 1) * vocabulary;
                for (JsonNode top : golden.get("top10")) {
                    assertThat((double) logits[last + top.get("id").asInt()])
                            .as("case %d", golden.get("id").asInt())
                            .isCloseTo(top.get("logit").asDouble(), within(LOGIT_TOLERANCE));
                }
            }
        }
    }

    @Test
    void q8GivesAtLeast95PercentOfTheRecordedAnswers() throws Exception {
        List<JsonNode> cases = goldenCases();
        int same = 0;
        try (PrefetchEngine engine = PrefetchEngine.open(
                EngineOptions.of(DemoModel.file()).withThreads(2).withMaxConcurrency(1))) {
            for (JsonNode golden : cases) {
                String text =
                        engine.generate(GenerationRequest.greedy(chat(golden))).text();
                same += text.equals(golden.get("continuation").asString()) ? 1 : 0;
            }
        }
        assertThat(same).isGreaterThanOrEqualTo((int) Math.ceil(0.95 * cases.size()));
    }

    private static PrefetchEngine open(String file) {
        Path model = Conformance.folder().resolve("demo-model").resolve(file);
        return PrefetchEngine.open(EngineOptions.of(model).withThreads(2).withMaxConcurrency(1));
    }

    private static List<JsonNode> goldenCases() throws IOException {
        ObjectMapper mapper = new ObjectMapper();
        List<JsonNode> cases = new ArrayList<>();
        for (String line : Files.readAllLines(DemoModel.goldenCases())) {
            cases.add(mapper.readTree(line));
        }
        assertThat(cases).isNotEmpty();
        return cases;
    }

    private static List<Integer> ints(JsonNode array) {
        return StreamSupport.stream(array.spliterator(), false)
                .map(JsonNode::asInt)
                .toList();
    }

    private static Prompt.Chat chat(JsonNode golden) {
        List<ChatMessage> messages = new ArrayList<>();
        for (JsonNode message : golden.get("messages")) {
            messages.add(new ChatMessage(
                    message.get("role").asString(),
                    message.hasNonNull("content") ? message.get("content").asString() : "",
                    calls(message.path("tool_calls")),
                    message.hasNonNull("tool_call_id")
                            ? message.get("tool_call_id").asString()
                            : null,
                    message.hasNonNull("name") ? message.get("name").asString() : null));
        }
        List<ToolDefinition> tools = new ArrayList<>();
        for (JsonNode tool : golden.get("tools")) {
            JsonNode function = tool.has("function") ? tool.get("function") : tool;
            tools.add(new ToolDefinition(
                    function.get("name").asString(),
                    function.path("description").asString(""),
                    function.path("parameters").toString()));
        }
        return new Prompt.Chat(messages, tools, Map.of());
    }

    private static List<ChatMessage.ToolCall> calls(JsonNode calls) {
        List<ChatMessage.ToolCall> result = new ArrayList<>();
        for (JsonNode call : calls) {
            JsonNode function = call.has("function") ? call.get("function") : call;
            JsonNode arguments = function.get("arguments");
            result.add(new ChatMessage.ToolCall(
                    call.path("id").asString(""),
                    function.get("name").asString(),
                    arguments.isString() ? arguments.asString() : arguments.toString()));
        }
        return result;
    }
}
