package dev.prefetch.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.backend.Rope;
import dev.prefetch.gguf.GgufFile;
import java.nio.file.Path;
import org.assertj.core.data.Percentage;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Frequencies of a head of 16 against values computed in double precision from the published formulas. */
class RopeReaderTest {

    private static final Percentage FLOAT_ROUNDING = Percentage.withPercentage(1e-4);

    @TempDir
    private Path folder;

    @Test
    void plain() {
        // 10000^(-2i/16)
        expect(new TinyModel(), 1.0, 1, 0.316227766, 0.1, 0.0316227766, 0.01, 0.00316227766, 0.001, 0.000316227766);
    }

    @Test
    void scalesLinearly() {
        TinyModel model =
                new TinyModel().key("llama.rope.scaling.type", "linear").key("llama.rope.scaling.factor", 4f);
        expect(model, 1.0, LINEAR_BY_4);
    }

    @Test
    void aFactorWithoutATypeIsLinear() {
        expect(new TinyModel().key("llama.rope.scaling.factor", 4f), 1.0, LINEAR_BY_4);
        expect(new TinyModel().key("llama.rope.scale_linear", 4f), 1.0, LINEAR_BY_4);
    }

    @Test
    void theTypeNoneSwitchesTheFactorOff() {
        TinyModel model = new TinyModel().key("llama.rope.scaling.type", "none").key("llama.rope.scaling.factor", 4f);
        expect(model, 1.0, 1, 0.316227766, 0.1, 0.0316227766, 0.01, 0.00316227766, 0.001, 0.000316227766);
    }

    @Test
    void yarn() {
        // base 1e6, factor 4, original context 4096: the ramp goes from pair 1 to pair 4; magnitude 0.1 ln 4 + 1
        TinyModel model = new TinyModel()
                .key("llama.rope.freq_base", 1e6f)
                .key("llama.rope.scaling.type", "yarn")
                .key("llama.rope.scaling.factor", 4f)
                .key("llama.rope.scaling.original_context_length", 4096);
        expect(
                model,
                1.138629436111989,
                1.0,
                0.1778279410038923,
                0.023717082451262847,
                0.0028117066259517455,
                0.00025,
                4.445698525097307e-05,
                7.905694150420949e-06,
                1.4058533129758728e-06);
    }

    @Test
    void dividesByTheFactorsOfTheFile() {
        // As Llama 3.1 files carry them; base 500000.
        TinyModel model = new TinyModel()
                .key("llama.rope.freq_base", 500_000f)
                .vector("rope_freqs.weight", 1, 1, 1, 2.5f, 8, 8, 8, 8);
        expect(
                model,
                1.0,
                1.0,
                0.19392274474868576,
                0.03760603093086393,
                0.002917065894886844,
                0.00017677669529663688,
                3.428102195952591e-05,
                6.647869871181235e-06,
                1.2891731721515574e-06);
    }

    @Test
    void rotatesOnlyTheDimensionsAskedFor() {
        expect(new TinyModel().key("llama.rope.dimension_count", 8), 1.0, 1, 0.1, 0.01, 0.001);
    }

    @Test
    void takesTheLongFactorsForSequencesBeyondTheOriginalContext() {
        TinyModel model = new TinyModel()
                .key("llama.rope.scaling.original_context_length", 64)
                .key("llama.rope.scaling.attn_factor", 1.25f)
                .vector("rope_factors_short.weight", 1, 1, 1, 1, 2, 2, 2, 2)
                .vector("rope_factors_long.weight", 4, 4, 4, 4, 4, 4, 4, 4);
        double[] within = {1, 0.316227766, 0.1, 0.0316227766, 0.005, 0.00158113883, 0.0005, 0.000158113883};
        expect(model, 64, 1.25, within);
        expect(model, 65, 1.25, LINEAR_BY_4);
        // Trained for 128 positions.
        expect(model, 0, 1.25, LINEAR_BY_4);
        expect(model.key("llama.context_length", 64), 4096, 1.25, within);
    }

    private static final double[] LINEAR_BY_4 = {
        0.25,
        0.07905694150420949,
        0.025,
        0.007905694150420948,
        0.0025,
        0.0007905694150420948,
        0.00025,
        7.905694150420948e-05
    };

    private void expect(TinyModel model, double magnitude, double... frequencies) {
        expect(model, 0, magnitude, frequencies);
    }

    private void expect(TinyModel model, int contextLength, double magnitude, double... frequencies) {
        Rope rope;
        try (GgufFile file = model.open(folder)) {
            rope = ModelConfig.read(file, contextLength).rope();
        }
        assertThat(rope.layout()).isEqualTo(Rope.Layout.ADJACENT);
        assertThat((double) rope.magnitude()).isCloseTo(magnitude, FLOAT_ROUNDING);
        assertThat(rope.inverseFrequencies()).hasSize(frequencies.length);
        for (int i = 0; i < frequencies.length; i++) {
            assertThat((double) rope.inverseFrequencies()[i])
                    .as("pair %d", i)
                    .isCloseTo(frequencies[i], FLOAT_ROUNDING);
        }
    }
}
