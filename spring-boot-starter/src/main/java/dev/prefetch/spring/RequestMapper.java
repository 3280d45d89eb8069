package dev.prefetch.spring;

import dev.prefetch.api.ChatMessage;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.api.ToolDefinition;
import dev.prefetch.grammar.Grammar;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.spring.ToolSyntax.OfferedTools;
import dev.prefetch.template.TemplateException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.messages.Message;
import org.springframework.ai.chat.messages.SystemMessage;
import org.springframework.ai.chat.messages.ToolResponseMessage;
import org.springframework.ai.chat.messages.UserMessage;
import org.springframework.ai.content.MediaContent;
import org.springframework.ai.tool.ToolCallback;
import tools.jackson.databind.JsonNode;

/** Turns Spring AI's messages and options into the engine's request, and refuses what the engine cannot do. */
final class RequestMapper {

    private static final int PENALTY_WINDOW = SamplingOptions.GREEDY.penaltyWindow();

    private static final String SCHEMA_INSTRUCTION = """
            Your response should be in JSON format.
            Do not include any explanations, only provide a RFC8259 compliant JSON response following this format without deviation.
            Do not include markdown code blocks in your response.
            Remove the ```json markdown from the output.
            Here is the JSON Schema instance your output must adhere to:
            ```%s```
            """;

    private final PrefetchEngine engine;
    private final OutputSyntax syntax;
    private final OutputGrammars grammars;

    RequestMapper(PrefetchEngine engine, OutputSyntax syntax) {
        this.engine = engine;
        this.syntax = syntax;
        this.grammars = new OutputGrammars(syntax);
    }

    /**
     * A request, and what is needed to read its answer.
     *
     * @param generation the engine's request
     * @param tools the offered tools
     * @param insideThinking whether the prompt ends with the tag that opens reasoning
     * @param keepThinking whether reasoning stays part of the content
     * @param callIds gives identifiers to the calls of the answer
     */
    record Mapped(
            GenerationRequest generation,
            OfferedTools tools,
            boolean insideThinking,
            boolean keepThinking,
            ToolCallIds callIds) {}

    /**
     * @param options complete options: the model's defaults are already in them
     * @throws IllegalArgumentException for media, an unknown kind of message, another model than the loaded one, a tool
     *     whose schema is not JSON, an option out of its range, or an output schema or grammar that cannot be enforced
     */
    Mapped map(List<Message> instructions, PrefetchChatOptions options) {
        requireLoadedModel(options.getModel());
        List<ToolDefinition> tools = tools(options.getToolCallbacks());
        Map<String, Object> variables = templateVariables(options);
        boolean insideThinking = opensThinking(variables);
        List<ChatMessage> messages = messages(instructions);
        String schema = options.getOutputSchema();
        Grammar grammar = grammars.of(schema, options.getGrammar(), tools, insideThinking);
        GenerationRequest generation = new GenerationRequest(
                new Prompt.Chat(schema == null ? messages : tellSchema(messages, schema), tools, variables),
                sampling(options),
                maxTokens(options.getMaxTokens()),
                orElse(options.getStopSequences(), List.of()));
        return new Mapped(
                generation.withGrammar(grammar).withTimeout(options.getTimeout()),
                offered(tools),
                insideThinking,
                Boolean.TRUE.equals(options.getThinkingInContent()),
                ToolCallIds.of(instructions));
    }

    /**
     * Puts the schema behind the last question: the grammar only takes away what is wrong, and a model that does not know
     * what is wanted fills the form with the wrong things. The words are those of Spring AI's own converter.
     */
    private static List<ChatMessage> tellSchema(List<ChatMessage> messages, String schema) {
        List<ChatMessage> told = new ArrayList<>(messages);
        for (int i = told.size() - 1; i >= 0; i--) {
            if (told.get(i).role().equals("user")) {
                told.set(i, ChatMessage.user(told.get(i).content() + "\n" + SCHEMA_INSTRUCTION.formatted(schema)));
                return told;
            }
        }
        told.add(0, ChatMessage.system(SCHEMA_INSTRUCTION.formatted(schema)));
        return told;
    }

    private static Map<String, Object> templateVariables(PrefetchChatOptions options) {
        Map<String, Object> variables = new HashMap<>();
        Boolean thinking = options.getEnableThinking();
        if (thinking != null) {
            variables.put("enable_thinking", thinking);
            variables.put("thinking", thinking);
        }
        variables.putAll(orElse(options.getTemplateVariables(), Map.of()));
        return variables;
    }

    private static OfferedTools offered(List<ToolDefinition> tools) {
        Map<String, JsonNode> parameters = new HashMap<>();
        for (ToolDefinition tool : tools) {
            JsonText.Value schema = JsonText.readAll(tool.parametersSchema());
            if (schema == null && !tool.parametersSchema().isBlank()) {
                throw new IllegalArgumentException("the parameters schema of tool " + tool.name() + " is not JSON");
            }
            parameters.put(tool.name(), schema == null ? JsonText.object() : schema.node());
        }
        return new OfferedTools(parameters);
    }

    /** Some templates open the reasoning themselves, so that the answer begins inside it. */
    private boolean opensThinking(Map<String, Object> variables) {
        OutputSyntax.ThinkingTags tags = syntax.thinking();
        if (tags == null) {
            return false;
        }
        try {
            return engine.render(new Prompt.Chat(List.of(ChatMessage.user("x")), List.of(), variables))
                    .stripTrailing()
                    .endsWith(tags.open());
        } catch (TemplateException e) {
            // A template that refuses the shortest conversation says nothing about this; the real one is rendered next.
            return false;
        }
    }

