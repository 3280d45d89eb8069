package dev.prefetch.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * Every feature of the language against what jinja2 3.1.6 printed for the same template and variables. The cases are
 * recorded in {@code features.jsonl}; those of {@code failures.jsonl} must fail.
 */
class TemplateFeatureTest {

    private static final Clock CLOCK = Clock.fixed(Instant.parse("2024-07-06T05:04:03Z"), ZoneOffset.UTC);

    @TestFactory
    Stream<DynamicTest> printsWhatTheReferencePrinted() {
        Map<String, Object> variables = Conformance.object(resource("feature-variables.json"));
        return resource("features.jsonl")
                .lines()
                .map(Conformance::object)
                .map(testCase -> DynamicTest.dynamicTest(
                        testCase.get("feature") + ": " + testCase.get("template"),
                        () -> assertThat(render(testCase, variables)).isEqualTo(testCase.get("expected"))));
    }

    @TestFactory
    Stream<DynamicTest> failsWhereTheReferenceFailed() {
        Map<String, Object> variables = Conformance.object(resource("feature-variables.json"));
        return resource("failures.jsonl")
                .lines()
                .map(Conformance::object)
                .map(testCase -> DynamicTest.dynamicTest(
                        testCase.get("feature") + ": " + testCase.get("template"),
                        () -> assertThatThrownBy(() -> render(testCase, variables))
                                .isInstanceOf(TemplateException.class)));
    }

    private static String render(Map<String, Object> testCase, Map<String, Object> variables) {
        String template = (String) testCase.get("template");
        return ChatTemplate.parse(template).withClock(CLOCK).render(variables).text();
    }

    static String resource(String name) {
        try (InputStream in = TemplateFeatureTest.class.getResourceAsStream(name)) {
            assertThat(in).as(name).isNotNull();
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }
}
