package dev.prefetch.model;

import dev.prefetch.backend.Rope;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufTensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/** Resolves a file's rotary embedding, scaling included, to one frequency per pair. */
final class RopeReader {

    private static final ValueLayout.OfFloat FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final String LLAMA3_FACTORS = "rope_freqs.weight";
    private static final String LONG_FACTORS = "rope_factors_long.weight";
    private static final String SHORT_FACTORS = "rope_factors_short.weight";

    private final GgufFile file;
    private final ModelConfig.Keys keys;
    private final Rope.Layout layout;
    private final int trainedContext;
    private final int context;
    private final int rotated;
    private final float base;

    /**
     * @param headDim elements of a head
     * @param trainedContext positions the model was trained for
     * @param context positions a sequence may have
     */
    RopeReader(GgufFile file, ModelConfig.Keys keys, Rope.Layout layout, int headDim, int trainedContext, int context) {
        this.file = file;
        this.keys = keys;
        this.layout = layout;
        this.trainedContext = trainedContext;
        this.context = context;
        this.rotated = keys.size("rope.dimension_count", headDim);
        if (rotated > headDim || rotated % 2 != 0) {
            throw keys.refuse("rope.dimension_count", rotated + " is odd or above the head size " + headDim);
        }
        this.base = keys.positive("rope.freq_base", 10_000);
    }

    /** The rotation of layers with a window that do without the scaling of the others. */
    Rope unscaled(float usualBase) {
        float[] ones = new float[rotated / 2];
        Arrays.fill(ones, 1);
        float ownBase = keys.positive("rope.freq_base_swa", usualBase > 0 ? usualBase : base);
        return new Rope(layout, frequencies(ownBase, ones), 1);
    }

    private float[] frequencies(float ownBase, float[] factors) {
        float[] frequencies = new float[rotated / 2];
        for (int i = 0; i < frequencies.length; i++) {
            frequencies[i] = (float) (Math.pow(ownBase, -2.0 * i / rotated) / factors[i]);
        }
        return frequencies;
    }

    /** The rotation of layers that see everything. */
    Rope scaled() {
        // A file that has only a factor means linear scaling, as those did that were made before there was a type.
        String scaling = file.metadata().stringOr(keys.prefix() + ".rope.scaling.type", "linear");
        if (file.find(LONG_FACTORS).isPresent() || scaling.equals("longrope")) {
            return longRope();
        }
        float[] frequencies = frequencies(base, factors(LLAMA3_FACTORS));
        float factor = keys.positive("rope.scaling.factor", keys.positive("rope.scale_linear", 1));
        return switch (scaling) {
            case "none" -> new Rope(layout, frequencies, 1);
            case "linear" -> {
                for (int i = 0; i < frequencies.length; i++) {
                    frequencies[i] /= factor;
                }
                yield new Rope(layout, frequencies, 1);
            }
            case "yarn" -> {
                int original = keys.size("rope.scaling.original_context_length", trainedContext);
                float magnitude = keys.positive("rope.scaling.attn_factor", 1);
                yield yarn(frequencies, factor, original, magnitude);
            }
            default -> throw keys.refuse("rope.scaling.type", "'" + scaling + "' is not supported");
        };
    }

    /**
     * LongRoPE (Ding et al. 2024, arXiv 2402.13753): one set of divisors for sequences within the original context, another
     * for longer ones.
     */
    private Rope longRope() {
        for (String factors : List.of(LONG_FACTORS, SHORT_FACTORS)) {
            if (file.find(factors).isEmpty()) {
                throw keys.refuse("rope.scaling.type", "'longrope' needs the tensor " + factors + ", which is missing");
            }
        }
        int original = keys.size("rope.scaling.original_context_length", trainedContext);
        float[] factors = factors(context > original ? LONG_FACTORS : SHORT_FACTORS);
        return new Rope(layout, frequencies(base, factors), keys.positive("rope.scaling.attn_factor", 1));
    }

    /**
     * YaRN (Peng et al. 2023, arXiv 2309.00071): low frequencies are interpolated, high ones kept, with a linear ramp
     * between the dimensions that turn often (32 times) and once within the original context.
     */
    private Rope yarn(float[] frequencies, float factor, int original, float magnitude) {
        float fast = keys.positive("rope.scaling.yarn_beta_fast", 32);
        float slow = keys.positive("rope.scaling.yarn_beta_slow", 1);
        double low = Math.max(0, Math.floor(correctionDimension(fast, original)));
        double high = Math.min(rotated - 1.0, Math.ceil(correctionDimension(slow, original)));
        for (int i = 0; i < frequencies.length; i++) {
            double ramp = 1 - Math.clamp((i - low) / Math.max(0.001, high - low), 0.0, 1.0);
            frequencies[i] = (float) (frequencies[i] / factor * (1 - ramp) + frequencies[i] * ramp);
        }
        // Where the file has a factor on the scores, that is in place of the one here.
        boolean onScores = keys.contains("rope.scaling.yarn_log_multiplier");
        return new Rope(layout, frequencies, (float) (magnitude * (onScores ? 1 : 1 + 0.1 * Math.log(factor))));
    }

    private double correctionDimension(float turns, int original) {
        return rotated * Math.log(original / (turns * 2 * Math.PI)) / (2 * Math.log(base));
    }

    /** Divisors per pair; ones when the file has none. */
    private float[] factors(String name) {
        int pairs = rotated / 2;
        float[] factors = new float[pairs];
        Optional<GgufTensor> tensor = file.find(name);
        if (tensor.isEmpty()) {
            Arrays.fill(factors, 1);
            return factors;
        }
        if (tensor.get().type() != GgmlType.F32 || tensor.get().elements() != pairs) {
            throw new UnsupportedModelException(file.path() + ": tensor " + name + " must have " + pairs
                    + " F32 elements but has " + tensor.get().elements() + " of "
                    + tensor.get().type());
        }
        MemorySegment data = file.slice(tensor.get());
        for (int i = 0; i < pairs; i++) {
            factors[i] = data.get(FLOAT, 4L * i);
            if (!(factors[i] > 0)) {
                throw new UnsupportedModelException(
                        file.path() + ": tensor " + name + "[" + i + "] is " + factors[i] + ", not positive");
            }
        }
        return factors;
    }
}
