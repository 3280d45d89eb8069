package dev.prefetch.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import dev.prefetch.template.TemplateException.Kind;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Templates that try to run for ever, to fill the memory, to overflow the stack, or to reach Java. */
class HostileTemplateTest {

    private static void assertLimited(ThrowingCallable rendering, String limit) {
        assertTimeoutPreemptively(
                Duration.ofSeconds(20),
                () -> assertThatThrownBy(rendering).isInstanceOfSatisfying(TemplateException.class, e -> {
                    assertThat(e.kind()).isEqualTo(Kind.LIMIT);
                    assertThat(e.plainMessage()).contains("limit").contains(limit);
                }));
    }

    private static ThrowingCallable rendering(String template) {
        return () -> ChatTemplate.parse(template).render(Map.of());
    }

    /** With a twentieth of the steps, which is as good a proof in less time. */
    private static ThrowingCallable quickRendering(String template) {
        TemplateLimits limits = new TemplateLimits(1_000_000, 1 << 24, 1 << 26, 600, 100_000);
        return () -> ChatTemplate.parse(template).withLimits(limits).render(Map.of());
    }

    @Test
    void endsNestedLoops() {
        String loops = "{% for a in range(100000) %}".repeat(4) + "{% endfor %}".repeat(4);
        assertLimited(rendering(loops), "20000000 steps");
    }

    @Test
    void endsLoopsHiddenInFilters() {
        assertLimited(
                quickRendering("{% for i in range(99) %}{{ range(100000)|select('odd')|list|length }}{% endfor %}"),
                "1000000 steps");
        assertLimited(quickRendering("{% for i in range(99) %}{{ range(100000)|sum }}{% endfor %}"), "1000000 steps");
        assertLimited(quickRendering("{% for i in range(99) %}{{ -1 in range(100000) }}{% endfor %}"), "1000000 steps");
        assertLimited(quickRendering("{% for i in range(99) %}{{ range(100000)|join }}{% endfor %}"), "1000000 steps");
        assertLimited(quickRendering("{% for i in range(99) %}{{ range(100000)|min }}{% endfor %}"), "1000000 steps");
    }

