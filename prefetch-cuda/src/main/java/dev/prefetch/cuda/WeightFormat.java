package dev.prefetch.cuda;

import dev.prefetch.gguf.GgmlType;
import java.util.Collections;
import java.util.EnumSet;
import java.util.Locale;
import java.util.Set;

/** The weight formats for which there are kernels. */
final class WeightFormat {

    static final Set<GgmlType> TYPES = Collections.unmodifiableSet(EnumSet.of(
            GgmlType.F32,
            GgmlType.F16,
            GgmlType.BF16,
            GgmlType.Q4_0,
            GgmlType.Q4_1,
            GgmlType.Q5_0,
            GgmlType.Q5_1,
            GgmlType.Q8_0,
            GgmlType.IQ4_NL,
            GgmlType.MXFP4,
            GgmlType.Q2_K,
            GgmlType.Q3_K,
            GgmlType.Q4_K,
            GgmlType.Q5_K,
            GgmlType.Q6_K,
            GgmlType.IQ4_XS,
            GgmlType.IQ2_XXS,
            GgmlType.IQ2_XS,
            GgmlType.IQ2_S,
            GgmlType.IQ3_XXS,
            GgmlType.IQ3_S,
            GgmlType.IQ1_S,
            GgmlType.IQ1_M,
            GgmlType.TQ1_0,
            GgmlType.TQ2_0));

    private WeightFormat() {}

    /** What kernels for that format have at the end of their names. */
    static String suffix(GgmlType type) {
        return type.name().toLowerCase(Locale.ROOT);
    }

    /**
     * Alignment the kernels rely on, in bytes: the largest power of two that divides a block, at most 8. Offsets of tensors in
     * a GGUF file are multiples of 32 unless the file says otherwise, and rows keep it.
     */
    static int alignment(GgmlType type) {
        return Math.min(8, Integer.lowestOneBit(type.blockBytes()));
    }
}
