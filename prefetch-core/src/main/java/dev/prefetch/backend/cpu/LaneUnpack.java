package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.HALF_S;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static dev.prefetch.backend.cpu.Vectors.S;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/**
 * Takes 256 columns of packed rows (see {@link LaneFormat}) apart: two groups to elements in halves of lanes, or a group to factors as floats.
 * Everything stands there once for each row, in its lane.
 *
 * <p>Elements have the format's centre taken away. They stand in pairs, of a word of four the first and the third and then the second and the
 * fourth, as {@link VectorActivations} has the activations; a pair of the one group is beside that of the other.
 *
 * <p>Kernels have the arguments {@code (words, from these to the second group's, columns / 4, out)}, and to make factors
 * {@code (words in front of the others, halves, columns / 4, out)}.
 */
final class LaneUnpack {

    // Layout of factors
    /** A factor of every group or block. */
    static final long SCALES = 0;
    /** What a sum of activations of a group of 32 adds. */
    static final long MINIMA = SCALES + 16L * BYTES;

    private static final long UNITS = MINIMA + 8L * BYTES;
    static final long FACTOR_BYTES = UNITS + 6L * BYTES;

    /** Bytes from a pair of elements to the next: they stand there for two groups of rows. */
    static final int PAIR_BYTES = 2 * BYTES;

    /** Bytes of the elements of both groups. */
    static final long ELEMENT_BYTES = LaneFormat.COLS / 2 * (long) PAIR_BYTES;

    private static final int WORD_BYTES = 2 * PAIR_BYTES;

    private static final int EVEN_NIBBLES = 0x000f000f;

    private LaneUnpack() {}

    static void factorsQ40(long words, long halves, int n, long out) {
        for (int i = 0; i < n / 8; i++) {
            halvesToFloats(halves + 2L * LANES * i, out + SCALES + (long) BYTES * i);
        }
    }

    static void factorsQ80(long words, long halves, int n, long out) {
        factorsQ40(words, halves, n, out);
    }

    static void factorsQ4k(long words, long halves, int n, long out) {
        head(words, out);
        factors(out, LaneFormat.Q4_K.centre);
    }

    static void factorsQ5k(long words, long halves, int n, long out) {
        head(words, out);
        factors(out, LaneFormat.Q5_K.centre);
    }

    static void elementsQ40(long words, long apart, int n, long out) {
        for (int i = 0; i < n / 2; i++) {
            long from = words + (long) BYTES * i;
            long to = out + (long) WORD_BYTES * (i + (i & -4));
            nibbles(from, to, 4L * WORD_BYTES);
            nibbles(from + apart, to + BYTES, 4L * WORD_BYTES);
        }
    }

    static void elementsQ4k(long words, long apart, int n, long out) {
        elementsQ40(words, apart, n, out);
    }

    /** A word of low nibbles, and so far behind it one of high ones. */
    private static void nibbles(long words, long out, long distance) {
        long o = Memory.known(out);
        IntVector v = IntVector.fromMemorySegment(I, ALL, Memory.known(words), LE);
        ShortVector centre = ShortVector.broadcast(S, (short) 8);
        v.and(EVEN_NIBBLES).reinterpretAsShorts().sub(centre).intoMemorySegment(ALL, o, LE);
        v.lanewise(LSHR, 8)
                .and(EVEN_NIBBLES)
                .reinterpretAsShorts()
                .sub(centre)
                .intoMemorySegment(ALL, o + PAIR_BYTES, LE);
        o = Memory.known(o + distance);
        v.lanewise(LSHR, 4).and(EVEN_NIBBLES).reinterpretAsShorts().sub(centre).intoMemorySegment(ALL, o, LE);
        v.lanewise(LSHR, 12)
                .and(EVEN_NIBBLES)
                .reinterpretAsShorts()
                .sub(centre)
                .intoMemorySegment(ALL, o + PAIR_BYTES, LE);
    }

    static void elementsQ5k(long words, long apart, int n, long out) {
        for (int group = 0; group < 8; group++) {
            long p = words + 5L * BYTES * group;
            long o = out + 16L * group * PAIR_BYTES;
            fiveBits(p, o);
            fiveBits(p + apart, o + BYTES);
        }
    }

