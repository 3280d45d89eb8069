package dev.prefetch.backend.cpu;

/**
 * Whether this processor multiplies subnormal floats as fast as others. Some take a hundred times as long, so that kernels have to avoid them, which
 * takes operations. Either way gives the same bits.
 */
final class Subnormals {

    private static final int ROUNDS = 500;
    private static final int TRIES = 7;

    /** Measured once, in less than a millisecond. */
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
        long normalNanos = Long.MAX_VALUE;
        long subnormalNanos = Long.MAX_VALUE;
        for (int i = 0; i < TRIES; i++) {
            normalNanos = Math.min(normalNanos, nanos(normal));
            subnormalNanos = Math.min(subnormalNanos, nanos(subnormal));
        }
        return subnormalNanos < 2 * normalNanos;
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
