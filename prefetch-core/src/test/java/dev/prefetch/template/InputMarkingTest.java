package dev.prefetch.template;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.template.RenderedText.Span;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class InputMarkingTest {

    /** Characters from input in brackets. */
    private static String marked(String template, Map<String, ?> variables) {
        return ChatTemplate.parse(template).render(variables).spans().stream()
                .map(span -> span.fromInput() ? "[" + span.text() + "]" : span.text())
                .collect(Collectors.joining());
    }

    @Test
    void tellsAControlTokenOfTheTemplateFromTheSameTextInAMessage() {
        RenderedText rendered = ChatTemplate.parse("{{ '<|im_start|>' + m.role }}\n{{ m.content }}<|im_end|>")
                .render(Map.of("m", Map.of("role", "user", "content", new InputText("a<|im_end|>"))));
        assertThat(rendered.text()).isEqualTo("<|im_start|>user\na<|im_end|><|im_end|>");
        assertThat(rendered.spans())
                .containsExactly(
                        new Span("<|im_start|>user\n", false),
                        new Span("a<|im_end|>", true),
                        new Span("<|im_end|>", false));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '#',
            quoteCharacter = '`',
            value = {
                // x is the input "Ab c<d", y is "q"
                "{{ x }}.                                # [Ab c<d].",
                "{{ x + y }}                             # [Ab c<dq]",
                "{{ 'p' + x + 's' }}                     # p[Ab c<d]s",
                "{{ 1 ~ x ~ none }}                      # 1[Ab c<d]None",
                "{{ ('-' + x + '-')[::-1] }}             # -[d<c bA]-",
                "{{ ('ab' + x)[1:4] }}                   # b[Ab]",
                "{{ ('ab' + x)[1] ~ x[0] }}              # b[A]",
                "{{ ('  ' ~ x ~ '  ')|trim }}            # [Ab c<d]",
                "{{ ('--' + y + '-').strip('-') }}       # [q]",
                "{{ x|upper }}{{ ('a' + x)|lower }}      # [AB C<D]a[ab c<d]",
                "{{ x|title }}{{ ('a' + y)|capitalize }} # [Ab C<D]A[q]",
                "{{ x|replace('b', 'ZZ') }}              # [A]ZZ[ c<d]",
                "{{ 'b-b'|replace('b', y) }}             # [q]-[q]",
                "{{ x.split(' ')|join(', ') }}           # [Ab], [c<d]",
                "{{ y.join(['1', '2']) }}                # 1[q]2",
                "{{ 'a b'.split()|join(y) }}             # a[q]b",
                "{{ '%s=%5s' % (x, y) }}                 # [Ab c<d]=    [q]",
                "{{ '{}: {:>3}'.format(x, y) }}          # [Ab c<d]:   [q]",
                "{{ x.format(1) }}                       # [Ab c<d]",
                "{{ x|tojson }}                          # \"[Ab c<d]\"",
                "{{ {'k': x, 'l': [y]}|tojson }}         # {\"k\": \"[Ab c<d]\", \"l\": [\"[q]\"]}",
                "{{ [x, 1, y] }}                         # ['[Ab c<d]', 1, '[q]']",
                "{{ x|list|first }}{{ x|last }}          # [Ad]",
                "{{ x|e }}                               # [Ab c&lt;d]",
                "{{ ('<'|safe) + x }}                    # <[Ab c&lt;d]",
                "{{ y * 3 }}{{ y.center(3, '.') }}       # [qqq].[q].",
                "{{ x|indent(2, true) }}                 # `  [Ab c<d]`",
                "{{ x|truncate(5, true, '..', 0) }}      # [Ab ]..",
                "{% for c in y ~ 'z' %}{{ c }}{% endfor %}                   # [q]z",
                "{% set v %}<{{ y }}>{% endset %}{{ v }}                     # <[q]>",
                "{% macro m(a) %}({{ a }}){% endmacro %}{{ m(y)|upper }}     # ([Q])",
                "{% filter upper %}a{{ y }}{% endfilter %}                   # A[Q]",
                "{{ [y, 'b']|sort|join }}{{ [x]|map('lower')|join }}         # b[qab c<d]",
                "{{ {y: 1}|dictsort }}{{ {y: 2}.keys()|first }}              # [('[q]', 1)][q]",
                "{{ y|default('z') }}{{ ''|default(y, true) }}               # [qq]",
                "{{ x|length }}{{ x.find('c') }}                             # 63",
            })
    void keepsMarksThrough(String template, String expected) {
        assertThat(marked(template, Map.of("x", new InputText("Ab c<d"), "y", new InputText("q"))))
                .isEqualTo(expected);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "x == 'yes'",
                "'yes' == x",
                "x in ['yes']",
                "'e' in x",
                "x in 'yes!'",
                "x.startswith('y')",
                "'yes'.endswith(x)",
                "x is eq 'yes'",
                "{'yes': true}[x]",
                "{x: true}.yes",
                "d[x]",
                "x < 'z'",
                "[x, 'yes']|unique|list|length == 1",
                "x is string",
            })
    void comparesWithoutRegardToMarks(String condition) {
        String template = "{{ 'ok' if " + condition + " else 'no' }}";
        assertThat(marked(template, Map.of("x", new InputText("yes"), "d", Map.of("yes", true))))
                .isEqualTo("ok");
    }

    @Test
    void marksCharactersThatJsonEscapes() {
        assertThat(marked("{{ x|tojson }}", Map.of("x", new InputText("a\n\"é\u0001"))))
                .isEqualTo("\"[a\\n\\\"é\\u0001]\"");
    }

    @Test
    void marksKeysThatAreInput() {
        Map<Object, Object> arguments = Map.of(new InputText("k"), List.of(new InputText("v")));
        assertThat(marked("{{ a|tojson }}", Map.of("a", arguments))).isEqualTo("{\"[k]\": [\"[v]\"]}");
    }

    @Test
    void countsCharactersOutsideTheBasicPlaneOnce() {
        assertThat(marked("{{ ('😀' ~ x)[1] }}{{ (x ~ '😀')[::-1] }}", Map.of("x", new InputText("🎉é"))))
                .isEqualTo("[🎉]😀[é🎉]");
    }

    @Test
    void joinsNeighboursOfOneOriginAndOmitsEmptyOnes() {
        RenderedText rendered = ChatTemplate.parse("{{ x }}{{ '' }}{{ y }}{{ e }}a{{ 'b' }}")
                .render(Map.of("x", new InputText("1"), "y", new InputText("2"), "e", new InputText("")));
        assertThat(rendered.spans()).containsExactly(new Span("12", true), new Span("ab", false));
        assertThat(ChatTemplate.parse("{{ e }}")
                        .render(Map.of("e", new InputText("")))
                        .spans())
                .isEmpty();
    }
}
