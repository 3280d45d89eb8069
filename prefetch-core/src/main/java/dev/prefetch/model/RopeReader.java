package dev.prefetch.model;

import dev.prefetch.backend.Rope;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufTensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Optional;

/** Resolves a file's rotary embedding, scaling included, to one frequency per pair. */
final class RopeReader {

    private static final ValueLayout.OfFloat FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private RopeReader() {}

    static Rope read(GgufFile file, ModelConfig.Keys keys, Architecture architecture, int headDim, int context) {
        int rotated = keys.size("rope.dimension_count", headDim);
        if (rotated > headDim || rotated % 2 != 0) {
            throw keys.refuse("rope.dimension_count", rotated + " is odd or above the head size " + headDim);
        }
        float base = keys.positive("rope.freq_base", 10_000);
        float[] factors = frequencyFactors(file, rotated / 2);
        float[] frequencies = new float[rotated / 2];
        for (int i = 0; i < frequencies.length; i++) {
            frequencies[i] = (float) (Math.pow(base, -2.0 * i / rotated) / factors[i]);
        }
        // A file that has only a factor means linear scaling, as those did that were made before there was a type.
        String scaling = file.metadata().stringOr(keys.prefix() + ".rope.scaling.type", "linear");
        float factor = keys.positive("rope.scaling.factor", keys.positive("rope.scale_linear", 1));
        return switch (scaling) {
            case "none" -> new Rope(architecture.ropeLayout(), frequencies, 1);
            case "linear" -> {
                for (int i = 0; i < frequencies.length; i++) {
                    frequencies[i] /= factor;
                }
                yield new Rope(architecture.ropeLayout(), frequencies, 1);
            }
            case "yarn" -> {
                int original = keys.size("rope.scaling.original_context_length", context);
                float magnitude = keys.positive("rope.scaling.attn_factor", 1);
                yield yarn(architecture, frequencies, base, factor, original, magnitude);
            }
            default -> throw keys.refuse("rope.scaling.type", "'" + scaling + "' is not supported");
        };
    }

    /**
     * YaRN (Peng et al. 2023, arXiv 2309.00071): low frequencies are interpolated, high ones kept, with a linear ramp
     * between the dimensions that turn 32 times and once within the original context.
     */
    private static Rope yarn(
            Architecture architecture, float[] frequencies, float base, float factor, int original, float magnitude) {
        int rotated = 2 * frequencies.length;
        double low = Math.max(0, Math.floor(correctionDimension(32, rotated, base, original)));
        double high = Math.min(rotated - 1.0, Math.ceil(correctionDimension(1, rotated, base, original)));
        for (int i = 0; i < frequencies.length; i++) {
            double ramp = 1 - Math.clamp((i - low) / Math.max(0.001, high - low), 0.0, 1.0);
            frequencies[i] = (float) (frequencies[i] / factor * (1 - ramp) + frequencies[i] * ramp);
        }
        return new Rope(architecture.ropeLayout(), frequencies, (float) (magnitude * (1 + 0.1 * Math.log(factor))));
    }

    private static double correctionDimension(int turns, int rotated, float base, int original) {
        return rotated * Math.log(original / (turns * 2 * Math.PI)) / (2 * Math.log(base));
    }

    /** Divisors per pair, as Llama 3 files carry them; ones when the file has none. */
    private static float[] frequencyFactors(GgufFile file, int pairs) {
        float[] factors = new float[pairs];
        Optional<GgufTensor> tensor = file.find("rope_freqs.weight");
        if (tensor.isEmpty()) {
            Arrays.fill(factors, 1);
            return factors;
        }
        if (tensor.get().type() != GgmlType.F32 || tensor.get().elements() != pairs) {
            throw new UnsupportedModelException(file.path() + ": tensor rope_freqs.weight must have " + pairs
                    + " F32 elements but has " + tensor.get().elements() + " of "
                    + tensor.get().type());
        }
        MemorySegment data = file.slice(tensor.get());
        for (int i = 0; i < pairs; i++) {
            factors[i] = data.get(FLOAT, 4L * i);
            if (!(factors[i] > 0)) {
                throw new UnsupportedModelException(
                        file.path() + ": tensor rope_freqs.weight[" + i + "] is " + factors[i] + ", not positive");
            }
        }
        return factors;
    }
}
