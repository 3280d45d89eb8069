package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/**
 * Matrix-vector kernels for 16-bit floats. Parameters are those of {@link VectorMatvec}.
 *
 * <p>An int lane holds two weights, the even one in its lower half; {@link VectorActivations#halves} puts activations in the
 * same order. Straight-line, see {@link VectorGemm}.
 */
final class VectorHalves {

    /** Elements taken from a row at a time: four vectors. */
    static final int STEP = 8 * Vectors.LANES;

    static final int SIGN = 0x80000000;
    private static final int UPPER_HALVES = 0xffff0000;
    static final int MAGNITUDE = 0x0fffe000;
    static final int REBIAS = 112 << 23;

    private VectorHalves() {}

    /** IEEE halves; see {@link VectorExpand#f16} for the subnormal ones. */
    static void f16(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        FloatVector two = FloatVector.broadcast(F, 2f);
        FloatVector limit = FloatVector.broadcast(F, -0x1p-14f);
        int steps = cols / STEP;
        for (int step = 0; step < steps; step++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 2L * STEP * step);
                IntVector z;
                IntVector s;
                IntVector m;
                z = IntVector.fromMemorySegment(I, ALL, p, LE);
                s = z.lanewise(LSHL, 16);
                m = s.lanewise(LSHR, 3).and(MAGNITUDE).add(REBIAS);
                m = m.min(m.reinterpretAsFloats().fma(two, limit).reinterpretAsInts());
                FloatVector even0 = m.or(s.and(SIGN)).reinterpretAsFloats();
                m = z.lanewise(LSHR, 3).and(MAGNITUDE).add(REBIAS);
                m = m.min(m.reinterpretAsFloats().fma(two, limit).reinterpretAsInts());
                FloatVector odd0 = m.or(z.and(SIGN)).reinterpretAsFloats();
                z = IntVector.fromMemorySegment(I, ALL, p + BYTES, LE);
                s = z.lanewise(LSHL, 16);
                m = s.lanewise(LSHR, 3).and(MAGNITUDE).add(REBIAS);
                m = m.min(m.reinterpretAsFloats().fma(two, limit).reinterpretAsInts());
                FloatVector even1 = m.or(s.and(SIGN)).reinterpretAsFloats();
                m = z.lanewise(LSHR, 3).and(MAGNITUDE).add(REBIAS);
                m = m.min(m.reinterpretAsFloats().fma(two, limit).reinterpretAsInts());
                FloatVector odd1 = m.or(z.and(SIGN)).reinterpretAsFloats();
                z = IntVector.fromMemorySegment(I, ALL, p + 2 * BYTES, LE);
                s = z.lanewise(LSHL, 16);
                m = s.lanewise(LSHR, 3).and(MAGNITUDE).add(REBIAS);
                m = m.min(m.reinterpretAsFloats().fma(two, limit).reinterpretAsInts());
                FloatVector even2 = m.or(s.and(SIGN)).reinterpretAsFloats();
                m = z.lanewise(LSHR, 3).and(MAGNITUDE).add(REBIAS);
                m = m.min(m.reinterpretAsFloats().fma(two, limit).reinterpretAsInts());
                FloatVector odd2 = m.or(z.and(SIGN)).reinterpretAsFloats();
                z = IntVector.fromMemorySegment(I, ALL, p + 3 * BYTES, LE);
                s = z.lanewise(LSHL, 16);
                m = s.lanewise(LSHR, 3).and(MAGNITUDE).add(REBIAS);
                m = m.min(m.reinterpretAsFloats().fma(two, limit).reinterpretAsInts());
                FloatVector even3 = m.or(s.and(SIGN)).reinterpretAsFloats();
                m = z.lanewise(LSHR, 3).and(MAGNITUDE).add(REBIAS);
                m = m.min(m.reinterpretAsFloats().fma(two, limit).reinterpretAsInts());
                FloatVector odd3 = m.or(z.and(SIGN)).reinterpretAsFloats();
                for (int t = 0; t < count; t++) {
                    long q = Memory.known(x + xStride * t + 4L * STEP * step);
                    long at = Memory.known(lanes + (long) BYTES * (r * count + t));
                    FloatVector a = even0.fma(
                            FloatVector.fromMemorySegment(F, ALL, q, LE),
                            FloatVector.fromMemorySegment(F, ALL, at, LE));
                    a = odd0.fma(FloatVector.fromMemorySegment(F, ALL, q + BYTES, LE), a);
                    a = even1.fma(FloatVector.fromMemorySegment(F, ALL, q + 2 * BYTES, LE), a);
                    a = odd1.fma(FloatVector.fromMemorySegment(F, ALL, q + 3 * BYTES, LE), a);
                    a = even2.fma(FloatVector.fromMemorySegment(F, ALL, q + 4 * BYTES, LE), a);
                    a = odd2.fma(FloatVector.fromMemorySegment(F, ALL, q + 5 * BYTES, LE), a);
                    a = even3.fma(FloatVector.fromMemorySegment(F, ALL, q + 6 * BYTES, LE), a);
                    a = odd3.fma(FloatVector.fromMemorySegment(F, ALL, q + 7 * BYTES, LE), a);
                    a.intoMemorySegment(ALL, at, LE);
                }
            }
        }
        for (int i = steps * STEP; i < cols; i++) {
            for (int r = 0; r < rows; r++) {
                float weight = Memory.getHalf(w + rowStride * r + 2L * i);
                addProducts(weight, x + 4L * i, xStride, count, lanes + (long) BYTES * r * count);
            }
        }
    }

    /** The two halves of each word of a vector as floats, the upper ones {@code distance} bytes behind the lower. As {@link #f16}. */
    static void toFloats(long words, long out, long distance) {
        FloatVector two = FloatVector.broadcast(F, 2f);
        FloatVector limit = FloatVector.broadcast(F, -0x1p-14f);
        IntVector z = IntVector.fromMemorySegment(I, ALL, Memory.known(words), LE);
        long o = Memory.known(out);
        IntVector s = z.lanewise(LSHL, 16);
        IntVector m = s.lanewise(LSHR, 3).and(MAGNITUDE).add(REBIAS);
        m = m.min(m.reinterpretAsFloats().fma(two, limit).reinterpretAsInts());
        m.or(s.and(SIGN)).intoMemorySegment(ALL, o, LE);
        m = z.lanewise(LSHR, 3).and(MAGNITUDE).add(REBIAS);
        m = m.min(m.reinterpretAsFloats().fma(two, limit).reinterpretAsInts());
        m.or(z.and(SIGN)).intoMemorySegment(ALL, Memory.known(o + distance), LE);
    }

    /** The upper halves of floats. */
    static void bf16(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        int steps = cols / STEP;
        for (int step = 0; step < steps; step++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 2L * STEP * step);
                IntVector z;
                z = IntVector.fromMemorySegment(I, ALL, p, LE);
                FloatVector even0 = z.lanewise(LSHL, 16).reinterpretAsFloats();
                FloatVector odd0 = z.and(UPPER_HALVES).reinterpretAsFloats();
                z = IntVector.fromMemorySegment(I, ALL, p + BYTES, LE);
                FloatVector even1 = z.lanewise(LSHL, 16).reinterpretAsFloats();
                FloatVector odd1 = z.and(UPPER_HALVES).reinterpretAsFloats();
                z = IntVector.fromMemorySegment(I, ALL, p + 2 * BYTES, LE);
                FloatVector even2 = z.lanewise(LSHL, 16).reinterpretAsFloats();
                FloatVector odd2 = z.and(UPPER_HALVES).reinterpretAsFloats();
                z = IntVector.fromMemorySegment(I, ALL, p + 3 * BYTES, LE);
                FloatVector even3 = z.lanewise(LSHL, 16).reinterpretAsFloats();
                FloatVector odd3 = z.and(UPPER_HALVES).reinterpretAsFloats();
                for (int t = 0; t < count; t++) {
                    long q = Memory.known(x + xStride * t + 4L * STEP * step);
                    long at = Memory.known(lanes + (long) BYTES * (r * count + t));
                    FloatVector a = even0.fma(
                            FloatVector.fromMemorySegment(F, ALL, q, LE),
                            FloatVector.fromMemorySegment(F, ALL, at, LE));
                    a = odd0.fma(FloatVector.fromMemorySegment(F, ALL, q + BYTES, LE), a);
                    a = even1.fma(FloatVector.fromMemorySegment(F, ALL, q + 2 * BYTES, LE), a);
                    a = odd1.fma(FloatVector.fromMemorySegment(F, ALL, q + 3 * BYTES, LE), a);
                    a = even2.fma(FloatVector.fromMemorySegment(F, ALL, q + 4 * BYTES, LE), a);
                    a = odd2.fma(FloatVector.fromMemorySegment(F, ALL, q + 5 * BYTES, LE), a);
                    a = even3.fma(FloatVector.fromMemorySegment(F, ALL, q + 6 * BYTES, LE), a);
                    a = odd3.fma(FloatVector.fromMemorySegment(F, ALL, q + 7 * BYTES, LE), a);
                    a.intoMemorySegment(ALL, at, LE);
                }
            }
        }
        for (int i = steps * STEP; i < cols; i++) {
            for (int r = 0; r < rows; r++) {
                float weight = Float.intBitsToFloat(Memory.getShort(w + rowStride * r + 2L * i) << 16);
                addProducts(weight, x + 4L * i, xStride, count, lanes + (long) BYTES * r * count);
            }
        }
    }

    /** Adds a single weight's products to the first lanes. */
    private static void addProducts(float weight, long x, long xStride, int count, long lanes) {
        for (int t = 0; t < count; t++) {
            long lane = lanes + (long) BYTES * t;
            Memory.putFloat(lane, Memory.getFloat(lane) + weight * Memory.getFloat(x + xStride * t));
        }
    }
}
