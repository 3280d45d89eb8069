package dev.prefetch.grammar;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class JsonTest {

    @Test
    void readsEveryKindOfValueAndKeepsTheOrder() {
        Object value = Json.parse(" {\"z\": [1, -2.5, 1e3, true, false, null], \"a\": {\"b\": \"x\\n\\u00e9\\\"\"}} ");
        assertThat(value).isInstanceOf(Map.class);
        assertThat(((Map<?, ?>) value).keySet().stream().map(Object::toString)).containsExactly("z", "a");
        List<?> list = (List<?>) ((Map<?, ?>) value).get("z");
        assertThat(list.get(0)).isEqualTo(1L);
        assertThat(list.get(1)).isEqualTo(-2.5);
        assertThat(list.get(2)).isEqualTo(1000.0);
        assertThat(list.get(3)).isEqualTo(true);
        assertThat(list.get(5)).isNull();
        assertThat(((Map<?, ?>) value).get("a")).isEqualTo(Map.of("b", "x\né\""));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"", "{", "[1,]", "{\"a\" 1}", "01", "\"a", "\"\\x\"", "tru", "1 2", "{a: 1}", "\"\n\"", "-"})
    void refusesWhatIsNotJson(String text) {
        assertThatIllegalArgumentException().isThrownBy(() -> Json.parse(text)).withMessageContaining("position");
    }

    @Test
    void refusesNestingThatWouldOverflowTheStack() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> Json.parse("[".repeat(100_000)))
                .withMessageContaining("nested");
    }
}
