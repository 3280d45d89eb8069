package dev.prefetch.sample.web;

import dev.prefetch.spring.PrefetchChatOptions;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.http.HttpStatus;
import org.springframework.http.ProblemDetail;
import org.springframework.web.bind.annotation.ExceptionHandler;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Fills a form from a text: the answer can only be a value of the form's schema. */
@RestController
class FormController {

    private static final int MOST_FIELDS = 12;
    private static final int MOST_TOKENS = 400;
    private static final Pattern NAME = Pattern.compile("[A-Za-z][A-Za-z0-9_]{0,29}");
    private static final List<String> TYPES = List.of("string", "integer", "number", "boolean");

    private final ChatClient chat;
    private final ChatProperties properties;
    private final JsonMapper json = JsonMapper.builder().build();

    FormController(ChatClient.Builder builder, ChatProperties properties) {
        this.chat = builder.build();
        this.properties = properties;
    }

    /**
     * @param name name of the field
     * @param type a type of JSON schema: {@code string}, {@code integer}, {@code number} or {@code boolean}
     */
    record Field(@Nullable String name, @Nullable String type) {}

    record Request(@Nullable String text, @Nullable List<Field> fields) {}

    /**
     * @param schema what the answer had to follow
     * @param values the form's values
     */
    record Filled(JsonNode schema, JsonNode values) {}

    @PostMapping("/api/form")
    Filled fill(@RequestBody Request request) {
        String text = request.text() == null ? "" : request.text().strip();
        if (text.isEmpty() || text.length() > properties.maxMessageCharacters()) {
            throw new IllegalArgumentException("The text is empty or too long.");
        }
        String schema = json.writeValueAsString(schema(request.fields()));
        String answer = chat.prompt()
                .user("Please extract the data from the following text. " + text)
                .options(PrefetchChatOptions.builder().outputSchema(schema).maxTokens(MOST_TOKENS))
                .call()
                .content();
        try {
            return new Filled(json.readTree(schema), json.readTree(answer == null ? "" : answer));
        } catch (JacksonException e) {
            throw new IllegalArgumentException("The answer was cut off after " + MOST_TOKENS + " tokens.", e);
        }
    }

    private static Map<String, Object> schema(@Nullable List<Field> fields) {
        if (fields == null || fields.isEmpty() || fields.size() > MOST_FIELDS) {
            throw new IllegalArgumentException("A form has 1 to " + MOST_FIELDS + " fields.");
        }
        Map<String, Object> members = new LinkedHashMap<>();
        for (Field field : fields) {
            if (field.name() == null || !NAME.matcher(field.name()).matches()) {
                throw new IllegalArgumentException(
                        "'" + field.name() + "' cannot be the name of a field: use letters, digits and underscores.");
            }
            if (field.type() == null || !TYPES.contains(field.type())) {
                throw new IllegalArgumentException("'" + field.type() + "' is none of the types " + TYPES + ".");
            }
            if (members.put(field.name(), Map.of("type", field.type())) != null) {
                throw new IllegalArgumentException("There are two fields '" + field.name() + "'.");
            }
        }
        Map<String, Object> schema = new LinkedHashMap<>();
        schema.put("$schema", "https://json-schema.org/draft/2020-12/schema");
        schema.put("type", "object");
        schema.put("properties", members);
        schema.put("required", List.copyOf(members.keySet()));
        schema.put("additionalProperties", false);
        return schema;
    }

    @ExceptionHandler
    ProblemDetail refuse(IllegalArgumentException refusal) {
        return ProblemDetail.forStatusAndDetail(HttpStatus.BAD_REQUEST, String.valueOf(refusal.getMessage()));
    }
}
