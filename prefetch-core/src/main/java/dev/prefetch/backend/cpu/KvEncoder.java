package dev.prefetch.backend.cpu;

import dev.prefetch.gguf.GgmlType;

/**
 * Converts keys and values to what a cache keeps. The one implementation for all kernel sets, so that they read the same
 * bits; a token's keys and values are few next to the weights that made them.
 */
final class KvEncoder {

    private static final int BLOCK = 32;
    private static final int BLOCK_BYTES = 34;

    private KvEncoder() {}

    /** Converts {@code elements} f32 numbers, whole blocks of the type. */
    static void encode(GgmlType type, long x, int elements, long out) {
        switch (type) {
            case F32 -> Memory.copy(x, out, 4L * elements);
            case F16 -> halves(x, elements, out);
            case Q8_0 -> {
                for (int b = 0; b < elements / BLOCK; b++) {
                    block(x + 4L * BLOCK * b, out + (long) BLOCK_BYTES * b);
                }
            }
            default -> throw new IllegalArgumentException("no KV cache of type " + type);
        }
    }

    /** Rounded to nearest even; what is beyond the range of a half becomes infinite. */
    private static void halves(long x, int elements, long out) {
        for (int i = 0; i < elements; i++) {
            Memory.putShort(out + 2L * i, Float.floatToFloat16(Memory.getFloat(x + 4L * i)));
        }
    }

    /**
     * {@code d = max|x| / 127}, {@code q = x * (1 / d)} rounded half away from zero, as ggml's {@code quantize_row_q8_0_ref}.
     * A NaN or infinity makes {@code d} one, and so the whole block NaN when it is read.
     */
    private static void block(long x, long out) {
        float max = 0;
        for (int i = 0; i < BLOCK; i++) {
            max = Math.max(max, Math.abs(Memory.getFloat(x + 4L * i)));
        }
        float d = max / 127;
        float inverse = d == 0 ? 0 : 1 / d;
        Memory.putShort(out, Float.floatToFloat16(d));
        for (int i = 0; i < BLOCK; i++) {
            Memory.putByte(out + 2 + i, (byte) round(Memory.getFloat(x + 4L * i) * inverse));
        }
    }

    /** Half away from zero. Adding a half first would round {@code 0.5 - 2^-25} up. */
    private static int round(float v) {
        int truncated = (int) v;
        float rest = v - truncated;
        if (rest >= 0.5f) {
            return truncated + 1;
        }
        return rest <= -0.5f ? truncated - 1 : truncated;
    }
}
