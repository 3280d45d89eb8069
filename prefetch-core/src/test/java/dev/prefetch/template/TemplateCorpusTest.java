package dev.prefetch.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.template.RenderedText.Span;
import dev.prefetch.template.TemplateException.Kind;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** Real chat templates against what jinja2, configured as Hugging Face does, made of them. */
class TemplateCorpusTest {

    @TestFactory
    Stream<DynamicTest> rendersWhatTheReferenceRenders() {
        return Conformance.tests("templates", TemplateCorpusTest::tests);
    }

    private static Stream<DynamicTest> tests(Path folder) {
        Map<String, Object> scenarios = Conformance.object(Conformance.read(folder.resolve("scenarios.json")));
        List<DynamicTest> tests = new ArrayList<>();
        for (Path template : Conformance.list(folder.resolve("templates"))) {
            String name = template.getFileName().toString().replace(".jinja", "");
            String source = Conformance.read(template);
            scenarios.forEach((scenario, variables) -> {
                Path expected = folder.resolve("expected").resolve(name + "." + scenario + ".txt");
                tests.add(DynamicTest.dynamicTest(
                        name + " / " + scenario, () -> check(source, asVariables(variables), expected)));
            });
        }
        assertThat(tests).isNotEmpty();
        return tests.stream();
    }

    private static void check(String source, Map<String, Object> variables, Path expected) {
        if (Files.exists(expected)) {
            String text = Conformance.read(expected);
            assertThat(render(source, variables).text()).isEqualTo(text);
            RenderedText marked = render(source, inputMarked(variables));
            assertThat(marked.text()).isEqualTo(text);
            assertThat(marked.spans().stream().map(Span::text).collect(Collectors.joining()))
                    .isEqualTo(text);
            return;
        }
        Path error = expected.resolveSibling(expected.getFileName().toString().replace(".txt", ".error"));
        assertThat(error).exists();
        assertThatThrownBy(() -> render(source, variables)).isInstanceOfSatisfying(TemplateException.class, failure -> {
            assertThat(failure.kind()).isEqualTo(kindOf(Conformance.read(error)));
            assertThat(failure.line()).isPositive();
            assertThat(failure.column()).isPositive();
        });
    }

    /** What the recorded exception of the reference is called here. */
    private static Kind kindOf(String recorded) {
        String exception = recorded.substring(0, recorded.indexOf(':'));
        return switch (exception) {
            case "TemplateSyntaxError" -> Kind.SYNTAX;
            case "TemplateError" -> Kind.RAISED;
            default -> Kind.EVALUATION;
        };
    }

    private static RenderedText render(String source, Map<String, Object> variables) {
        return ChatTemplate.parse(source)
                .withCurrentTime(format -> "26 Jul 2024")
                .render(variables);
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> asVariables(Object scenario) {
        return (Map<String, Object>) scenario;
    }

    /** The same variables with every string of the conversation marked; a mark must never change the text. */
    private static Map<String, Object> inputMarked(Map<String, Object> variables) {
        Map<String, Object> marked = new HashMap<>(variables);
        marked.computeIfPresent("messages", (name, messages) -> mark(messages));
        marked.computeIfPresent("tools", (name, tools) -> mark(tools));
        return marked;
    }

    private static Object mark(Object value) {
        return switch (value) {
            case String string -> new InputText(string);
            case List<?> list -> list.stream().map(TemplateCorpusTest::mark).toList();
            case Map<?, ?> map -> {
                Map<Object, Object> copy = new java.util.LinkedHashMap<>();
                map.forEach((key, item) -> copy.put(key, mark(item)));
                yield copy;
            }
            default -> value;
        };
    }
}
