package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorHalves.MAGNITUDE;
import static dev.prefetch.backend.cpu.VectorHalves.REBIAS;
import static dev.prefetch.backend.cpu.VectorHalves.SIGN;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.HALF_S;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/**
 * Takes 256 columns of a packed group (see {@link LaneFormat}) apart: to a panel of words of four unsigned bytes, in the order of
 * columns, and factors as floats. Everything stands there once for each row, in its lane.
 *
 * <p>Kernels have the arguments {@code (words, halves, words of the panel, panel)}.
 */
final class LaneUnpack {

    // Layout of a panel
    /** Words of four elements. */
    private static final int WORDS = LaneFormat.COLS / 4;
    /** A factor of every group or block. */
    static final long SCALES = (long) WORDS * BYTES;
    /** What a sum of activations of a group of 32 adds. */
    static final long MINIMA = SCALES + 16L * BYTES;

    private static final long UNITS = MINIMA + 8L * BYTES;
    static final long PANEL_BYTES = UNITS + 6L * BYTES;

    private LaneUnpack() {}

    static void factorsQ40(long words, long halves, int n, long panel) {
        for (int i = 0; i < n / 8; i++) {
            halvesToFloats(halves + 2L * LANES * i, panel + SCALES + (long) BYTES * i);
        }
    }

    static void factorsQ4k(long words, long halves, int n, long panel) {
        head(words, panel);
        factors(panel, LaneFormat.Q4_K.centre);
    }

    static void factorsQ5k(long words, long halves, int n, long panel) {
        head(words, panel);
        factors(panel, LaneFormat.Q5_K.centre);
    }

    static void elementsQ40(long words, long halves, int n, long panel) {
        for (int i = 0; i < n / 2; i++) {
            long p = Memory.known(words + (long) BYTES * i);
            long o = Memory.known(panel + (long) BYTES * (i + (i & -4)));
            IntVector v = IntVector.fromMemorySegment(I, ALL, p, LE);
            v.and(0x0f0f0f0f).intoMemorySegment(ALL, o, LE);
            v.lanewise(LSHR, 4).and(0x0f0f0f0f).intoMemorySegment(ALL, o + 4 * BYTES, LE);
        }
    }

    static void elementsQ4k(long words, long halves, int n, long panel) {
        for (int i = 0; i < 32; i++) {
            long p = Memory.known(words + (long) BYTES * (4 + i));
            long o = Memory.known(panel + (long) BYTES * (i + (i & -8)));
            IntVector v = IntVector.fromMemorySegment(I, ALL, p, LE);
            v.and(0x0f0f0f0f).intoMemorySegment(ALL, o, LE);
            v.lanewise(LSHR, 4).and(0x0f0f0f0f).intoMemorySegment(ALL, o + 8 * BYTES, LE);
        }
    }

    static void elementsQ5k(long words, long halves, int n, long panel) {
        for (int half = 0; half < 2; half++) {
            q5kHalf(words + (4L + 20 * half) * BYTES, panel + 32L * BYTES * half);
        }
    }

    /** 128 columns. */
    static void q5kHalf(long words, long out) {
        for (int i = 0; i < 16; i++) {
            long o = Memory.known(out + (long) BYTES * (i + (i & -8)));
            long p = Memory.known(words + i / 4 * 5L * BYTES);
            IntVector h = IntVector.fromMemorySegment(I, ALL, p, LE).lanewise(LSHR, 2 * (i % 4));
            IntVector v = IntVector.fromMemorySegment(I, ALL, Memory.known(p + (1L + i % 4) * BYTES), LE);
            v.and(0x0f0f0f0f).or(h.lanewise(LSHL, 4).and(0x10101010)).intoMemorySegment(ALL, o, LE);
            v.lanewise(LSHR, 4)
                    .and(0x0f0f0f0f)
                    .or(h.lanewise(LSHL, 3).and(0x10101010))
                    .intoMemorySegment(ALL, o + 8 * BYTES, LE);
        }
    }

    static void elementsQ6k(long words, long halves, int n, long panel) {
        for (int half = 0; half < 2; half++) {
            q6kHalf(words + (4L + 24 * half) * BYTES, panel + 32L * BYTES * half);
        }
    }

    /** 128 columns. */
    static void q6kHalf(long words, long out) {
        for (int i = 0; i < 16; i++) {
            long o = Memory.known(out + (long) BYTES * i);
            long p = Memory.known(words + i / 2 * 3L * BYTES);
            IntVector h = IntVector.fromMemorySegment(I, ALL, p, LE).lanewise(LSHR, 4 * (i % 2));
            IntVector v = IntVector.fromMemorySegment(I, ALL, Memory.known(p + (1L + i % 2) * BYTES), LE);
            v.and(0x0f0f0f0f).or(h.lanewise(LSHL, 4).and(0x30303030)).intoMemorySegment(ALL, o, LE);
            v.lanewise(LSHR, 4)
                    .and(0x0f0f0f0f)
                    .or(h.lanewise(LSHL, 2).and(0x30303030))
                    .intoMemorySegment(ALL, o + 16 * BYTES, LE);
        }
    }

