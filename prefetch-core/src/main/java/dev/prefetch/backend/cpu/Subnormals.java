package dev.prefetch.backend.cpu;

/**
 * Whether this processor multiplies subnormal floats as fast as others. Some take a hundred times as long, so that kernels have to avoid them, which
 * takes operations. Either way gives the same bits.
 */
final class Subnormals {

    private static final int ROUNDS = 150;
    private static final int TRIES = 7;

    /** Measured once, in about a millisecond. */
    static final boolean FAST = measure();

    /** So that no product is left out. */
    private static volatile float sink;

    private Subnormals() {}

    private static boolean measure() {
        float[] normal = new float[16];
        float[] subnormal = new float[16];
        for (int i = 0; i < 16; i++) {
            normal[i] = 1 + i;
            subnormal[i] = Float.MIN_VALUE * (1 + i) * 8192;
        }
        // Each try by itself: the loop may be compiled between two of them.
        int fast = 0;
        for (int i = 0; i < TRIES; i++) {
            long normalNanos = nanos(normal);
            fast += nanos(subnormal) < 2 * normalNanos ? 1 : 0;
        }
        return fast > TRIES / 2;
    }

    private static long nanos(float[] values) {
        long start = System.nanoTime();
        float sum = 0;
        for (int i = 0; i < ROUNDS; i++) {
            for (float value : values) {
                sum += value * 0x1p112f;
            }
        }
        sink = sum;
        return System.nanoTime() - start;
    }
}
