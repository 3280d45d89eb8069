package dev.prefetch.spring;

import dev.prefetch.api.ToolDefinition;
import dev.prefetch.grammar.Grammar;
import dev.prefetch.grammar.UnsupportedSchemaException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/**
 * The grammars of answers that have to follow one: reasoning first if the model reasons, then either tool calls in the
 * model's own syntax, where tools are offered, or the form that was asked for. Those used last are kept, because the engine
 * keeps what it works out per grammar. Thread-safe.
 */
final class OutputGrammars {

    private static final int KEPT = 32;

    private final OutputSyntax syntax;
    private final Map<Key, Grammar> grammars = new LinkedHashMap<>(16, 0.75f, true) {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<Key, Grammar> eldest) {
            return size() > KEPT;
        }
    };

    OutputGrammars(OutputSyntax syntax) {
        this.syntax = syntax;
    }

    private record Key(
            @Nullable String schema, @Nullable String gbnf, List<ToolDefinition> tools, boolean insideThinking) {}

    /**
     * The grammar of an answer, or null when it may be anything.
     *
     * @param schema JSON schema, or null
     * @param gbnf GBNF, or null
     * @param insideThinking whether the prompt has opened the reasoning
     * @throws UnsupportedSchemaException when the schema cannot be enforced; the message names the keyword
     * @throws IllegalArgumentException when both are given, or one is malformed
     */
    @Nullable
    Grammar of(@Nullable String schema, @Nullable String gbnf, List<ToolDefinition> tools, boolean insideThinking) {
        if (schema != null && gbnf != null) {
            throw new IllegalArgumentException("the options outputSchema and grammar exclude each other: set one");
        }
        if (schema == null && gbnf == null) {
            return null;
        }
        Key key = new Key(schema, gbnf, tools, insideThinking);
        synchronized (grammars) {
            Grammar known = grammars.get(key);
            if (known == null) {
                known = make(schema != null ? Grammar.jsonSchema(schema) : Grammar.gbnf(String.valueOf(gbnf)), key);
                grammars.put(key, known);
            }
            return known;
        }
    }

    private Grammar make(Grammar form, Key key) {
        if (syntax.harmony()) {
            return harmony(form, key.tools);
        }
        Grammar answer = form;
        if (syntax.tools() != null && !key.tools.isEmpty()) {
            answer = answer.or(calls(syntax.tools(), key.tools));
        }
        OutputSyntax.ThinkingTags tags = syntax.thinking();
        if (tags == null) {
            return answer;
        }
        Grammar rest = Grammar.until(tags.close()).then(lines());
        return key.insideThinking
                ? rest.then(answer)
                : Grammar.marker(tags.open()).then(rest).optional().then(answer);
    }

    /** Messages with headers: reasoning as often as the model likes, then a call or the form. */
    private static Grammar harmony(Grammar form, List<ToolDefinition> tools) {
        Grammar reasoning = header("analysis")
                .then(Grammar.until("<|end|>"))
                .then(Grammar.marker("<|start|>"))
                .then(Grammar.text("assistant"));
        Grammar answer = header("final").then(form);
        if (!tools.isEmpty()) {
            answer = answer.or(any(
                    tools,
                    tool -> Grammar.marker("<|channel|>")
                            .then(Grammar.text("commentary to=functions." + tool.name() + " "))
                            .then(Grammar.marker("<|constrain|>")
                                    .then(Grammar.text("json"))
                                    .optional())
                            .then(Grammar.marker("<|message|>"))
                            .then(arguments(tool))));
        }
        return reasoning.oneOrMore().optional().then(answer);
    }

    private static Grammar header(String channel) {
        return Grammar.marker("<|channel|>").then(Grammar.text(channel)).then(Grammar.marker("<|message|>"));
    }

    private static Grammar calls(ToolSyntax syntax, List<ToolDefinition> tools) {
        return switch (syntax) {
            case HERMES ->
                any(
                                tools,
                                tool -> Grammar.marker("<tool_call>")
                                        .then(lines())
                                        .then(call(tool, "arguments"))
                                        .then(lines())
                                        .then(Grammar.marker("</tool_call>"))
                                        .then(lines()))
                        .oneOrMore();
            case TAGGED -> any(tools, OutputGrammars::tagged).oneOrMore();
            case LLAMA ->
                Grammar.marker("<|python_tag|>").optional().then(any(tools, tool -> call(tool, "parameters")));
            case MISTRAL -> mistral(tools);
            case GRANITE -> Grammar.marker("<|tool_call|>").then(list(tools));
            case DEEPSEEK ->
                Grammar.marker("<｜tool▁calls▁begin｜>")
                        .then(any(
                                        tools,
                                        tool -> Grammar.marker("<｜tool▁call▁begin｜>")
                                                .then(Grammar.text("function"))
                                                .then(Grammar.marker("<｜tool▁sep｜>"))
                                                .then(Grammar.text(tool.name() + "\n```json\n"))
                                                .then(arguments(tool))
                                                .then(Grammar.text("\n```"))
                                                .then(Grammar.marker("<｜tool▁call▁end｜>"))
                                                .then(lines()))
                                .oneOrMore())
                        .then(Grammar.marker("<｜tool▁calls▁end｜>"));
        };
    }

    /** {@code [{"name": ..., "arguments": {...}}, ...]}. */
    private static Grammar list(List<ToolDefinition> tools) {
        Grammar call = any(tools, tool -> call(tool, "arguments"));
        return Grammar.text("[")
                .then(call)
                .then(Grammar.text(",")
                        .then(Grammar.space())
                        .then(call)
                        .oneOrMore()
                        .optional())
                .then(Grammar.text("]"));
    }

    private static Grammar mistral(List<ToolDefinition> tools) {
        Grammar id = Grammar.marker("[CALL_ID]").then(Grammar.gbnf("root ::= [a-zA-Z0-9]{9}"));
        Grammar named = any(
                tools,
                tool -> Grammar.text(tool.name())
                        .then(id.optional())
                        .then(Grammar.marker("[ARGS]"))
                        .then(arguments(tool)));
        Grammar opening = Grammar.marker("[TOOL_CALLS]").then(Grammar.space());
        return opening.then(list(tools)).or(opening.then(named).oneOrMore());
    }

    private static Grammar tagged(ToolDefinition tool) {
        Grammar body = Grammar.text("<function=" + tool.name() + ">\n");
        JsonText.Value schema = JsonText.readAll(tool.parametersSchema());
        JsonNode properties = schema == null ? JsonText.object() : schema.node().path("properties");
        Grammar parameter = properties.propertyNames().stream()
                .map(name -> Grammar.text("<parameter=" + name + ">\n").then(Grammar.until("</parameter>")))
                .reduce(Grammar::or)
                .orElse(null);
        if (parameter != null) {
            body = body.then(parameter.then(Grammar.text("\n")).oneOrMore().optional());
        }
        return Grammar.marker("<tool_call>")
                .then(Grammar.text("\n"))
                .then(body)
                .then(Grammar.text("</function>\n"))
                .then(Grammar.marker("</tool_call>"))
                .then(lines());
    }

    /** {@code {"name": ..., "<key>": {...}}}. */
    private static Grammar call(ToolDefinition tool, String key) {
        return Grammar.text("{\"name\":")
                .then(Grammar.space())
                .then(Grammar.text(JsonText.string(tool.name()).toString() + ","))
                .then(Grammar.space())
                .then(Grammar.text("\"" + key + "\":"))
                .then(arguments(tool))
                .then(Grammar.text("}"));
    }

    /** What the tool's schema allows; where that cannot be enforced, any object, and the tool has to check. */
    private static Grammar arguments(ToolDefinition tool) {
        try {
            return tool.parametersSchema().isBlank()
                    ? Grammar.jsonObject()
                    : Grammar.jsonSchema(tool.parametersSchema());
        } catch (UnsupportedSchemaException e) {
            return Grammar.space().then(Grammar.jsonObject());
        }
    }

    private static Grammar any(List<ToolDefinition> tools, Function<ToolDefinition, Grammar> grammar) {
        return tools.stream().map(grammar).reduce(Grammar::or).orElseThrow();
    }

    /** Line ends, at most two. */
    private static Grammar lines() {
        return Grammar.text("\n").then(Grammar.text("\n").optional()).optional();
    }
}