    static void factorsQ6k(long words, long halves, int n, long panel) {
        long unit = panel + UNITS;
        halvesToFloats(halves, unit);
        FloatVector d = FloatVector.fromMemorySegment(F, ALL, Memory.known(unit), LE);
        for (int i = 0; i < 4; i++) {
            IntVector v = IntVector.fromMemorySegment(I, ALL, Memory.known(words + (long) BYTES * i), LE);
            long o = Memory.known(panel + SCALES + 4L * BYTES * i);
            ((FloatVector) v.lanewise(LSHL, 24).lanewise(ASHR, 24).convertShape(I2F, F, 0))
                    .mul(d)
                    .intoMemorySegment(ALL, o, LE);
            ((FloatVector) v.lanewise(LSHL, 16).lanewise(ASHR, 24).convertShape(I2F, F, 0))
                    .mul(d)
                    .intoMemorySegment(ALL, o + BYTES, LE);
            ((FloatVector) v.lanewise(LSHL, 8).lanewise(ASHR, 24).convertShape(I2F, F, 0))
                    .mul(d)
                    .intoMemorySegment(ALL, o + 2 * BYTES, LE);
            ((FloatVector) v.lanewise(ASHR, 24).convertShape(I2F, F, 0))
                    .mul(d)
                    .intoMemorySegment(ALL, o + 3 * BYTES, LE);
        }
    }

    /** The conversion is that of {@link VectorHalves#f16}, which knows no infinity. */
    static void halvesToFloats(long halves, long out) {
        IntVector s = ((IntVector) ShortVector.fromMemorySegment(HALF_S, ALL, Memory.known(halves), LE)
                        .castShape(I, 0))
                .lanewise(LSHL, 16);
        IntVector m = s.lanewise(LSHR, 3).and(MAGNITUDE).add(REBIAS);
        FloatVector two = FloatVector.broadcast(F, 2f);
        m = m.min(m.reinterpretAsFloats()
                .fma(two, FloatVector.broadcast(F, -0x1p-14f))
                .reinterpretAsInts());
        m.or(s.and(SIGN)).intoMemorySegment(ALL, Memory.known(out), LE);
    }

    /** From the first four words of {@code Q4_K} and {@code Q5_K}: two units as floats, scales and minima as bytes of four words. */
    private static void head(long words, long panel) {
        VectorHalves.toFloats(words, panel + UNITS, BYTES);
        long p = Memory.known(words);
        long o = Memory.known(panel + UNITS);
        IntVector third = IntVector.fromMemorySegment(I, ALL, p + 3 * BYTES, LE);
        IntVector z = IntVector.fromMemorySegment(I, ALL, p + BYTES, LE);
        z.and(0x3f3f3f3f).intoMemorySegment(ALL, o + 2 * BYTES, LE);
        third.and(0x0f0f0f0f).or(z.lanewise(LSHR, 2).and(0x30303030)).intoMemorySegment(ALL, o + 3 * BYTES, LE);
        z = IntVector.fromMemorySegment(I, ALL, p + 2 * BYTES, LE);
        z.and(0x3f3f3f3f).intoMemorySegment(ALL, o + 4 * BYTES, LE);
        third.lanewise(LSHR, 4)
                .and(0x0f0f0f0f)
                .or(z.lanewise(LSHR, 2).and(0x30303030))
                .intoMemorySegment(ALL, o + 5 * BYTES, LE);
    }

    /** The scale of each of 8 groups, and what the sum of its activations adds for the minimum and for the centre. */
    private static void factors(long panel, int centre) {
        long p = Memory.known(panel + UNITS);
        FloatVector d = FloatVector.fromMemorySegment(F, ALL, p, LE);
        FloatVector centred = FloatVector.broadcast(F, (float) centre);
        FloatVector minimum =
                FloatVector.fromMemorySegment(F, ALL, p + BYTES, LE).neg();
        for (int g = 0; g < 8; g++) {
            long q = Memory.known(p + (2L + g / 4) * BYTES);
            long o = Memory.known(panel + SCALES + (long) BYTES * g);
            int shift = 8 * (g % 4);
            FloatVector scale = ((FloatVector) IntVector.fromMemorySegment(I, ALL, q, LE)
                            .lanewise(LSHR, shift)
                            .and(63)
                            .convertShape(I2F, F, 0))
                    .mul(d);
            scale.intoMemorySegment(ALL, o, LE);
            ((FloatVector) IntVector.fromMemorySegment(I, ALL, q + 2 * BYTES, LE)
                            .lanewise(LSHR, shift)
                            .and(63)
                            .convertShape(I2F, F, 0))
                    .fma(minimum, scale.mul(centred))
                    .intoMemorySegment(ALL, o + (MINIMA - SCALES), LE);
        }
    }
}
