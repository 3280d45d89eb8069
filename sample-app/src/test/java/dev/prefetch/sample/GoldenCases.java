package dev.prefetch.sample;

import dev.prefetch.api.ChatMessage;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.StreamSupport;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** The demo model's recorded answers: greedy, from its F32 weights. */
public final class GoldenCases {

    private GoldenCases() {}

    /**
     * @param margin smallest gap between the two best logits along the answer: the larger, the surer that the quantised
     *     model gives the same answer
     */
    public record GoldenCase(
            String category,
            List<ChatMessage> messages,
            boolean withTools,
            String prompt,
            List<Integer> promptIds,
            String answer,
            List<Integer> answerIds,
            double margin) {

        /** The only message, where the conversation is a single question. */
        public String question() {
            if (messages.size() != 1) {
                throw new IllegalStateException("not a single question: " + messages);
            }
            return messages.getFirst().content();
        }
    }

    public static List<GoldenCase> all() {
        try (InputStream lines = GoldenCases.class.getResourceAsStream("/demo-model/golden.jsonl")) {
            if (lines == null) {
                throw new IllegalStateException("golden.jsonl is missing");
            }
            List<GoldenCase> cases = new ArrayList<>();
            for (String line : new String(lines.readAllBytes(), StandardCharsets.UTF_8).split("\n")) {
                cases.add(parse(JsonMapper.shared().readTree(line)));
            }
            return cases;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The surest case that is one question of a user without tools. */
    public static GoldenCase surestQuestion() {
        return all().stream()
                .filter(golden -> golden.messages().size() == 1 && !golden.withTools())
                .filter(golden -> golden.messages().getFirst().role().equals("user"))
                .filter(golden -> golden.answerIds().size() >= 10)
                .max(Comparator.comparingDouble(GoldenCase::margin))
                .orElseThrow();
    }

    private static GoldenCase parse(JsonNode json) {
        return new GoldenCase(
                json.get("category").asString(),
                elements(json.get("messages")).stream()
                        .map(message -> new ChatMessage(
                                message.get("role").asString(),
                                message.path("content").asString(""),
                                List.of(),
                                null,
                                null))
                        .toList(),
                !json.get("tools").isEmpty(),
                json.get("prompt").asString(),
                integers(json.get("prompt_ids")),
                json.get("continuation").asString(),
                integers(json.get("continuation_ids")),
                json.get("min_margin").asDouble());
    }

    private static List<Integer> integers(JsonNode array) {
        return elements(array).stream().map(JsonNode::asInt).toList();
    }

    private static List<JsonNode> elements(JsonNode array) {
        return StreamSupport.stream(array.spliterator(), false).toList();
    }
}
