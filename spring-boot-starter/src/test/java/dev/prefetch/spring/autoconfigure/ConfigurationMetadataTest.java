package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** What an editor shows of the properties. */
class ConfigurationMetadataTest {

    private static JsonNode metadata() throws IOException {
        try (InputStream in = Objects.requireNonNull(
                ConfigurationMetadataTest.class.getResourceAsStream("/META-INF/spring-configuration-metadata.json"))) {
            return JsonMapper.shared().readTree(in);
        }
    }

    private static Stream<String> everyProperty() {
        return Stream.of(
                        names("spring.ai.prefetch.", PrefetchProperties.class)
                                .filter(name -> !name.matches(".*\\.(chat|embedding|memory|cuda|fallback)")),
                        names("spring.ai.prefetch.chat.", PrefetchProperties.Chat.class),
                        names("spring.ai.prefetch.memory.", PrefetchProperties.Memory.class),
                        names("spring.ai.prefetch.cuda.", PrefetchProperties.Cuda.class),
                        names("spring.ai.prefetch.embedding.", PrefetchProperties.Embedding.class),
                        names("spring.ai.prefetch.fallback.", PrefetchProperties.Fallback.class))
                .flatMap(properties -> properties);
    }

    private static Stream<String> names(String prefix, Class<?> properties) {
        return Arrays.stream(properties.getRecordComponents())
                .map(component -> prefix
                        + component.getName().replaceAll("([A-Z])", "-$1").toLowerCase(Locale.ROOT));
    }

    @ParameterizedTest
    @MethodSource("everyProperty")
    void aPropertyHasADescription(String name) throws IOException {
        List<JsonNode> found = metadata()
                .get("properties")
                .valueStream()
                .filter(property -> property.get("name").asString().equals(name))
                .toList();

        assertThat(found)
                .singleElement()
                .satisfies(property ->
                        assertThat(property.path("description").asString("")).endsWith("."));
    }

    /** Also those of Actuator that the starter adds. */
    @Test
    void nothingLacksADescription() throws IOException {
        assertThat(metadata().get("properties").valueStream())
                .isNotEmpty()
                .allSatisfy(property -> assertThat(property.path("description").asString(""))
                        .as(property.get("name").asString())
                        .isNotBlank());
    }

    /** A model by name has every property that a single one has, so that nothing is lost by giving it a name. */
    @Test
    void aModelByNameHasTheSameProperties() {
        assertThat(names("", PrefetchProperties.Model.class).filter(name -> !name.equals("serves")))
                .containsExactlyInAnyOrderElementsOf(names("", PrefetchProperties.class)
                        .filter(name -> !List.of(
                                        "cache-directory",
                                        "load-in-background",
                                        "warm-up",
                                        "warm-up-limit",
                                        "models",
                                        "primary",
                                        "fallback")
                                .contains(name))
                        .toList());
    }

    @Test
    void thereIsNoOtherProperty() throws IOException {
        assertThat(metadata()
                        .get("properties")
                        .valueStream()
                        .map(property -> property.get("name").asString())
                        // Those of the endpoint and the health indicator are Actuator's own.
                        .filter(name -> !name.startsWith("management.")))
                .containsExactlyInAnyOrderElementsOf(everyProperty().toList());
    }

    @Test
    void theBackendsAreSuggested() throws IOException {
        JsonNode hint = metadata()
                .get("hints")
                .valueStream()
                .filter(node -> node.get("name").asString().equals("spring.ai.prefetch.backend"))
                .findFirst()
                .orElseThrow();

        assertThat(hint.get("values")
                        .valueStream()
                        .map(value -> value.get("value").asString()))
                .containsExactly("auto", "cpu", "cuda");
    }
}
