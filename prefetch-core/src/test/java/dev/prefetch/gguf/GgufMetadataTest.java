package dev.prefetch.gguf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import dev.prefetch.testing.GgufWriter;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class GgufMetadataTest {

    private static final GgufMetadata METADATA = GgufMetadata.of(
            "model.gguf",
            Map.ofEntries(
                    Map.entry("string", "text"),
                    Map.entry("bool", true),
                    Map.entry("integer", 7L),
                    Map.entry("large", 1L << 40),
                    Map.entry("float", 0.1f),
                    Map.entry("double", 0.5),
                    Map.entry("strings", List.of("a", "b")),
                    Map.entry("integers", new long[] {1, 2}),
                    Map.entry("floats", new float[] {1, 2}),
                    Map.entry("bools", new boolean[] {true})));

    static Stream<Arguments> wrongTypes() {
        return Stream.of(
                wrong(m -> m.string("integer"), "key 'integer' is an integer, expected a string"),
                wrong(m -> m.stringOr("strings", ""), "key 'strings' is an array of type string, expected a string"),
                wrong(m -> m.integer("float"), "key 'float' is a float, expected an integer"),
                wrong(m -> m.intOr("string", 1), "key 'string' is a string, expected an integer"),
                wrong(m -> m.intOr("large", 1), "key 'large' is 1099511627776, which does not fit a signed 32-bit"),
                wrong(m -> m.requireInt("large"), "key 'large' is 1099511627776, which does not fit a signed 32-bit"),
                wrong(m -> m.number("bool"), "key 'bool' is a bool, expected a number"),
                wrong(m -> m.floatOr("floats", 1), "key 'floats' is an array of type float32, expected a number"),
                wrong(m -> m.bool("integer"), "key 'integer' is an integer, expected a bool"),
                wrong(m -> m.strings("string"), "key 'string' is a string, expected an array of strings"),
                wrong(m -> m.strings("integers"), "an array of type int64, expected an array of strings"),
                wrong(m -> m.integers("integer"), "key 'integer' is an integer, expected an array of integers"),
                wrong(m -> m.integers("floats"), "an array of type float32, expected an array of integers"),
                wrong(m -> m.floats("integers"), "an array of type int64, expected an array of floats"),
                wrong(m -> m.bools("integers"), "an array of type int64, expected an array of bools"),
                wrong(m -> m.list("double"), "key 'double' is a float, expected an array"),
                wrong(m -> m.requireString("absent"), "key 'absent' is missing"),
                wrong(m -> m.requireInt("absent"), "key 'absent' is missing"),
                wrong(m -> m.requireLong("absent"), "key 'absent' is missing"),
                wrong(m -> m.requireFloat("absent"), "key 'absent' is missing"),
                wrong(m -> m.requireStrings("absent"), "key 'absent' is missing"));
    }

    private static Arguments wrong(Function<GgufMetadata, Object> access, String message) {
        return Arguments.of(access, message);
    }

    @ParameterizedTest
    @MethodSource("wrongTypes")
    void refusesWrongTypesAndMissingKeys(Function<GgufMetadata, Object> access, String message) {
        assertThatExceptionOfType(GgufFormatException.class)
                .isThrownBy(() -> access.apply(METADATA))
                .withMessageStartingWith("model.gguf: ")
                .withMessageContaining(message);
    }

    @Test
    void givesValuesOfTheAskedType() {
        assertThat(METADATA.requireString("string")).isEqualTo("text");
        assertThat(METADATA.requireInt("integer")).isEqualTo(7);
        assertThat(METADATA.requireLong("large")).isEqualTo(1L << 40);
        assertThat(METADATA.requireFloat("float")).isEqualTo(0.1f);
        assertThat(METADATA.number("integer")).contains(7.0);
        assertThat(METADATA.boolOr("bool", false)).isTrue();
        assertThat(METADATA.requireStrings("strings")).containsExactly("a", "b");
        assertThat(METADATA.integers("integers")).hasValue(new long[] {1, 2});
        assertThat(METADATA.floats("floats")).hasValue(new float[] {1, 2});
        assertThat(METADATA.bools("bools")).hasValue(new boolean[] {true});
        assertThat(METADATA.contains("string")).isTrue();
        assertThat(METADATA.isArray("string")).isFalse();
    }

    @Test
    void givesFallbacksForAbsentKeysOnly() {
        assertThat(METADATA.stringOr("absent", "x")).isEqualTo("x");
        assertThat(METADATA.intOr("absent", -3)).isEqualTo(-3);
        assertThat(METADATA.longOr("absent", 3L << 40)).isEqualTo(3L << 40);
        assertThat(METADATA.floatOr("absent", 1.5f)).isEqualTo(1.5f);
        assertThat(METADATA.boolOr("absent", true)).isTrue();
        assertThat(METADATA.strings("absent")).isEmpty();
        assertThat(METADATA.integers("absent")).isEmpty();
        assertThat(METADATA.floats("absent")).isEmpty();
        assertThat(METADATA.bools("absent")).isEmpty();
        assertThat(METADATA.list("absent")).isEmpty();
        assertThat(METADATA.contains("absent")).isFalse();
        assertThat(METADATA.intOr("integer", -3)).isEqualTo(7);
    }

    @Test
    void refusesUnsignedValuesBeyondLong(@TempDir Path folder) {
        Path file = new GgufWriter()
                .uint64("scalar", -1)
                .unsignedArray("array", new long[] {1, -1})
                .write(folder.resolve("unsigned.gguf"));
        try (GgufFile gguf = GgufFile.open(file)) {
            assertThatExceptionOfType(GgufFormatException.class)
                    .isThrownBy(() -> gguf.metadata().integer("scalar"))
                    .withMessage(file + ": key 'scalar' is 18446744073709551615, which does not fit a signed 64-bit"
                            + " integer");
            assertThatExceptionOfType(GgufFormatException.class)
                    .isThrownBy(() -> gguf.metadata().integers("array"))
                    .withMessageContaining("key 'array' has 18446744073709551615 at index 1");
        }
    }

    @Test
    void cannotBeChangedFromOutside() {
        long[] integers = {1, 2};
        Map<String, Object> values = new LinkedHashMap<>(Map.of("integers", integers));
        GgufMetadata metadata = GgufMetadata.of("model.gguf", values);
        integers[0] = 9;
        values.clear();
        metadata.integers("integers").orElseThrow()[1] = 9;
        assertThat(metadata.integers("integers")).hasValue(new long[] {1, 2});
        assertThatExceptionOfType(UnsupportedOperationException.class)
                .isThrownBy(() -> metadata.keys().clear());
    }

    @Test
    void refusesValuesWithoutAMetadataType() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> GgufMetadata.of("model.gguf", Map.of("key", Path.of("x"))))
                .withMessageContaining("key 'key'");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> GgufMetadata.of("model.gguf", Map.of("key", List.of(1, 2))));
    }
}
