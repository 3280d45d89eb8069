package dev.prefetch.spring;

import dev.prefetch.api.ChatMessage;
import dev.prefetch.api.EngineInfo;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.Prompt;
import dev.prefetch.api.ToolDefinition;
import dev.prefetch.inference.SamplingOptions;
import java.util.ArrayList;
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

/** Turns Spring AI's messages and options into the engine's request, and refuses what the engine cannot do. */
final class RequestMapper {

    private static final int PENALTY_WINDOW = SamplingOptions.GREEDY.penaltyWindow();

    private final EngineInfo engine;

    RequestMapper(EngineInfo engine) {
        this.engine = engine;
    }

    /**
     * @param options complete options: the model's defaults are already in them
     * @throws IllegalArgumentException for media, an unknown kind of message, another model than the loaded one, or an
     *     option out of its range
     * @throws UnsupportedOperationException for an output schema
     */
    GenerationRequest map(List<Message> instructions, PrefetchChatOptions options) {
        requireLoadedModel(options.getModel());
        if (options.getOutputSchema() != null) {
            throw new UnsupportedOperationException("native structured output (the option outputSchema) is not"
                    + " supported by this release: leave out useProviderStructuredOutput(), so that entity(...) puts"
                    + " the schema into the prompt");
        }
        List<ChatMessage> messages = new ArrayList<>();
        for (Message instruction : instructions) {
            messages.addAll(toMessages(instruction));
        }
        Map<String, Object> variables = options.getTemplateVariables();
        return new GenerationRequest(
                new Prompt.Chat(messages, tools(options.getToolCallbacks()), variables == null ? Map.of() : variables),
                sampling(options),
                maxTokens(options.getMaxTokens()),
                orElse(options.getStopSequences(), List.of()));
    }

    /** One engine serves one model, so a request for another one must not be answered by it. */
    private void requireLoadedModel(@Nullable String model) {
        if (model == null || model.equals(engine.modelName())) {
            return;
        }
        if (!model.equals(String.valueOf(engine.modelFile().getFileName()))) {
            throw new IllegalArgumentException("the option model asks for '" + model + "', but the loaded model is '"
                    + engine.modelName() + "' (" + engine.modelFile() + "): leave the option out, or load the other"
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
                List<ChatMessage.ToolCall> calls = assistant.getToolCalls().stream()
                        .map(call -> new ChatMessage.ToolCall(call.id(), call.name(), call.arguments()))
                        .toList();
                yield List.of(new ChatMessage("assistant", text(assistant), calls, null, null));
            }
            case ToolResponseMessage tools ->
                tools.getResponses().stream()
                        .map(response -> new ChatMessage(
                                "tool", response.responseData(), List.of(), response.id(), response.name()))
                        .toList();
            default ->
                throw new IllegalArgumentException(
                        "messages of " + message.getClass().getName() + " are not supported");
        };
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
