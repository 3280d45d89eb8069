package dev.prefetch.sample.web;

import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.springframework.ai.chat.model.ToolContext;
import org.springframework.ai.tool.ToolCallback;
import org.springframework.ai.tool.definition.ToolDefinition;

/** A tool whose calls are noted, so that the page can show them. */
final class NotingTool implements ToolCallback {

    private final ToolCallback tool;
    private final Consumer<ChatEvent.ToolUsed> notes;

    NotingTool(ToolCallback tool, Consumer<ChatEvent.ToolUsed> notes) {
        this.tool = tool;
        this.notes = notes;
    }

    @Override
    public ToolDefinition getToolDefinition() {
        return tool.getToolDefinition();
    }

    @Override
    public String call(String arguments) {
        return note(arguments, tool.call(arguments));
    }

    @Override
    public String call(String arguments, @Nullable ToolContext context) {
        return note(arguments, tool.call(arguments, context));
    }

    private String note(String arguments, String result) {
        notes.accept(new ChatEvent.ToolUsed(getToolDefinition().name(), arguments, result));
        return result;
    }
}
