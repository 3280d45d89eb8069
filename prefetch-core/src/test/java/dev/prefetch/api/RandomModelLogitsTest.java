package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.model.Architecture;
import dev.prefetch.testing.ExactLogits;
import dev.prefetch.testing.RandomEncoder;
import dev.prefetch.testing.RandomModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;

/**
 * Logits of a small random model of every architecture in every usual weight format against exact ones, which
 * {@code exact.py} beside them has computed in float64 from the dequantised weights; see {@link ExactLogits} for the
 * tolerance.
 */
class RandomModelLogitsTest {

    private static final Path FOLDER = Path.of("src/test/resources/dev/prefetch/api/logits");

    /** Positions at which two experts score almost the same, so that 8-bit activations turn the choice, as in {@link ReferenceLogitsTest}. */
    private static final Map<String, Set<Integer>> TIES = Map.of("qwen35moe-Q8_0", Set.of(4));

    static List<String> models() {
        return RandomModel.names();
    }

    @Test
    void everyArchitectureHasModels() {
        assertThat(Arrays.stream(Architecture.values()).map(Architecture::id))
                .allMatch(id -> RandomModel.families().stream()
                                .anyMatch(family ->
                                        RandomModel.architectureOf(family).equals(id))
                        || RandomEncoder.families().contains(id));
    }

    @ParameterizedTest
    @MethodSource("models")
    void isTheModelThatTheReferenceWasMadeOf(String model) throws IOException, NoSuchAlgorithmException {
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(RandomModel.file(model)));
        assertThat(HexFormat.of().formatHex(digest))
                .isEqualTo(reference(model).get("sha256").asString());
    }

    @ParameterizedTest
    @MethodSource("models")
    void staysWithinTheToleranceInPrefillAndDecode(String model) throws Exception {
        ExactLogits exact = ExactLogits.of(model);
        EngineOptions options =
                EngineOptions.of(RandomModel.file(model)).withThreads(2).withMaxConcurrency(1);
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            for (boolean stepByStep : new boolean[] {false, true}) {
                float[] logits = engine.logits(ExactLogits.tokens(), stepByStep);
                assertThat(logits).hasSameSizeAs(exact.logits());
                ReferenceLogitsTest.assertCloseBarTies(
                        model + (stepByStep ? " decode" : " prefill"),
                        logits,
                        exact.logits(),
                        exact.logits().length / ExactLogits.tokens().length,
                        stepByStep ? TIES.getOrDefault(model, Set.of()) : Set.of(),
                        exact.tolerance());
            }
        }
    }

    private static JsonNode reference(String model) throws IOException {
        return new ObjectMapper()
                .readTree(Files.readString(FOLDER.resolve("references.json")))
                .get(model);
    }
}
