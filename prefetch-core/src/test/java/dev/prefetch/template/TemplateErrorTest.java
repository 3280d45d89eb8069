package dev.prefetch.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import dev.prefetch.template.TemplateException.Kind;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TemplateErrorTest {

    private static TemplateException failure(String template, Map<String, ?> variables) {
        return catchThrowableOfType(
                TemplateException.class, () -> ChatTemplate.parse(template).render(variables));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '#',
            quoteCharacter = '`',
            value = {
                "a\\n{% if x %}b                  # 2 # 4  # '{% if %}' is never closed",
                "{% for x in l %}{% endif %}      # 1 # 20 # unknown or misplaced block 'endif' within 'for' of line 1",
                "{% nothing %}                    # 1 # 4  # unknown block 'nothing'",
                "a\\n{% generation %}a{% endgeneration %} # 2 # 4 # unknown block 'generation'",
                "{% include 'x' %}                # 1 # 4  # '{% include %}' is not supported in chat templates",
                "a\\n\\n  {{ x                    # 3 # 3  # the tag is never closed by '}}'",
                "{{ 'abc }}                       # 1 # 4  # the string is never closed by '",
                "{% raw %}abc                     # 1 # 1  # '{% raw %}' is never closed by '{% endraw %}'",
                "{{ 1 + }}                        # 1 # 8  # expected an expression, got '}}'",
                "{{ (1, 2] }}                     # 1 # 9  # unexpected ']', expected ')'",
                "{{ a b }}                        # 1 # 6  # expected '}}', got 'b'",
                "{{ a. }}                         # 1 # 7  # expected a name or a number after '.', got '}}'",
                "{{ f(a=1, 2) }}                  # 1 # 11 # a positional argument cannot follow a named or unpacked one",
                "{% set true = 1 %}               # 1 # 8  # cannot assign to 'true'",
                "{% break %}                      # 1 # 4  # '{% break %}' outside a loop",
                "{{ a ? b }}                      # 1 # 6  # unexpected character '?'",
                "{{ 99999999999999999999 }}       # 1 # 4  # the integer 99999999999999999999 does not fit in 64 bits",
                "{{ '\\x4' }}                     # 1 # 5  # malformed character escape in a string",
                "{% macro m(a=1, b) %}            # 1 # 18 # a parameter without a default follows one with a default",
            })
    void saysWhereAndWhySourceIsNotATemplate(String template, int line, int column, String message) {
        TemplateException e = failure(template.replace("\\n", "\n"), Map.of());
        assertThat(e.kind()).isEqualTo(Kind.SYNTAX);
        assertThat(e.plainMessage()).isEqualTo(message);
        assertThat(List.of(e.line(), e.column())).isEqualTo(List.of(line, column));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '#',
            quoteCharacter = '`',
            value = {
                "a\\n{{ m.content.x.y }}     # 2 # 16 # 'str object' has no attribute 'x'",
                "{{ nothing.x }}             # 1 # 12 # 'nothing' is undefined",
                "{{ m.nothing.x }}           # 1 # 14 # 'dict object' has no attribute 'nothing'",
                "{{ l[5] + 1 }}              # 1 # 9  # list object has no element 5",
                "{{ 'a' + 1 }}               # 1 # 8  # '+' is not defined for str and int; use '~' or the filter 'string' to join text with other values",
                "{{ 'a' + m }}               # 1 # 8  # '+' is not defined for str and dict; use '~' or the filter 'string' to join text with other values",
                "{{ 1 < 'a' }}               # 1 # 6  # '<' is not defined for int and str",
                "{{ 1 / 0 }}                 # 1 # 6  # division by zero",
                "{{ m() }}                   # 1 # 5  # a dict cannot be called",
                "{{ nothing() }}             # 1 # 11 # 'nothing' is undefined",
                "{{ l|nothing }}             # 1 # 6  # there is no filter 'nothing'",
                "{{ l is nothing }}          # 1 # 9  # there is no test 'nothing'",
                "{{ l|indent }}              # 1 # 6  # indent() needs a string, got a list",
                "{{ 'a'|replace('a') }}      # 1 # 8  # replace() is missing the argument 'new'",
                "{{ 'a'|trim(zip=1) }}       # 1 # 8  # trim() has no argument 'zip'",
                "{{ 'a'.split(1) }}          # 1 # 13 # split() needs a string as 'sep', got int",
                "{{ l|map('upper')|length }} # 1 # 19 # a generator has no length; use the filter 'list' first",
                "{% for x in 5 %}{% endfor %}     # 1 # 4 # a int cannot be iterated over",
                "{% for a, b in [1] %}{% endfor %} # 1 # 8 # a int cannot be iterated over",
                "{% for a, b in ['xyz'] %}{% endfor %} # 1 # 8 # cannot unpack 3 value(s) into 2 variables",
                "{% set m.x = 1 %}           # 1 # 8  # cannot set an attribute of 'm', which is not a namespace()",
                "{{ l.append(1) }}           # 1 # 12 # 'append' would change a list, which templates must not; build a new one, such as 'list + [item]'",
                "{{ nothing|tojson }}        # 1 # 12 # tojson got a value that does not exist: 'nothing' is undefined",
                "{% macro f(a) %}{{ a.x }}{% endmacro %}\\n{{ f() }} # 1 # 22 # parameter 'a' was not provided",
            })
    void saysWhereAndWhyAnOperationFailed(String template, int line, int column, String message) {
        TemplateException e =
                failure(template.replace("\\n", "\n"), Map.of("m", Map.of("content", "text"), "l", List.of(1, 2)));
        assertThat(e.kind()).isEqualTo(Kind.EVALUATION);
        assertThat(e.plainMessage()).isEqualTo(message);
        assertThat(List.of(e.line(), e.column())).isEqualTo(List.of(line, column));
    }

    @Test
    void saysWhereACommentStarts() {
        TemplateException e = failure("ab {# c", Map.of());
        assertThat(e.plainMessage()).isEqualTo("the comment is never closed by '#}'");
        assertThat(List.of(e.line(), e.column())).isEqualTo(List.of(1, 4));
    }

    @Test
    void passesTheMessageOfRaiseExceptionThrough() {
        TemplateException e = failure(
                "{% if messages[0].role == 'system' %}\n  {{ raise_exception('System role not supported') }}\n{% endif %}",
                Map.of("messages", List.of(Map.of("role", "system"))));
        assertThat(e.kind()).isEqualTo(Kind.RAISED);
        assertThat(e.plainMessage()).isEqualTo("System role not supported");
        assertThat(e).hasMessage("System role not supported (line 2, column 21 of the chat template)");
        assertThat(e.line()).isEqualTo(2);
        assertThat(e.column()).isEqualTo(21);
    }
}