    @Test
    void endsRecursion() {
        assertLimited(rendering("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), "600 levels");
        assertLimited(
                rendering("{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}"),
                "600 levels");
        assertLimited(rendering("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"), "600 levels");
    }

    @Test
    void endsGrowingText() {
        assertLimited(rendering("{{ 'x' * 1000000000 }}"), "16777216 characters");
        assertLimited(rendering("{{ 'x' * 9223372036854775807 }}"), "16777216 characters");
        assertLimited(rendering("{{ 'xy' * 9223372036854775807 }}"), "16777216 characters");
        assertLimited(
                rendering(
                        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"),
                "characters");
        assertLimited(
                rendering("{% set s = 'x' * 1000000 %}{% for i in range(100000) %}{{ s }}{% endfor %}"), "characters");
        assertLimited(
                rendering("{% set s = 'x' * 1000000 %}{% set ns = namespace(l=[]) %}"
                        + "{% for i in range(100000) %}{% set ns.l = ns.l + [s|upper] %}{% endfor %}"),
                "characters in all");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{{ 'x'.center(2000000000) }}",
                "{{ 'x'.ljust(2000000000) }}",
                "{{ 'x'.rjust(2000000000) }}",
                "{{ 'x'.zfill(2000000000) }}",
                "{{ 'x'|center(2000000000) }}",
                "{{ '%2000000000s' % 'x' }}",
                "{{ '%02000000000d' % 1 }}",
                "{{ '%.2000000000f' % 1 }}",
                "{{ '{:999999999}'.format(1) }}",
                "{{ '{:.999999999f}'.format(1) }}",
                "{{ 'a'|indent(2000000000, true) }}",
                "{{ [1]|tojson(indent=2000000000) }}",
                "{{ 1|round(2000000000) }}",
                "{{ [0] * 1000000000 }}",
                "{{ [0] * 9223372036854775807 }}",
                "{{ [1]|batch(1000000000, 0)|list }}",
                "{{ [1]|slice(1000000000)|list }}",
                "{{ strftime_now('%c' * 1000) }}",
                "{{ range(100001) }}",
                "{{ range(-9223372036854775807, 9223372036854775807) }}",
                "{{ 9223372036854775807 + 1 }}",
                "{{ 9 ** 99999999 }}",
                "{{ ('9' * 100000)|int }}",
                "{{ '99999999999999999999'|int }}",
                "{{ 'a'|replace('', 'x' * 10000000) }}",
                "{{ ('a' * 10000)|replace('a', 'x' * 10000) }}",
                "{{ ('x' * 10000).join(('a' * 10000)|list) }}",
            })
    void refusesHugeResults(String template) {
        assertLimited(rendering(template), "limit");
    }

    @Test
    void searchesInLinearTime() {
        // The naive search would compare 4 * 10^12 characters.
        String template = "{% set h = 'a' * 4000000 %}{% set n = 'a' * 2000000 ~ 'b' %}"
                + "{{ n in h }}{{ h.find(n) }}{{ h.rfind(n) }}{{ h.count(n) }}{{ h.split(n)|length }}";
        assertTimeoutPreemptively(
                Duration.ofSeconds(20),
                () -> assertThat(ChatTemplate.parse(template).render(Map.of()).text())
                        .isEqualTo("False-1-101"));
    }

    @Test
    void endsValuesThatGrowByNesting() {
        String doubled = "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}"
                + "{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}";
        assertLimited(quickRendering(doubled + "{{ ns.a == ns.b }}"), "steps");
        assertLimited(quickRendering(doubled + "{{ ns.a }}"), "limit");
        assertLimited(quickRendering(doubled + "{{ ns.a|tojson }}"), "limit");
        String deep = "{% set ns = namespace(a=[]) %}{% for i in range(20000) %}{% set ns.a = [ns.a] %}{% endfor %}";
        assertLimited(quickRendering(deep + "{{ ns.a }}"), "levels");
        assertLimited(quickRendering(deep + "{{ ns.a|tojson }}"), "levels");
        assertLimited(quickRendering(deep + "{{ ns.a == [ns.a] }}"), "levels");
        assertLimited(rendering("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}"), "levels");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = ';',
            value = {
                "{{ ; (; 1; ); }}",
                "{{ ; [; 1; ]; }}",
                "{{ ; {1:; 1; }; }}",
                "{{ ; f(; 1; ); }}",
                "{{ ; a[; 1; ]; }}",
                "{{ ; a|f(; 1; ); }}",
                "{{ ; a is f(; 1; ); }}",
                "{{ ; 'not '; 1; ''; }}",
                "{{ ; -; 1; ''; }}",
                "{{ ; 'a if b else '; 1; ''; }}",
                "{% set ; (; a; ); = 1 %}",
                "''; {% if 1 %}; 1; {% endif %}; ''",
                "''; {% for x in y %}; 1; {% endfor %}; ''",
                "''; {% macro m() %}; 1; {% endmacro %}; ''",
            })
    void refusesDeeplyNestedSource(String before, String open, String middle, String close, String after) {
        String source = before + open.repeat(20_000) + middle + close.repeat(20_000) + after;
        assertLimited(() -> ChatTemplate.parse(source), "100 levels");
    }

    @Test
    void evaluatesLongChainsWithoutNesting() {
        assertThat(ChatTemplate.parse("{{ 1" + " + 1".repeat(20_000) + " }}")
                        .render(Map.of())
                        .text())
                .isEqualTo("20001");
        assertThat(ChatTemplate.parse("{{ 1" + " ~ 1".repeat(1_000) + " }}")
                        .render(Map.of())
                        .text())
                .hasSize(1001);
        assertLimited(rendering("{{ a" + "|default(1)".repeat(20_000) + " }}"), "600 levels");
        assertLimited(rendering("{{ ''" + ".strip()".repeat(20_000) + " }}"), "600 levels");
    }

    @Test
    void endsFiltersThatCallFilters() {
        String nested = "'map', ".repeat(50_000) + "'upper'";
        assertLimited(rendering("{{ 'a'|map(" + nested + ")|list }}"), "600 levels");
    }

    @Test
    void readsLongFormatFieldsWithoutRecursion() {
        assertThatThrownBy(rendering("{{ '{0" + ".a".repeat(50_000) + "}'.format(1) }}"))
                .isInstanceOfSatisfying(
                        TemplateException.class,
                        e -> assertThat(e.plainMessage()).isEqualTo("'int object' has no attribute 'a'"));
    }

    @Test
    void refusesDeeplyNestedVariables() {
        List<Object> nested = new ArrayList<>();
        nested.add(nested);
        assertLimited(() -> ChatTemplate.parse("").render(Map.of("v", nested)), "200 levels");
    }

    @Test
    void refusesLongSource() {
        assertLimited(() -> ChatTemplate.parse("x".repeat((1 << 20) + 1)), "1048576");
    }

    @Test
    void parsesLongSourceWithoutLineBreaksInLinearTime() {
        String source =
                "{% if 1 %} {% endif %}".repeat(30_000) + "1".repeat(100_000) + "{{ '" + "\\".repeat(100_000) + "' }}";
        assertTimeoutPreemptively(Duration.ofSeconds(20), () -> ChatTemplate.parse(source));
        String number = "{{ " + "1_".repeat(100_000) + "1.x }}";
        assertTimeoutPreemptively(
                Duration.ofSeconds(20),
                () -> assertThatThrownBy(() -> ChatTemplate.parse(number)).isInstanceOf(TemplateException.class));
    }

    @Test
    void reachesTheDepthLimitBeforeTheEndOfASmallStack() throws InterruptedException {
        String nested =
                "{% macro m(x) %}{% if true %}{% for y in [1] %}{% set z %}{{ ('' ~ (m([x]) + '')|trim) }}{% endset %}"
                        + "{% endfor %}{% endif %}{% endmacro %}{{ m(1) }}";
        AtomicReference<Throwable> thrown = new AtomicReference<>();
        Runnable render = () -> {
            try {
                ChatTemplate.parse(nested).render(Map.of());
            } catch (Throwable e) {
                thrown.set(e);
            }
        };
        Thread thread = new Thread(null, render, "small-stack", 512 * 1024);
        thread.start();
        thread.join();
        assertThat(thrown.get())
                .isInstanceOfSatisfying(
                        TemplateException.class,
                        e -> assertThat(e.plainMessage()).contains("600 levels"));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{{ s.getClass() }}",
                "{{ s.class.forName('java.lang.Runtime') }}",
                "{{ s.__class__.__mro__ }}",
                "{{ s['__class__'].x }}",
                "{{ [].__class__.__base__ }}",
                "{{ m.getClass() }}",
                "{{ m.entrySet() }}",
                "{{ range.__globals__.x }}",
                "{{ namespace.__init__.x }}",
                "{{ self.x }}",
                "{{ '{0.__class__.x}'.format(s) }}",
                "{{ s.format_map({}) }}",
                "{{ lipsum.__globals__ }}",
                "{{ m.update({'x': 1}) }}",
                "{{ m.pop('a') }}",
                "{{ m.clear() }}",
                "{{ l.append(1) }}",
                "{{ l.sort() }}",
                "{% set m.a = 2 %}",
                "{% include '/etc/passwd' %}",
                "{% import 'x' as y %}",
                "{% extends 'x' %}",
            })
    void reachesNothingOutside(String template) {
        Map<String, Object> variables = Map.of("s", "text", "m", Map.of("a", 1), "l", List.of(1));
        assertThatThrownBy(() -> ChatTemplate.parse(template).render(variables)).isInstanceOf(TemplateException.class);
    }

    @Test
    void limitsCanBeLowered() {
        ChatTemplate template = ChatTemplate.parse("{% for i in range(50) %}{{ i }}{% endfor %}");
        assertThat(template.render(Map.of()).text()).hasSize(90);
        assertLimited(
                () -> template.withLimits(new TemplateLimits(100, 1000, 1000, 50, 1000))
                        .render(Map.of()),
                "100 steps");
        assertLimited(
                () -> template.withLimits(new TemplateLimits(9999, 50, 9999, 50, 1000))
                        .render(Map.of()),
                "50 characters");
        assertLimited(
                () -> template.withLimits(new TemplateLimits(9999, 1000, 50, 50, 1000))
                        .render(Map.of()),
                "50 characters in all");
        assertLimited(
                () -> template.withLimits(new TemplateLimits(9999, 1000, 9999, 1, 1000))
                        .render(Map.of()),
                "1 levels");
        assertLimited(
                () -> template.withLimits(new TemplateLimits(9999, 1000, 9999, 50, 49))
                        .render(Map.of()),
                "49 elements");
    }

    @Test
    void allowsAsMuchWorkAsALongConversationNeeds() {
        // Builds its text in a namespace, which copies it for every message: 400 * 0.4 M characters.
        ChatTemplate template = ChatTemplate.parse("{% set ns = namespace(t='') %}{% for m in messages %}"
                + "{% set ns.t = ns.t + '<|im_start|>' + m.content + '<|im_end|>' %}{% endfor %}{{ ns.t }}");
        List<Object> messages = new ArrayList<>();
        for (int i = 0; i < 400; i++) {
            messages.add(Map.of("content", new InputText("word ".repeat(200))));
        }
        assertThat(template.render(Map.of("messages", messages)).spans()).hasSize(801);
    }
}
