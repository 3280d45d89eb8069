package dev.prefetch.grammar;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.math.BigDecimal;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class JsonSchemaGrammarTest {

    /** Schemas with texts that are valid and texts that are not. */
    private static Stream<Arguments> schemas() {
        return Stream.of(
                Arguments.of(
                        "{'type':'object','properties':{'a':{'type':'string'},'b':{'type':'integer'}},'required':['b']}",
                        List.of("{'b':1}", "{'a':'x','b':-7}", "{'a': 'x', 'b': 0}", "{\n  'a': '',\n  'b': 1\n}"),
                        List.of(
                                "{}",
                                "{'a':'x'}",
                                "{'b':1,'a':'x'}",
                                "{'b':01}",
                                "{'b':1,}",
                                "{'b':1.5}",
                                "{'c':1,'b':1}")),
                Arguments.of(
                        "{'properties':{'a':true,'b':true,'c':true}}",
                        List.of(
                                "{}",
                                "{'a':1}",
                                "{'b':1}",
                                "{'a':1,'c':null}",
                                "{'b':[],'c':{}}",
                                "{'a':1,'b':2,'c':3}"),
                        List.of("{,'a':1}", "{'a':1'b':2}", "{'a':1,}", "[]")),
                Arguments.of(
                        "{'type':'array','items':{'enum':['x',2,null]},'minItems':1,'maxItems':2}",
                        List.of("['x']", "[2, null]", "[\n  null\n]"),
                        List.of("[]", "['x',2,'x']", "['y']")),
                Arguments.of(
                        "{'type':'array','prefixItems':[{'type':'string'},{'type':'integer'}],'items':false,'minItems':1}",
                        List.of("['a']", "['a', 1]"),
                        List.of("[]", "[1]", "['a',1,2]")),
                Arguments.of(
                        "{'type':'string','minLength':2,'maxLength':3}",
                        List.of("'ab'", "'äöü'", "'\\u00e9\\n'", "'😀😀'"),
                        List.of("'a'", "'abcd'", "'\\ud83d\\ude00x'", "'a\nb'", "'\\x'")),
                Arguments.of(
                        "{'type':['string','null']}", List.of("'x'", "null", " null"), List.of("1", "nul", "  null")),
                Arguments.of(
                        "{'anyOf':[{'$ref':'#/$defs/A'},{'type':'boolean'}],'$defs':{'A':{'const':'a'}}}",
                        List.of("'a'", "true"),
                        List.of("'b'")),
                Arguments.of(
                        "{'$ref':'#/$defs/N','$defs':{'N':{'type':'object','properties':{'n':{'anyOf':[{'$ref':'#/$defs/N'},"
                                + "{'type':'null'}]}},'required':['n']}}}",
                        List.of("{'n':null}", "{'n':{'n':{'n':null}}}"),
                        List.of("{'n':{}}", "{'n':{'n':null}")),
                Arguments.of(
                        "{'allOf':[{'$ref':'#/$defs/A'},{'properties':{'b':{'type':'null'}},'required':['b']}],"
                                + "'$defs':{'A':{'type':'object','properties':{'a':{'type':'null'}},'required':['a']}}}",
                        List.of("{'a':null,'b':null}"),
                        List.of("{}", "{'a':null}")),
                Arguments.of(
                        "{'oneOf':[{'properties':{'k':{'const':'x'}},'required':['k']},"
                                + "{'properties':{'k':{'const':'y'},'v':{'type':'integer'}},'required':['k','v']}]}",
                        List.of("{'k':'x'}", "{'k':'y','v':3}"),
                        List.of("{'k':'y'}", "{'k':'z'}")),
                Arguments.of(
                        "{'type':'object','additionalProperties':{'type':'integer'}}",
                        List.of("{}", "{'any':1,'thing':2}"),
                        List.of("{'any':'1'}")),
                Arguments.of(
                        "{'type':'string','format':'date'}",
                        List.of("'2024-02-29'", "'2000-02-29'", "'2023-12-31'", "'0001-04-30'"),
                        List.of(
                                "'2023-02-29'",
                                "'1900-02-29'",
                                "'2023-04-31'",
                                "'2023-13-01'",
                                "'2023-00-10'",
                                "'23-1-1'")),
                Arguments.of(
                        "{'type':'string','format':'date-time'}",
                        List.of("'2024-01-01T00:00:00Z'", "'2024-01-01T23:59:59.123+02:00'"),
                        List.of("'2024-01-01T24:00:00Z'", "'2024-01-01 00:00:00Z'", "'2024-01-01T00:00:00'")),
                Arguments.of(
                        "{'type':'string','format':'ipv4'}",
                        List.of("'0.0.0.0'", "'255.255.255.255'", "'10.1.99.249'"),
                        List.of("'256.0.0.1'", "'1.2.3'", "'01.2.3.4'")),
                Arguments.of(
                        "{'type':'string','format':'int-or-so'}",
                        List.of("'a custom format is an annotation'"),
                        List.of("1")),
                Arguments.of(
                        "{'type':'number'}", List.of("0", "-1.5", "1e3", "2.5E-10"), List.of("01", "1.", ".5", "+1")),
                Arguments.of("true", List.of("{'a':[1,true,{}]}", "'x'", "null"), List.of("{a:1}")),
                Arguments.of("{}", List.of("[]"), List.of("")));
    }

    private static String json(String text) {
        return text.replace('\'', '"');
    }

    @ParameterizedTest
    @MethodSource("schemas")
    void takesWhatIsValidAndNothingElse(String schema, List<String> valid, List<String> invalid) {
        Grammar grammar = Grammar.jsonSchema(json(schema));

        assertThat(valid)
                .allSatisfy(text -> assertThat(Texts.matches(grammar, json(text)))
                        .as("%s matches", text)
                        .isTrue());
        assertThat(invalid)
                .allSatisfy(text -> assertThat(Texts.matches(grammar, json(text)))
                        .as("%s matches", text)
                        .isFalse());
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})
    void integersAreExactlyThoseBetweenTheBounds(int seed) {
        SplittableRandom random = new SplittableRandom(seed);
        int low = random.nextInt(-1200, 1200);
        int high = low + random.nextInt(1200);
        Grammar grammar =
                Grammar.jsonSchema("{\"type\":\"integer\",\"minimum\":%d,\"maximum\":%d}".formatted(low, high));

        for (int value = -2600; value <= 2600; value++) {
            assertThat(Texts.matches(grammar, String.valueOf(value)))
                    .as("%d in [%d, %d]", value, low, high)
                    .isEqualTo(value >= low && value <= high);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})
    void numbersAreExactlyThoseBetweenTheBounds(int seed) {
        SplittableRandom random = new SplittableRandom(seed);
        boolean strictLow = random.nextBoolean();
        boolean strictHigh = random.nextBoolean();
        BigDecimal low = BigDecimal.valueOf(random.nextInt(-250, 250), 2);
        BigDecimal high = low.add(BigDecimal.valueOf(1 + random.nextInt(300), 2));
        Grammar grammar = Grammar.jsonSchema("{\"type\":\"number\",\"%s\":%s,\"%s\":%s}"
                .formatted(
                        strictLow ? "exclusiveMinimum" : "minimum",
                        low.toPlainString(),
                        strictHigh ? "exclusiveMaximum" : "maximum",
                        high.toPlainString()));

        for (int thousandths = -6000; thousandths <= 6000; thousandths++) {
            BigDecimal value = BigDecimal.valueOf(thousandths, 3);
            int toLow = value.compareTo(low);
            int toHigh = value.compareTo(high);
            boolean inside = (strictLow ? toLow > 0 : toLow >= 0) && (strictHigh ? toHigh < 0 : toHigh <= 0);
            // A zero at the end may be left out: with and without it, what is outside must not be there.
            String shortest =
                    value.signum() == 0 ? "0" : value.stripTrailingZeros().toPlainString();
            assertThat(Texts.matches(grammar, shortest))
                    .as("%s in %s", shortest, grammar)
                    .isEqualTo(inside);
            if (!inside) {
                assertThat(Texts.matches(grammar, value.toPlainString())).isFalse();
            }
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{'type':'string','pattern':'a+'}|'pattern' is not supported|#",
                "{'type':'object','properties':{'x':{'type':'string','pattern':'a'}}}|'pattern'|#/properties/x",
                "{'type':'object','patternProperties':{}}|'patternProperties'|#",
                "{'not':{'type':'string'}}|'not'|#",
                "{'if':true}|'if'|#",
                "{'type':'array','uniqueItems':true}|'uniqueItems'|#",
                "{'type':'array','contains':{}}|'contains'|#",
                "{'type':'integer','multipleOf':3}|'multipleOf'|#",
                "{'type':'string','format':'uri'}|the format 'uri'|#",
                "{'type':'string','format':'date','minLength':3}|minLength or maxLength|#",
                "{'enum':['a'],'minLength':1}|'minLength' beside enum|#",
                "{'$ref':'other.json'}|leads out of the schema|#",
                "{'$ref':'#/$defs/Nope'}|leads nowhere|#",
                "{'type':'text'}|no type 'text'|#",
                "{'type':'string','maxLength':5000}|maxLength must be between 0 and 4096|#",
                "{'oneOf':[{'type':'string'},{'type':'string','maxLength':3}]}|could both be valid|#",
                "{'type':'integer','minimum':5,'maximum':4}|no number lies between|#",
                "false|nothing is valid|#"
            })
    void refusesWhatItCannotEnforceByName(String schema, String message, String place) {
        assertThatThrownBy(() -> Grammar.jsonSchema(json(schema)))
                .isInstanceOf(UnsupportedSchemaException.class)
                .hasMessageContaining(json(message).replace('"', '\''))
                .hasMessageContaining("at " + place);
    }

    @Test
    void refusesASchemaThatIsNotJson() {
        assertThatThrownBy(() -> Grammar.jsonSchema("{")).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void refusesARecursionWithoutEnd() {
        assertThatThrownBy(() -> Grammar.jsonSchema("{\"$ref\":\"#\"}"))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("never gets beyond itself");
    }

    @Test
    void whiteSpaceEnds() {
        Grammar grammar = Grammar.jsonSchema("{\"type\":\"object\",\"additionalProperties\":false}");

        assertThat(Texts.begins(grammar, "{\n" + " ".repeat(20))).isTrue();
        assertThat(Texts.begins(grammar, "{\n" + " ".repeat(21))).isFalse();
        assertThat(Texts.begins(grammar, "{\n\n")).isFalse();
    }
}
