package dev.prefetch.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

class ChatTemplateTest {

    private static String render(String template, Map<String, ?> variables) {
        return ChatTemplate.parse(template).render(variables).text();
    }

    @Test
    void convertsEveryKindOfVariable() {
        Map<String, Object> values = new LinkedHashMap<>();
        values.put("int", 1);
        values.put("short", (short) 2);
        values.put("byte", (byte) 3);
        values.put("long", Long.MIN_VALUE);
        values.put("float", 0.1f);
        values.put("double", 1e100);
        values.put("big", BigInteger.TWO.pow(70));
        values.put("small big", BigInteger.TEN);
        values.put("decimal", new BigDecimal("20.50"));
        values.put("null", null);
        values.put("list", Arrays.asList("a", null, true));
        values.put("set", Set.of(7));
        values.put("map", Map.of(1, "x"));
        values.put("input", new InputText("y"));
        assertThat(render("{{ v|tojson }}", Map.of("v", values)))
                .isEqualTo("{\"int\": 1, \"short\": 2, \"byte\": 3, \"long\": -9223372036854775808, \"float\": 0.1,"
                        + " \"double\": 1e+100, \"big\": 1180591620717411303424, \"small big\": 10, \"decimal\": 20.5,"
                        + " \"null\": null, \"list\": [\"a\", null, true], \"set\": [7], \"map\": {\"1\": \"x\"},"
                        + " \"input\": \"y\"}");
    }

    @Test
    void refusesOtherJavaObjects() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> render("{{ p }}", Map.of("p", List.of(Path.of("x")))))
                .withMessageContaining("'p'")
                .withMessageContaining("Path");
    }

    @Test
    void variablesComeBeforeGlobals() {
        assertThat(render("{{ range }}{{ dict is defined }}", Map.of("range", 5)))
                .isEqualTo("5True");
    }

    @Test
    void anAbsentVariableIsUndefinedAndANullOneIsNone() {
        Map<String, Object> variables = new HashMap<>();
        variables.put("tools", null);
        assertThat(render("{{ tools is none }}{{ tools is defined }}{{ other is defined }}", variables))
                .isEqualTo("TrueTrueFalse");
    }

    @Test
    void tellsTheTimeOfItsClock() {
        Clock clock = Clock.fixed(Instant.parse("2024-07-26T23:30:00Z"), ZoneId.of("Asia/Tokyo"));
        ChatTemplate template = ChatTemplate.parse("{{ strftime_now('%d %b %Y, %H:%M %Q%') }}");
        assertThat(template.withClock(clock).render(Map.of()).text()).isEqualTo("27 Jul 2024, 08:30 %Q%");
    }

    @Test
    void keepsItsSource() {
        assertThat(ChatTemplate.parse("a\r\n").source()).isEqualTo("a\r\n");
    }

    @Test
    void rendersConcurrentlyWithoutSharedState() throws Exception {
        ChatTemplate template =
                ChatTemplate.parse("{% set ns = namespace(n=0) %}{% macro m(x) %}<{{ x }}>{% endmacro %}"
                        + "{% for i in range(200) %}{% set ns.n = ns.n + k %}{% endfor %}{{ m(ns.n) }}");
        List<Callable<String>> renderings = new ArrayList<>();
        for (int i = 0; i < 64; i++) {
            int k = i;
            renderings.add(() -> template.render(Map.of("k", k)).text());
        }
        try (var executor = Executors.newFixedThreadPool(8)) {
            var results = executor.invokeAll(renderings);
            for (int i = 0; i < results.size(); i++) {
                assertThat(results.get(i).get()).isEqualTo("<" + 200 * i + ">");
            }
        }
    }

    @TestFactory
    Stream<DynamicTest> rendersTheDemoModelsPrompts() {
        return Conformance.tests("demo-model", ChatTemplateTest::demoPrompts);
    }

    private static Stream<DynamicTest> demoPrompts(Path folder) {
        ChatTemplate template = ChatTemplate.parse(Conformance.read(folder.resolve("chat_template.jinja")));
        return Conformance.read(folder.resolve("golden.jsonl"))
                .lines()
                .map(Conformance::object)
                .map(golden -> DynamicTest.dynamicTest("prompt " + golden.get("id"), () -> {
                    Map<String, Object> variables = new HashMap<>();
                    variables.put("messages", golden.get("messages"));
                    variables.put("add_generation_prompt", true);
                    if (golden.get("tools") instanceof List<?> tools && !tools.isEmpty()) {
                        variables.put("tools", tools);
                    }
                    assertThat(template.render(variables).text()).isEqualTo(golden.get("prompt"));
                }));
    }
}