    private List<ChatMessage> messages(List<Message> instructions) {
        List<ChatMessage> messages = new ArrayList<>();
        for (int i = 0; i < instructions.size(); i++) {
            Message message = instructions.get(i);
            if (syntax.singleCalls()
                    && message instanceof AssistantMessage assistant
                    && assistant.getToolCalls().size() > 1
                    && i + 1 < instructions.size()
                    && instructions.get(i + 1) instanceof ToolResponseMessage responses) {
                messages.addAll(oneByOne(assistant, responses));
                i++;
            } else {
                messages.addAll(toMessages(message));
            }
        }
        return messages;
    }

    /** Parallel calls as if they had been made one after the other. */
    private static List<ChatMessage> oneByOne(AssistantMessage assistant, ToolResponseMessage responses) {
        List<ChatMessage> messages = new ArrayList<>();
        String content = text(assistant);
        for (AssistantMessage.ToolCall call : assistant.getToolCalls()) {
            messages.add(assistant(assistant, content, List.of(call)));
            responses.getResponses().stream()
                    .filter(response -> response.id().equals(call.id()))
                    .map(RequestMapper::toolResult)
                    .forEach(messages::add);
            content = "";
        }
        return messages;
    }

    /** One engine serves one model, so a request for another one must not be answered by it. */
    private void requireLoadedModel(@Nullable String model) {
        if (model == null || model.equals(engine.info().modelName())) {
            return;
        }
        if (!model.equals(String.valueOf(engine.info().modelFile().getFileName()))) {
            throw new IllegalArgumentException("the option model asks for '" + model + "', but the loaded model is '"
                    + engine.info().modelName() + "' (" + engine.info().modelFile()
                    + "): leave the option out, or load the other"
                    + " model in a second engine");
        }
    }

    private static List<ChatMessage> toMessages(Message message) {
        return switch (message) {
            case SystemMessage system -> List.of(ChatMessage.system(text(system)));
            case UserMessage user -> {
                refuseMedia(user);
                yield List.of(ChatMessage.user(text(user)));
            }
            case AssistantMessage assistant -> {
                refuseMedia(assistant);
                yield List.of(assistant(assistant, text(assistant), assistant.getToolCalls()));
            }
            case ToolResponseMessage tools ->
                tools.getResponses().stream().map(RequestMapper::toolResult).toList();
            default ->
                throw new IllegalArgumentException(
                        "messages of " + message.getClass().getName() + " are not supported");
        };
    }

    private static ChatMessage assistant(
            AssistantMessage message, String content, List<AssistantMessage.ToolCall> toolCalls) {
        List<ChatMessage.ToolCall> calls = toolCalls.stream()
                .map(call -> new ChatMessage.ToolCall(call.id(), call.name(), call.arguments()))
                .toList();
        Object thinking = message.getMetadata().get(PrefetchChatModel.THINKING);
        return new ChatMessage(
                "assistant",
                content,
                calls,
                null,
                null,
                thinking instanceof String reasoning && !reasoning.isEmpty() ? reasoning : null);
    }

    private static ChatMessage toolResult(ToolResponseMessage.ToolResponse response) {
        return new ChatMessage("tool", response.responseData(), List.of(), response.id(), response.name());
    }

    private static String text(Message message) {
        return orElse(message.getText(), "");
    }

    private static void refuseMedia(MediaContent content) {
        if (!content.getMedia().isEmpty()) {
            throw new IllegalArgumentException("the message has "
                    + content.getMedia().size() + " media part(s), but the engine reads text only: leave the media"
                    + " out, or put its content into the text");
        }
    }

    private static List<ToolDefinition> tools(@Nullable List<ToolCallback> callbacks) {
        return orElse(callbacks, List.<ToolCallback>of()).stream()
                .map(ToolCallback::getToolDefinition)
                .map(tool -> new ToolDefinition(tool.name(), tool.description(), tool.inputSchema()))
                .toList();
    }

    private static SamplingOptions sampling(PrefetchChatOptions options) {
        Long seed = options.getSeed();
        return new SamplingOptions(
                number(options.getTemperature(), PrefetchChatOptions.DEFAULT_TEMPERATURE),
                orElse(options.getTopK(), PrefetchChatOptions.DEFAULT_TOP_K),
                number(options.getTopP(), PrefetchChatOptions.DEFAULT_TOP_P),
                number(options.getMinP(), PrefetchChatOptions.DEFAULT_MIN_P),
                number(options.getRepetitionPenalty(), 1),
                number(options.getPresencePenalty(), 0),
                number(options.getFrequencyPenalty(), 0),
                PENALTY_WINDOW,
                seed != null ? seed : ThreadLocalRandom.current().nextLong());
    }

    /** The engine reads 0 as "no limit", which a caller who says 0 does not mean. */
    private static int maxTokens(@Nullable Integer value) {
        if (value == null) {
            return 0;
        }
        if (value < 1) {
            throw new IllegalArgumentException("maxTokens must be at least 1 but was " + value);
        }
        return value;
    }

    private static float number(@Nullable Double value, double fallback) {
        return (float) (value != null ? value : fallback);
    }

    private static <T> T orElse(@Nullable T value, T fallback) {
        return value != null ? value : fallback;
    }
}
