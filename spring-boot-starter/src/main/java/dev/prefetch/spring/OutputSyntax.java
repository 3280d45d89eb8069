package dev.prefetch.spring;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * How a model writes what is not plain text: its tool calls and its reasoning. Chosen from its chat template, which has
 * to write the same things when it shows an earlier turn again.
 *
 * @param tools how calls are written; null when the template shows no syntax that is known here
 * @param thinking the tags around reasoning; null when the template knows none
 * @param singleCalls whether the template takes no message with more than one call
 * @param harmony whether the answer consists of messages with headers, which {@link HarmonyFilter} rewrites first
 */
record OutputSyntax(@Nullable ToolSyntax tools, @Nullable ThinkingTags thinking, boolean singleCalls, boolean harmony) {

    OutputSyntax(@Nullable ToolSyntax tools, @Nullable ThinkingTags thinking, boolean singleCalls) {
        this(tools, thinking, singleCalls, false);
    }

    /** Plain text. */
    static final OutputSyntax PLAIN = new OutputSyntax(null, null, false);

    private static final List<ThinkingTags> TAGS =
            List.of(new ThinkingTags("<think>", "</think>"), new ThinkingTags("[THINK]", "[/THINK]"));

    /**
     * The tags around reasoning.
     *
     * @param open in front of it
     * @param close behind it
     */
    record ThinkingTags(String open, String close) {}

    /** The syntax of a chat template. */
    static OutputSyntax of(@Nullable String template) {
        if (template == null) {
            return PLAIN;
        }
        if (template.contains("<|channel|>") && template.contains("<|message|>")) {
            return new OutputSyntax(ToolSyntax.HERMES, TAGS.getFirst(), true, true);
        }
        return new OutputSyntax(
                tools(template), thinking(template), template.contains("only supports single tool-calls"));
    }

    private static @Nullable ToolSyntax tools(String template) {
        if (template.contains("<function=")) {
            // Without parameter tags it is another syntax under the same tag.
            return template.contains("<parameter=") ? ToolSyntax.TAGGED : null;
        } else if (template.contains("[TOOL_CALLS]")) {
            return ToolSyntax.MISTRAL;
        } else if (template.contains("<｜tool▁call▁begin｜>")) {
            return template.contains("```json") ? ToolSyntax.DEEPSEEK : null;
        } else if (template.contains("<|tool_call|> followed by a JSON list")) {
            return ToolSyntax.GRANITE;
        } else if (template.contains("<tool_call>")) {
            return template.contains("<arg_key>") ? null : ToolSyntax.HERMES;
        } else if (template.contains("<|start_header_id|>ipython") && template.contains("\"parameters\": ")) {
            return ToolSyntax.LLAMA;
        }
        return null;
    }

    private static @Nullable ThinkingTags thinking(String template) {
        return TAGS.stream()
                .filter(tags -> template.contains(tags.close()))
                .findFirst()
                .orElse(null);
    }
}
