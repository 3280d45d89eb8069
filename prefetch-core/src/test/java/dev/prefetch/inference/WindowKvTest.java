package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.backend.Devices;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.testing.Conformance;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Layers with a window keep its positions alone, and give the bits that keeping everything gives. */
@Timeout(120)
class WindowKvTest {

    private static final int TOKENS = 700;

    /**
     * In one sweep nothing has left a window yet, so every position is there, as if all were kept; page by page, and token by
     * token, those behind the window are gone.
     */
    @ParameterizedTest
    @ValueSource(strings = {"gemma2-Q8_0", "gemma3-Q8_0", "gpt-oss-MXFP4"})
    void givesTheBitsOfACacheThatKeepsEverything(String name) {
        Path model = Conformance.folder().resolve("logits/" + name + ".gguf");
        int[] tokens = new SplittableRandom(3).ints(TOKENS, 3, 250).toArray();
        for (GgmlType type : List.of(GgmlType.F32, GgmlType.F16, GgmlType.Q8_0)) {
            givesTheBitsOfACacheThatKeepsEverything(name, model, type, tokens);
        }
    }

    private static void givesTheBitsOfACacheThatKeepsEverything(String name, Path model, GgmlType type, int[] tokens) {
        for (boolean decode : new boolean[] {false, true}) {
            List<float[]> everything = logits(model, type, tokens, TOKENS, decode);
            // Conversion does not depend on the rows of a sweep; one sweep size between the pages' will do.
            for (int rows : type == GgmlType.F32 ? new int[] {1, 48, 64, 200} : new int[] {48}) {
                List<float[]> windows = logits(model, type, tokens, rows, decode);
                for (int position = 0; position < TOKENS; position++) {
                    assertThat(windows.get(position))
                            .as("%s, %s, %d rows, decode %s, position %d", name, type, rows, decode, position)
                            .containsExactly(everything.get(position));
                }
            }
        }
    }

    private static List<float[]> logits(Path model, GgmlType type, int[] tokens, int rows, boolean decode) {
        List<float[]> result = new ArrayList<>();
        try (LoopFixture fixture = new LoopFixture(model);
                ForwardPass forward = new ForwardPass(
                        Devices.of(fixture.device), fixture.config, fixture.graph, fixture.weights, List.of(), rows);
                KvPool pool = new KvPool(fixture.device, layout(fixture, type), rows, Long.MAX_VALUE, 0);
                KvCache cache = pool.open(tokens.length)) {
            Batch batch = new Batch(rows);
            for (int from = 0; from < tokens.length; from += rows) {
                int count = Math.min(rows, tokens.length - from);
                cache.ensure(from, from + count);
                batch.clear();
                if (decode) {
                    batch.addDecode(cache, Arrays.copyOfRange(tokens, from, from + count), from);
                } else {
                    batch.addPrefill(cache, tokens, from, count, Batch.Outputs.ALL);
                }
                forward.run(batch, () -> false, (output, logits) -> result.add(logits.clone()));
            }
        }
        return result;
    }

    @Test
    void aLongSequenceTakesPagesOfItsWindowAlone() {
        Path model = Conformance.folder().resolve("logits/gpt-oss-Q8_0.gguf");
        try (LoopFixture fixture = new LoopFixture(model);
                KvPool pool = new KvPool(fixture.device, layout(fixture, GgmlType.F32), 1, Long.MAX_VALUE, 0)) {
            int most = 0;
            try (KvCache cache = pool.open(2000)) {
                for (int position = 0; position < 2000; position++) {
                    cache.ensure(position, position + 1);
                    most = Math.max(most, pool.pagesTaken() - KvLayout.pagesFor(position + 1));
                }
            }
            // The window of 32 positions touches two pages of 64 at most.
            assertThat(most).isEqualTo(2);
            assertThat(pool.pagesTaken()).isZero();
            assertThat(pool.bytesInUse()).isZero();
        }
    }

    private static KvLayout layout(LoopFixture fixture, GgmlType type) {
        return new KvLayout(
                fixture.config.layerConfigs().stream()
                        .map(layer -> layer.attention())
                        .toList(),
                type);
    }
}
