package dev.prefetch.spring;

import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.chat.messages.Message;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.prompt.ChatOptions;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.model.tool.DefaultToolCallingChatOptions;
import org.springframework.ai.model.tool.StructuredOutputChatOptions;

/**
 * Another chat model that answers when this one cannot. It is asked with Spring AI's portable options alone: the model's
 * name, and what only {@link PrefetchChatOptions} has, are left out.
 *
 * @param model the other model, looked up when it is needed
 * @param on when it is asked
 */
public record ChatFallback(Supplier<ChatModel> model, Set<Reason> on) {

    /** Why a chat model cannot answer. */
    public enum Reason {
        /** Too many generations run and wait already. */
        SATURATED,
        /** The engine is being loaded, was closed or has failed, or what it runs on has. */
        DOWN
    }

    public ChatFallback {
        Objects.requireNonNull(model, "model");
        on = Set.copyOf(on);
    }

    /**
     * The prompt for the other model; null when that could not do what is asked, because an answer must follow a schema that
     * it cannot be told, or a grammar.
     */
    @Nullable
    Prompt translate(Prompt prompt, ChatModel other) {
        List<Message> messages = prompt.getInstructions();
        ChatOptions theirs = other.getOptions();
        if (!(prompt.getOptions() instanceof PrefetchChatOptions given)) {
            return theirs == null ? new Prompt(messages) : new Prompt(messages, theirs);
        }
        if (given.getGrammar() != null) {
            return null;
        }
        ChatOptions portable = DefaultToolCallingChatOptions.builder()
                .temperature(given.getTemperature())
                .topP(given.getTopP())
                .topK(given.getTopK())
                .maxTokens(given.getMaxTokens())
                .stopSequences(given.getStopSequences())
                .presencePenalty(given.getPresencePenalty())
                .frequencyPenalty(given.getFrequencyPenalty())
                .toolCallbacks(given.getToolCallbacks())
                .toolContext(given.getToolContext())
                .build();
        if (theirs == null) {
            return given.getOutputSchema() != null ? null : new Prompt(messages, portable);
        }
        ChatOptions.Builder<?> merged = theirs.mutate().combineWith(portable.mutate());
        if (given.getOutputSchema() != null) {
            if (!(merged instanceof StructuredOutputChatOptions.Builder<?> structured)) {
                return null;
            }
            structured.outputSchema(given.getOutputSchema());
        }
        return new Prompt(messages, merged.build());
    }
}
