package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.spring.ToolSyntax.OfferedTools;
import dev.prefetch.template.ChatTemplate;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Real chat templates: what they write for an earlier tool call is what the model writes for a new one. */
class OutputSyntaxCorpusTest {

    private static final Map<String, Object> ARGUMENTS = new LinkedHashMap<>();

    static {
        ARGUMENTS.put("city", "Zürich {\"x\"} [y]");
        ARGUMENTS.put("days", 3);
        ARGUMENTS.put("tags", List.of("a", "b"));
    }

    private static final String SCHEMA = """
            {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"},
             "tags": {"type": "array", "items": {"type": "string"}}}}""";

    private static Stream<Arguments> templates() {
        return Stream.of(
                Arguments.of("Qwen-Qwen2.5-7B-Instruct", ToolSyntax.HERMES, 2),
                Arguments.of("NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", ToolSyntax.HERMES, 2),
                Arguments.of("NousResearch-Hermes-3-Llama-3.1-8B-tool_use", ToolSyntax.HERMES, 2),
                Arguments.of("MiMo-VL", ToolSyntax.HERMES, 2),
                Arguments.of("ibm-granite-granite-4.0", ToolSyntax.HERMES, 2),
                Arguments.of("Qwen3-Coder", ToolSyntax.TAGGED, 2),
                Arguments.of("Qwen3.5-4B", ToolSyntax.TAGGED, 2),
                Arguments.of("meta-llama-Llama-3.1-8B-Instruct", ToolSyntax.LLAMA, 1),
                Arguments.of("meta-llama-Llama-3.2-3B-Instruct", ToolSyntax.LLAMA, 1),
                Arguments.of("meta-llama-Llama-3.3-70B-Instruct", ToolSyntax.LLAMA, 1),
                Arguments.of("mistralai-Mistral-Nemo-Instruct-2407", ToolSyntax.MISTRAL, 2),
                Arguments.of("Mistral-Small-3.2-24B-Instruct-2506", ToolSyntax.MISTRAL, 2),
                Arguments.of("unsloth-mistral-Devstral-Small-2507", ToolSyntax.MISTRAL, 2),
                Arguments.of("mistralai-Ministral-3-14B-Reasoning-2512", ToolSyntax.MISTRAL, 2));
    }

    private static String source(String name) throws IOException {
        String root = System.getProperty("prefetch.conformance.dir", "");
        Path file = Path.of(root, "templates", "templates", name + ".jinja");
        Assumptions.assumeTrue(
                !root.isEmpty() && Files.exists(file),
                "no conformance data 'templates' (system property prefetch.conformance.dir)");
        return Files.readString(file);
    }

    @ParameterizedTest
    @MethodSource("templates")
    void readsBackWhatTheTemplateWrites(String name, ToolSyntax expected, int parallel) throws IOException {
        String source = source(name);
        OutputSyntax syntax = OutputSyntax.of(source);
        String before = render(source, 0);
        String after = render(source, parallel);
        String written = after.substring(prefix(before, after));

        OutputParser parser = new OutputParser(
                syntax,
                new OfferedTools(Map.of(
                        "get_weather",
                        Objects.requireNonNull(JsonText.readAll(SCHEMA)).node())),
                false,
                false);
        parser.accept(withoutEnd(written));
        parser.finish();

        assertThat(syntax.tools()).isEqualTo(expected);
        assertThat(parser.calls()).as(written).hasSize(parallel).allSatisfy(call -> {
            assertThat(call.name()).isEqualTo("get_weather");
            assertThat(Objects.requireNonNull(JsonText.readAll(call.arguments()))
                            .node())
                    .isEqualTo(Objects.requireNonNull(JsonText.readAll("""
                                    {"city": "Zürich {\\"x\\"} [y]", "days": 3, "tags": ["a", "b"]}""")).node());
        });
        assertThat(syntax.singleCalls()).isEqualTo(parallel == 1);
    }

    private static String render(String source, int calls) {
        Map<String, Object> user = Map.of("role", "user", "content", "Weather?");
        Map<String, Object> call = Map.of(
                "id",
                "abcdefghi",
                "type",
                "function",
                "function",
                Map.of("name", "get_weather", "arguments", ARGUMENTS));
        Map<String, Object> assistant =
                Map.of("role", "assistant", "content", "", "tool_calls", java.util.Collections.nCopies(calls, call));
        Map<String, Object> result =
                Map.of("role", "tool", "content", "20", "tool_call_id", "abcdefghi", "name", "get_weather");
        return ChatTemplate.parse(source)
                .render(Map.of(
                        "messages",
                        calls == 0 ? List.of(user) : List.of(user, assistant, result),
                        "add_generation_prompt",
                        calls == 0,
                        "bos_token",
                        "<s>",
                        "eos_token",
                        "</s>"))
                .text();
    }

    /** Where the text goes on behind what both have in common, less a tag that the common part may have cut. */
    private static int prefix(String before, String after) {
        int common = 0;
        while (common < Math.min(before.length(), after.length()) && before.charAt(common) == after.charAt(common)) {
            common++;
        }
        return common;
    }

    /** The answer alone: the end token and what follows it are not part of it. */
    private static String withoutEnd(String written) {
        return Stream.of("<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "</s>")
                .map(written::indexOf)
                .filter(at -> at >= 0)
                .min(Integer::compare)
                .map(at -> written.substring(0, at))
                .orElseThrow();
    }

    @ParameterizedTest
    @MethodSource("reasoning")
    void knowsTheReasoningTags(String name, String open) throws IOException {
        assertThat(Objects.requireNonNull(OutputSyntax.of(source(name)).thinking())
                        .open())
                .isEqualTo(open);
    }

    /** This template shows no calls of earlier turns, so there is nothing to read back; it tells the model the syntax. */
    @Test
    void knowsTheSyntaxThatATemplateDescribes() throws IOException {
        assertThat(OutputSyntax.of(source("ibm-granite-granite-3.3-2B-Instruct"))
                        .tools())
                .isEqualTo(ToolSyntax.GRANITE);
    }

    /** What is not known must not be taken for something else. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "GLM-4.7-Flash",
                "meetkai-functionary-medium-v3.1",
                "moonshotai-Kimi-K2",
                "google-gemma-2-2b-it",
                "microsoft-Phi-3.5-mini-instruct"
            })
    void takesAnotherSyntaxForNone(String name) throws IOException {
        assertThat(OutputSyntax.of(source(name)).tools()).isNull();
    }

    private static Stream<Arguments> reasoning() {
        return Stream.of(
                Arguments.of("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "<think>"),
                Arguments.of("Qwen3.5-4B", "<think>"),
                Arguments.of("mistralai-Ministral-3-14B-Reasoning-2512", "[THINK]"));
    }
}
