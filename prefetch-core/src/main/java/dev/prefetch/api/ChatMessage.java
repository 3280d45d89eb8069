package dev.prefetch.api;

import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * A message of a conversation, as chat templates see it.
 *
 * @param role {@code system}, {@code user}, {@code assistant} or {@code tool}
 * @param content the text, possibly empty; never parsed for special tokens
 * @param toolCalls calls the assistant made; empty for other roles
 * @param toolCallId for a {@code tool} message, the call it answers; otherwise null
 * @param name for a {@code tool} message, the tool's name; otherwise null
 * @param reasoning what the assistant thought before it wrote the content, for templates that show it again; null when
 *     unknown or none
 */
public record ChatMessage(
        String role,
        String content,
        List<ToolCall> toolCalls,
        @Nullable String toolCallId,
        @Nullable String name,
        @Nullable String reasoning) {

    public ChatMessage {
        Objects.requireNonNull(role, "role");
        Objects.requireNonNull(content, "content");
        toolCalls = List.copyOf(toolCalls);
    }

    /** A message without reasoning. */
    public ChatMessage(
            String role, String content, List<ToolCall> toolCalls, @Nullable String toolCallId, @Nullable String name) {
        this(role, content, toolCalls, toolCallId, name, null);
    }

    public static ChatMessage system(String content) {
        return new ChatMessage("system", content, List.of(), null, null);
    }

    public static ChatMessage user(String content) {
        return new ChatMessage("user", content, List.of(), null, null);
    }

    public static ChatMessage assistant(String content) {
        return new ChatMessage("assistant", content, List.of(), null, null);
    }

    /**
     * A call the assistant made.
     *
     * @param id identifier that the tool's answer refers to
     * @param name the tool
     * @param arguments arguments as a JSON object
     */
    public record ToolCall(String id, String name, String arguments) {

        public ToolCall {
            Objects.requireNonNull(id, "id");
            Objects.requireNonNull(name, "name");
            Objects.requireNonNull(arguments, "arguments");
        }
    }
}
