package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.ToolDefinition;
import dev.prefetch.grammar.Grammar;
import dev.prefetch.grammar.GrammarMask;
import dev.prefetch.grammar.TokenVocabulary;
import dev.prefetch.spring.OutputSyntax.ThinkingTags;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** With tools the answer is a call or the form; with reasoning that comes first. */
class OutputGrammarsTest {

    private static final List<ToolDefinition> TOOLS =
            List.of(new ToolDefinition("time", "", ""), new ToolDefinition("add", "", """
                    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
                     "additionalProperties": false}"""));

    private static final String SCHEMA = "{\"type\": \"object\", \"additionalProperties\": false}";

    /** Whether a text is one of the grammar's, spelled byte by byte. */
    private static boolean matches(@Nullable Grammar grammar, String text) {
        byte[][] tokens = new byte[257][];
        for (int i = 0; i < 256; i++) {
            tokens[i] = new byte[] {(byte) i};
        }
        tokens[256] = "<end>".getBytes(StandardCharsets.UTF_8);
        GrammarMask.Text read = new GrammarMask(
                        Objects.requireNonNull(grammar), new TokenVocabulary(tokens, new String[257], Set.of(256)))
                .begin();
        try {
            for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
                read.accept(b & 0xff);
            }
        } catch (IllegalArgumentException e) {
            return false;
        }
        return read.mayEnd();
    }

    private static List<Arguments> syntaxes() {
        return List.of(
                Arguments.of(
                        ToolSyntax.HERMES,
                        "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>",
                        "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"b\": 1}}\n</tool_call>"),
                Arguments.of(
                        ToolSyntax.HERMES,
                        "<tool_call>\n{\"name\": \"time\", \"arguments\":{}}\n</tool_call>\n"
                                + "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>",
                        "<tool_call>\n{\"name\": \"nope\", \"arguments\": {}}\n</tool_call>"),
                Arguments.of(
                        ToolSyntax.TAGGED,
                        "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>",
                        "<tool_call>\n<function=add>\n<parameter=b>\n1\n</parameter>\n</function>\n</tool_call>"),
                Arguments.of(
                        ToolSyntax.LLAMA,
                        "{\"name\": \"add\", \"parameters\": {\"a\": 1}}",
                        "{\"name\": \"add\", \"parameters\": {}}"),
                Arguments.of(
                        ToolSyntax.MISTRAL,
                        "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {\"a\": 1}}, {\"name\": \"time\", \"arguments\":{}}]",
                        "[TOOL_CALLS][]"),
                Arguments.of(
                        ToolSyntax.MISTRAL,
                        "[TOOL_CALLS]add[CALL_ID]abcdefghi[ARGS]{\"a\": 1}",
                        "[TOOL_CALLS]add[ARGS]{\"a\": \"1\"}"),
                Arguments.of(
                        ToolSyntax.GRANITE,
                        "<|tool_call|>[{\"name\": \"add\", \"arguments\": {\"a\": 1}}]",
                        "<|tool_call|>{\"name\": \"add\", \"arguments\": {\"a\": 1}}"),
                Arguments.of(
                        ToolSyntax.DEEPSEEK,
                        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{\"a\": 1}\n```"
                                + "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
                        "<｜tool▁calls▁begin｜><｜tool▁calls▁end｜>"));
    }

    @ParameterizedTest
    @MethodSource("syntaxes")
    void theAnswerIsACallOfAToolOrTheForm(ToolSyntax syntax, String call, String noCall) {
        OutputSyntax output = new OutputSyntax(syntax, null, false);
        Grammar grammar = new OutputGrammars(output).of(SCHEMA, null, TOOLS, false);

        assertThat(matches(grammar, "{}")).isTrue();
        assertThat(matches(grammar, call)).isTrue();
        assertThat(matches(grammar, noCall)).isFalse();
        assertThat(matches(grammar, "Hello")).isFalse();
        // What the grammar allows is what the parser reads.
        OutputParser parser = new OutputParser(output, offered(), false, false);
        parser.accept(call);
        parser.finish();
        assertThat(parser.calls()).isNotEmpty();
        assertThat(parser.content()).isBlank();
    }

    private static ToolSyntax.OfferedTools offered() {
        java.util.Map<String, tools.jackson.databind.JsonNode> parameters = new java.util.HashMap<>();
        for (ToolDefinition tool : TOOLS) {
            JsonText.Value schema = JsonText.readAll(tool.parametersSchema());
            parameters.put(tool.name(), schema == null ? JsonText.object() : schema.node());
        }
        return new ToolSyntax.OfferedTools(parameters);
    }

    @Test
    void withoutToolsThereIsOnlyTheForm() {
        Grammar grammar =
                new OutputGrammars(new OutputSyntax(ToolSyntax.HERMES, null, false)).of(SCHEMA, null, List.of(), false);

        assertThat(matches(grammar, "{}")).isTrue();
        assertThat(matches(grammar, "<tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>"))
                .isFalse();
    }

    @Test
    void reasoningComesFirst() {
        OutputGrammars grammars =
                new OutputGrammars(new OutputSyntax(null, new ThinkingTags("<think>", "</think>"), false));

        Grammar closed = grammars.of(SCHEMA, null, List.of(), false);
        assertThat(matches(closed, "<think>\nWhat now? {</think>\n\n{}")).isTrue();
        assertThat(matches(closed, "{}")).isTrue();
        assertThat(matches(closed, "What now?</think>{}")).isFalse();
        Grammar open = grammars.of(SCHEMA, null, List.of(), true);
        assertThat(matches(open, "What now?</think>{}")).isTrue();
        assertThat(matches(open, "{}")).isFalse();
    }

    @Test
    void harmonyAnswersAreMessages() {
        Grammar grammar = new OutputGrammars(OutputSyntax.of("<|channel|> <|message|>")).of(SCHEMA, null, TOOLS, false);
        String reasoning = "<|channel|>analysis<|message|>Hm {<|end|><|start|>assistant";

        assertThat(matches(grammar, "<|channel|>final<|message|>{}")).isTrue();
        assertThat(matches(grammar, reasoning + "<|channel|>final<|message|>{}"))
                .isTrue();
        assertThat(matches(
                        grammar,
                        reasoning + "<|channel|>commentary to=functions.add <|constrain|>json<|message|>{\"a\": 1}"))
                .isTrue();
        assertThat(matches(grammar, reasoning + "<|channel|>final<|message|>Hello"))
                .isFalse();
        assertThat(matches(grammar, "{}")).isFalse();
    }

    @Test
    void theSameQuestionGetsTheSameGrammar() {
        OutputGrammars grammars = new OutputGrammars(OutputSyntax.PLAIN);

        assertThat(grammars.of(SCHEMA, null, TOOLS, false))
                .isSameAs(grammars.of(SCHEMA, null, new ArrayList<>(TOOLS), false));
        assertThat(grammars.of(null, null, TOOLS, false)).isNull();
    }
}