    /** Of 32 columns. */
    private static void fiveBits(long words, long out) {
        ShortVector centre = ShortVector.broadcast(S, (short) 16);
        ShortVector last = ShortVector.zero(S);
        for (int i = 0; i < 5; i++) {
            long o = Memory.known(out + 3L * PAIR_BYTES * i);
            ShortVector v = ShortVector.fromMemorySegment(S, ALL, Memory.known(words + (long) BYTES * i), LE);
            v.and((short) 31).sub(centre).intoMemorySegment(ALL, o, LE);
            v.lanewise(LSHR, 5).and((short) 31).sub(centre).intoMemorySegment(ALL, o + PAIR_BYTES, LE);
            v.lanewise(LSHR, 10).and((short) 31).sub(centre).intoMemorySegment(ALL, o + 2 * PAIR_BYTES, LE);
            last = last.lanewise(LSHR, 1).or(v.and((short) 0x8000));
        }
        last.lanewise(LSHR, 11).sub(centre).intoMemorySegment(ALL, Memory.known(out + 15L * PAIR_BYTES), LE);
    }

    static void elementsQ6k(long words, long apart, int n, long out) {
        for (int group = 0; group < 16; group++) {
            long p = words + 3L * BYTES * group;
            long o = out + 8L * group * PAIR_BYTES;
            sixBits(p, o);
            sixBits(p + apart, o + BYTES);
        }
    }

    /** Of 16 columns. */
    private static void sixBits(long words, long out) {
        ShortVector centre = ShortVector.broadcast(S, (short) 32);
        long p = Memory.known(words);
        ShortVector upper = ShortVector.fromMemorySegment(S, ALL, p + 2 * BYTES, LE);
        for (int i = 0; i < 2; i++) {
            long o = Memory.known(out + 3L * PAIR_BYTES * i);
            ShortVector v = ShortVector.fromMemorySegment(S, ALL, Memory.known(p + (long) BYTES * i), LE);
            v.and((short) 63).sub(centre).intoMemorySegment(ALL, o, LE);
            v.lanewise(LSHR, 6).and((short) 63).sub(centre).intoMemorySegment(ALL, o + PAIR_BYTES, LE);
            v.lanewise(LSHR, 12)
                    .or(upper.lanewise(LSHR, 8 + 2 * i).and((short) 0x30))
                    .sub(centre)
                    .intoMemorySegment(ALL, o + 2 * PAIR_BYTES, LE);
        }
        long o = Memory.known(out + 6L * PAIR_BYTES);
        upper.and((short) 63).sub(centre).intoMemorySegment(ALL, o, LE);
        upper.lanewise(LSHR, 6).and((short) 63).sub(centre).intoMemorySegment(ALL, o + PAIR_BYTES, LE);
    }

    static void factorsQ6k(long words, long halves, int n, long out) {
        long unit = out + UNITS;
        halvesToFloats(halves, unit);
        FloatVector d = FloatVector.fromMemorySegment(F, ALL, Memory.known(unit), LE);
        for (int i = 0; i < 4; i++) {
            IntVector v = IntVector.fromMemorySegment(I, ALL, Memory.known(words + (long) BYTES * i), LE);
            long o = Memory.known(out + SCALES + 4L * BYTES * i);
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
        VectorHalves.byMinimum(s, FloatVector.broadcast(F, 2f), FloatVector.broadcast(F, -0x1p-14f))
                .intoMemorySegment(ALL, Memory.known(out), LE);
    }

    /** From the first four words of {@code Q4_K} and {@code Q5_K}: two units as floats, scales and minima as bytes of four words. */
    private static void head(long words, long out) {
        VectorHalves.toFloats(words, out + UNITS, BYTES);
        long p = Memory.known(words);
        long o = Memory.known(out + UNITS);
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
    private static void factors(long out, int centre) {
        long p = Memory.known(out + UNITS);
        FloatVector d = FloatVector.fromMemorySegment(F, ALL, p, LE);
        FloatVector centred = FloatVector.broadcast(F, (float) centre);
        FloatVector minimum =
                FloatVector.fromMemorySegment(F, ALL, p + BYTES, LE).neg();
        for (int half = 0; half < 2; half++) {
            long q = Memory.known(p + (2L + half) * BYTES);
            long o = Memory.known(out + SCALES + 4L * BYTES * half);
            IntVector scales = IntVector.fromMemorySegment(I, ALL, q, LE);
            IntVector minima = IntVector.fromMemorySegment(I, ALL, q + 2 * BYTES, LE);
            for (int i = 0; i < 4; i++) {
                long at = o + (long) BYTES * (i & 3);
                FloatVector scale = ((FloatVector) scales.and(63).convertShape(I2F, F, 0)).mul(d);
                scale.intoMemorySegment(ALL, at, LE);
                ((FloatVector) minima.and(63).convertShape(I2F, F, 0))
                        .fma(minimum, scale.mul(centred))
                        .intoMemorySegment(ALL, at + (MINIMA - SCALES), LE);
                scales = scales.lanewise(LSHR, 8);
                minima = minima.lanewise(LSHR, 8);
            }
        }
    }
}
