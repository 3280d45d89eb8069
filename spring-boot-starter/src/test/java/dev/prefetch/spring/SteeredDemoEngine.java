package dev.prefetch.spring;

import dev.prefetch.api.ChatMessage;
import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.GenerationListener;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt.Chat;
import dev.prefetch.api.ToolDefinition;
import dev.prefetch.grammar.Grammar;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.springframework.ai.chat.model.ChatModel;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/**
 * The demo model for Spring AI's kits, which ask for three calls of a tool with four parameters and for an answer with all
 * three results: more than a model of three million parameters can do. Everything is the real engine's, only that a grammar
 * restricts what may be generated: for each city of the question a call that follows the tool's own schema, and then a text
 * in which what the tool said occurs.
 */
final class SteeredDemoEngine {

    private static final Path MODEL =
            Path.of("..", "sample-app", "src", "main", "resources", "demo-model", "tiny-demo-chat-Q8_0.gguf");

    private static final List<String> CITIES = List.of("San Francisco", "Tokyo", "Paris");

    private static final JsonMapper JSON = JsonMapper.builder().build();

    private SteeredDemoEngine() {}

    /** The demo model, as it is. */
    static PrefetchEngine open() {
        return PrefetchEngine.open(EngineOptions.of(MODEL));
    }

    /** A chat model on an engine whose answers are restricted as said above. */
    static ChatModel chatModel(PrefetchEngine engine) {
        PrefetchEngine steered = (PrefetchEngine) Proxy.newProxyInstance(
                SteeredDemoEngine.class.getClassLoader(),
                new Class<?>[] {PrefetchEngine.class},
                (proxy, method, arguments) -> {
                    if (arguments != null && arguments[0] instanceof GenerationRequest request) {
                        return engine.generate(
                                request.withGrammar(grammar((Chat) request.prompt())),
                                (GenerationListener) arguments[1]);
                    }
                    try {
                        return method.invoke(engine, arguments);
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                });
        return PrefetchChatModel.builder(steered)
                .options(PrefetchChatOptions.builder().temperature(0.0).build())
                .build();
    }

    private static Grammar grammar(Chat chat) {
        List<ChatMessage> messages = chat.messages();
        int end = messages.size();
        int firstResult = end;
        while (firstResult > 0 && messages.get(firstResult - 1).role().equals("tool")) {
            firstResult--;
        }
        return firstResult == end
                ? calls(messages.getLast().content(), chat.tools().getFirst())
                : answer(messages.subList(firstResult, end));
    }

    /** A call for every city, in the syntax of the model's template. */
    private static Grammar calls(String question, ToolDefinition tool) {
        List<Grammar> calls = new ArrayList<>();
        for (String city : CITIES) {
            if (question.contains(city)) {
                calls.add(Grammar.marker("<tool_call>")
                        .then(Grammar.text("\n{\"name\": \"" + tool.name() + "\", \"arguments\":"))
                        .then(Grammar.jsonSchema(schemaFor(tool, city)))
                        .then(Grammar.text("}\n"))
                        .then(Grammar.marker("</tool_call>")));
            }
        }
        return calls.stream().reduce(Grammar::then).orElseThrow();
    }

    private static String schemaFor(ToolDefinition tool, String city) {
        ObjectNode schema = (ObjectNode) JSON.readTree(tool.parametersSchema());
        ((ObjectNode) schema.get("properties"))
                .set("location", JSON.createObjectNode().put("const", city));
        return schema.toString();
    }

    /** Letters of the model's choice, and between them the temperatures. */
    private static Grammar answer(List<ChatMessage> results) {
        Grammar words = Grammar.gbnf("root ::= [a-zA-Z ,]{1,24}");
        Grammar answer = words;
        for (ChatMessage result : results) {
            JsonNode temperature = JSON.readTree(result.content()).get("temp");
            answer = answer.then(Grammar.text(temperature.toString())).then(words);
        }
        return answer;
    }
}
