package dev.prefetch.api;

import java.util.List;
import java.util.Map;
import java.util.Objects;

/** What a model is asked to continue. */
public sealed interface Prompt {

    /**
     * A conversation, rendered with the model's own chat template.
     *
     * @param messages at least one
     * @param tools tools the model may call
     * @param templateVariables extra variables for the template, for example {@code enable_thinking}: strings, booleans,
     *     numbers, lists and maps of those
     */
    record Chat(List<ChatMessage> messages, List<ToolDefinition> tools, Map<String, Object> templateVariables)
            implements Prompt {

        public Chat {
            messages = List.copyOf(messages);
            tools = List.copyOf(tools);
            templateVariables = Map.copyOf(templateVariables);
            if (messages.isEmpty()) {
                throw new IllegalArgumentException("a chat prompt needs at least one message");
            }
        }

        public Chat(List<ChatMessage> messages) {
            this(messages, List.of(), Map.of());
        }
    }

    /**
     * Text to continue as it stands, without a template; special tokens have no meaning in it.
     */
    record Text(String text) implements Prompt {

        public Text {
            Objects.requireNonNull(text, "text");
        }
    }

    /**
     * Token ids to continue.
     */
    record Tokens(List<Integer> tokens) implements Prompt {

        public Tokens {
            tokens = List.copyOf(tokens);
            if (tokens.isEmpty()) {
                throw new IllegalArgumentException("a token prompt needs at least one token");
            }
        }
    }
}
