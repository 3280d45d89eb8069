package dev.prefetch.spring;

import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Reads JSON out of the middle of a text. */
final class JsonText {

    private static final JsonMapper MAPPER = JsonMapper.builder()
            .disable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .build();

    private JsonText() {}

    /**
     * @param node the value
     * @param end the index behind it
     */
    record Value(JsonNode node, int end) {}

    /** The value that stands at a place, or null when none does. */
    static @Nullable Value read(String text, int at) {
        try (JsonParser parser = MAPPER.createParser(text.substring(at))) {
            if (parser.nextToken() == null) {
                return null;
            }
            JsonNode node = parser.readValueAsTree();
            return new Value(node, at + (int) parser.currentLocation().getCharOffset());
        } catch (JacksonException e) {
            // What a model writes need not be JSON; the caller treats it as text.
            return null;
        }
    }

    /** The value that a whole text is, or null when it is none. */
    static @Nullable Value readAll(String text) {
        Value value = read(text, 0);
        return value != null && text.substring(value.end()).isBlank() ? value : null;
    }

    static ObjectNode object() {
        return JsonNodeFactory.instance.objectNode();
    }

    static JsonNode string(String text) {
        return JsonNodeFactory.instance.stringNode(text);
    }
}
