package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.spring.OutputSyntax.ThinkingTags;
import dev.prefetch.spring.ToolSyntax.OfferedTools;
import dev.prefetch.spring.ToolSyntax.WrittenCall;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class OutputParserTest {

    private static final ThinkingTags TAGS = new ThinkingTags("<think>", "</think>");
    private static final OfferedTools TOOLS = new OfferedTools(Map.of("time", JsonText.object(), "add", addSchema()));

    private static tools.jackson.databind.JsonNode addSchema() {
        JsonText.Value schema = JsonText.readAll("""
                {"properties": {"a": {"type": "integer"}, "note": {"type": "string"}, "tags": {"type": "array"}}}""");
        return java.util.Objects.requireNonNull(schema).node();
    }

    /** An answer and what it consists of. */
    private record Case(
            @Nullable ToolSyntax syntax, String text, String content, String thinking, List<WrittenCall> calls) {}

    private static Case plain(@Nullable ToolSyntax syntax, String text) {
        return new Case(syntax, text, text, "", List.of());
    }

    private static Case calls(ToolSyntax syntax, String text, String content, WrittenCall... calls) {
        return new Case(syntax, text, content, "", List.of(calls));
    }

    private static WrittenCall call(String name, String arguments) {
        return new WrittenCall(null, name, arguments);
    }

    private static Stream<Case> cases() {
        return Stream.of(
                plain(null, "Hello <tool_call> there"),
                plain(ToolSyntax.HERMES, "  a < b, <tool> and a tail <tool_"),
                plain(ToolSyntax.HERMES, "trailing space \n"),
                new Case(null, "<think>\nHm, 1 < 2.\n</think>\n\nYes.", "Yes.", "Hm, 1 < 2.", List.of()),
                new Case(null, "\n<think></think>Yes.", "Yes.", "", List.of()),
                new Case(null, "<think>never ends", "", "never ends", List.of()),
                plain(null, "no <think>tag</think> at the beginning"),
                plain(null, "<thin"),
                calls(
                        ToolSyntax.HERMES,
                        "<tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>",
                        "",
                        call("time", "{}")),
                calls(
                        ToolSyntax.HERMES,
                        "Let me see.\n<tool_call>{\"name\":\"add\",\"arguments\":{\"note\":\"</tool_call> {\"}}</tool_call>"
                                + "\n<tool_call>{\"arguments\":{\"a\":2},\"name\":\"add\"}</tool_call>",
                        "Let me see.",
                        call("add", "{\"note\":\"</tool_call> {\"}"),
                        call("add", "{\"a\":2}")),
                new Case(
                        ToolSyntax.HERMES,
                        "<think>Which?</think>\n<tool_call>{\"name\":\"time\"}</tool_call>",
                        "",
                        "Which?",
                        List.of(call("time", "{}"))),
                calls(ToolSyntax.HERMES, "<tool_call>{\"name\":\"time\",\"arguments\":\"{}\"}", "", call("time", "{}")),
                plain(ToolSyntax.HERMES, "<tool_call>{\"name\":\"unknown\",\"arguments\":{}}</tool_call>"),
                plain(ToolSyntax.HERMES, "<tool_call>{\"name\":\"time\",\"arguments\":[1]}</tool_call>"),
                plain(ToolSyntax.HERMES, "So:\n<tool_call>{\"name\":\"time\",\"argu"),
                plain(ToolSyntax.HERMES, "<tool_call>"),
                plain(ToolSyntax.HERMES, "<tool_call>\nnull\n</tool_call>"),
                calls(
                        ToolSyntax.HERMES,
                        "<tool_call>{\"name\":\"time\"}</tool_call> then <tool_call>{oops}</tool_call>",
                        "then <tool_call>{oops}</tool_call>",
                        call("time", "{}")),
                calls(
                        ToolSyntax.TAGGED,
                        "<tool_call>\n<function=add>\n<parameter=a>\n12\n</parameter>\n<parameter=note>\n12\nx\n</parameter>"
                                + "\n<parameter=tags>\n[\"q\"]\n</parameter>\n</function>\n</tool_call>",
                        "",
                        call("add", "{\"a\":12,\"note\":\"12\\nx\",\"tags\":[\"q\"]}")),
                calls(ToolSyntax.TAGGED, "<function=time>\n</function>", "", call("time", "{}")),
                plain(ToolSyntax.TAGGED, "<tool_call>\n<function=add>\n<parameter=a>\n1\n</function>\n</tool_call>"),
                plain(ToolSyntax.TAGGED, "<function=nope></function>"),
                calls(
                        ToolSyntax.LLAMA,
                        "{\"name\": \"add\", \"parameters\": {\"a\": 1}}",
                        "",
                        call("add", "{\"a\":1}")),
                calls(
                        ToolSyntax.LLAMA,
                        "<|python_tag|>{\"name\": \"add\", \"parameters\": {\"a\": 1}}; {\"name\": \"time\", \"parameters\": {}}",
                        "",
                        call("add", "{\"a\":1}"),
                        call("time", "{}")),
                plain(ToolSyntax.LLAMA, "{\"name\": \"Rome\"}"),
                plain(ToolSyntax.LLAMA, "{\"name\": \"time\", \"parameters\": {}} is what I would call"),
                plain(ToolSyntax.LLAMA, "Use {\"name\": \"time\", \"parameters\": {}}"),
                calls(
                        ToolSyntax.MISTRAL,
                        "[TOOL_CALLS] [{\"name\": \"time\", \"arguments\": {}, \"id\": \"abcdefghi\"},"
                                + " {\"name\": \"add\", \"arguments\": {\"a\": 1}}]",
                        "",
                        new WrittenCall("abcdefghi", "time", "{}"),
                        call("add", "{\"a\":1}")),
                calls(
                        ToolSyntax.MISTRAL,
                        "[TOOL_CALLS]time[CALL_ID]abcdefghi[ARGS]{}[TOOL_CALLS]add[ARGS]{\"a\": 1}",
                        "",
                        new WrittenCall("abcdefghi", "time", "{}"),
                        call("add", "{\"a\":1}")),
                plain(ToolSyntax.MISTRAL, "[TOOL_CALLS][{\"name\": \"time\", \"arguments\": {}}, {\"name\": 1}]"),
                plain(ToolSyntax.MISTRAL, "[TOOL_CALLS]time[ARGS]{\"a\""),
                calls(
                        ToolSyntax.GRANITE,
                        "<|tool_call|>[{\"name\": \"time\", \"arguments\": {}}, {\"name\": \"add\", \"arguments\": {\"a\": 1}}]",
                        "",
                        call("time", "{}"),
                        call("add", "{\"a\":1}")),
                plain(ToolSyntax.GRANITE, "<|tool_call|>{\"name\": \"time\", \"arguments\": {}}"),
                calls(
                        ToolSyntax.DEEPSEEK,
                        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{\"a\": 1}\n```"
                                + "<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>time\n```json\n{}\n```"
                                + "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
                        "",
                        call("add", "{\"a\":1}"),
                        call("time", "{}")),
                plain(
                        ToolSyntax.DEEPSEEK,
                        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n1"));
    }

    private static OutputParser parser(@Nullable ToolSyntax syntax) {
        return new OutputParser(new OutputSyntax(syntax, TAGS, false), TOOLS, false, false);
    }

    @ParameterizedTest
    @MethodSource("cases")
    void takesAnAnswerApart(Case given) {
        OutputParser parser = parser(given.syntax());
        parser.accept(given.text());
        parser.finish();

        assertThat(parser.content()).isEqualTo(given.content());
        assertThat(parser.thinking()).isEqualTo(given.thinking());
        assertThat(parser.calls()).isEqualTo(given.calls());
    }

    /** Wherever the answer is cut into parts, and however many, they add up to the same. */
    @ParameterizedTest
    @MethodSource("cases")
    void doesNotDependOnHowTheAnswerArrives(Case given) {
        for (int size = 1; size < given.text().length(); size++) {
            OutputParser parser = parser(given.syntax());
            StringBuilder content = new StringBuilder();
            StringBuilder thinking = new StringBuilder();
            for (int from = 0; from < given.text().length(); from += size) {
                int to = Math.min(from + size, given.text().length());
                OutputParser.Part part = parser.accept(given.text().substring(from, to));
                content.append(part.content());
                thinking.append(part.thinking());
            }
            OutputParser.Part last = parser.finish();

            assertThat(content + last.content()).as("parts of %d", size).isEqualTo(given.content());
            assertThat(thinking + last.thinking()).isEqualTo(given.thinking());
            assertThat(parser.calls()).isEqualTo(given.calls());
        }
    }

    private static Stream<Case> harmony() {
        return Stream.of(
                new Case(
                        null,
                        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes <b>.",
                        "Yes <b>.",
                        "Hm.",
                        List.of()),
                new Case(
                        null,
                        "<|channel|>analysis<|message|>One.<|end|><|start|>assistant<|channel|>analysis<|message|>Two.<|end|>"
                                + "<|start|>assistant<|channel|>commentary to=functions.add <|constrain|>json<|message|>"
                                + "{\"a\": 1}<|call|>",
                        "",
                        "One.\nTwo.",
                        List.of(call("add", "{\"a\":1}"))),
                new Case(
                        null,
                        "<|channel|>commentary<|message|>I will look.<|end|><|start|>assistant to=functions.time"
                                + "<|channel|>commentary json<|message|>{}",
                        "I will look.",
                        "",
                        List.of(call("time", "{}"))),
                new Case(null, "<|channel|>analysis<|message|>cut off", "", "cut off", List.of()),
                plain(null, "Plain, without a header < |"));
    }

    /** Messages with headers, in parts of every size. */
    @ParameterizedTest
    @MethodSource("harmony")
    void takesHarmonyMessagesApart(Case given) {
        for (int size = 1; size <= given.text().length(); size++) {
            OutputParser parser = new OutputParser(
                    OutputSyntax.of("<|start|>assistant<|channel|>final<|message|>"), TOOLS, false, false);
            for (int from = 0; from < given.text().length(); from += size) {
                parser.accept(given.text()
                        .substring(from, Math.min(from + size, given.text().length())));
            }
            parser.finish();

            assertThat(parser.content()).as("parts of %d", size).isEqualTo(given.content());
            assertThat(parser.thinking()).isEqualTo(given.thinking());
            assertThat(parser.calls()).isEqualTo(given.calls());
        }
    }

    @Test
    void givesOutTextAsSoonAsItIsClear() {
        OutputParser parser = parser(ToolSyntax.HERMES);

        assertThat(parser.accept("Hel").content()).isEqualTo("Hel");
        assertThat(parser.accept("lo <").content()).isEqualTo("lo");
        assertThat(parser.accept("b").content()).isEqualTo(" <b");
    }

    @Test
    void beginsInsideReasoningThatThePromptOpened() {
        OutputParser parser = new OutputParser(new OutputSyntax(null, TAGS, false), TOOLS, true, false);
        parser.accept("Hm.</think>Yes.");
        parser.finish();

        assertThat(parser.content()).isEqualTo("Yes.");
        assertThat(parser.thinking()).isEqualTo("Hm.");
    }

    @Test
    void keepsReasoningInTheContentWhenAsked() {
        OutputParser parser = new OutputParser(new OutputSyntax(null, TAGS, false), TOOLS, false, true);
        String text = "<think>\nHm.\n</think>\n\nYes.";
        parser.accept(text);
        parser.finish();

        assertThat(parser.content()).isEqualTo(text);
        assertThat(parser.thinking()).isEqualTo("Hm.");
    }

    @Test
    void looksForNoCallsWithoutTools() {
        OutputParser parser =
                new OutputParser(new OutputSyntax(ToolSyntax.HERMES, null, false), OfferedTools.NONE, false, false);
        String text = "<tool_call>{\"name\":\"time\"}</tool_call>";

        assertThat(parser.accept(text).content()).isEqualTo(text);
        assertThat(parser.finish().isEmpty()).isTrue();
        assertThat(parser.calls()).isEmpty();
    }
}
