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
 * Takes 256 columns of packed rows (see {@link LaneFormat}) apart: two groups to elements in halves of lanes, or to factors as floats.
 * Everything stands there once for each row, in its lane.
 *
 * <p>Elements have the format's centre taken away. They stand in pairs, of a word of four the first and the third and then the second and the
 * fourth, as {@link VectorActivations} has the activations; a pair of the one group is beside that of the other.
 *
 * <p>Kernels have the arguments {@code (words, from these to the second group's, columns / 4, out)}, and to make factors
 * {@code (words in front of the others, from these to the second group's, columns / 4, halves, out)}.
 */
final class LaneUnpack {

    // Layout of factors
    /** A factor of every group or block. */
    static final long SCALES = 0;
    /** What a sum of activations of a group of 32 adds. */
    static final long MINIMA = SCALES + 16L * BYTES;

    /** Of a group of rows. Not a power of two, or those of both would compete for the same places of the cache. */
    static final long FACTOR_BYTES = MINIMA + 14L * BYTES;

    /** Bytes from a pair of elements to the next: they stand there for two groups of rows. */
    static final int PAIR_BYTES = 2 * BYTES;

    /** Bytes of the elements of both groups. */
    static final long ELEMENT_BYTES = LaneFormat.COLS / 2 * (long) PAIR_BYTES;

    private static final int WORD_BYTES = 2 * PAIR_BYTES;

    private static final int EVEN_NIBBLES = 0x000f000f;

    private LaneUnpack() {}

    static void factorsQ40(long words, long apart, int n, long halves, long out) {
        blockScales(halves, n / 8, out + SCALES);
        blockScales(halves + apart, n / 8, out + FACTOR_BYTES + SCALES);
    }

    /** Of a group of rows. */
    static void blockScales(long halves, int blocks, long out) {
        for (int i = 0; i < blocks; i++) {
            halves(halves + 2L * LANES * i).intoMemorySegment(ALL, Memory.known(out + (long) BYTES * i), LE);
        }
    }

    static void factorsQ80(long words, long apart, int n, long halves, long out) {
        factorsQ40(words, apart, n, halves, out);
    }

    static void factorsQ4k(long words, long apart, int n, long halves, long out) {
        factors(words, apart, out, LaneFormat.Q4_K.centre);
    }

    static void factorsQ5k(long words, long apart, int n, long halves, long out) {
        factors(words, apart, out, LaneFormat.Q5_K.centre);
    }

    /**
     * From the first four words of {@code Q4_K} and {@code Q5_K}: the scale of each of 8 groups, and what the sum of its activations adds for the minimum and
     * for the centre.
     */
    private static void factors(long words, long apart, long out, int centre) {
        FloatVector centred = FloatVector.broadcast(F, (float) centre);
        long p = words;
        long o = out;
        for (int group = 0; group < 2; group++) {
            p = Memory.known(p);
            IntVector units = IntVector.fromMemorySegment(I, ALL, p, LE);
            FloatVector d = VectorHalves.exact(units.lanewise(LSHL, 16));
            FloatVector minimum = VectorHalves.exact(units).neg();
            IntVector z = IntVector.fromMemorySegment(I, ALL, p + BYTES, LE);
            IntVector y = IntVector.fromMemorySegment(I, ALL, p + 2 * BYTES, LE);
            IntVector more = IntVector.fromMemorySegment(I, ALL, p + 3 * BYTES, LE);
            IntVector scales = z;
            IntVector minima = y;
            for (int half = 0; half < 2; half++) {
                o = Memory.known(o);
                for (int i = 0; i < 4; i++) {
                    long at = o + (long) BYTES * (i & 3);
                    FloatVector scale = ((FloatVector) scales.and(63).convertShape(I2F, F, 0)).mul(d);
                    scale.intoMemorySegment(ALL, at + SCALES, LE);
                    ((FloatVector) minima.and(63).convertShape(I2F, F, 0))
                            .fma(minimum, scale.mul(centred))
                            .intoMemorySegment(ALL, at + MINIMA, LE);
                    scales = scales.lanewise(LSHR, 8);
                    minima = minima.lanewise(LSHR, 8);
                }
                scales = more.and(0x0f0f0f0f).or(z.lanewise(LSHR, 2).and(0x30303030));
                minima = more.lanewise(LSHR, 4)
                        .and(0x0f0f0f0f)
                        .or(y.lanewise(LSHR, 2).and(0x30303030));
                o += 4 * BYTES;
            }
            p = words + apart;
            o = out + FACTOR_BYTES;
        }
    }

    static void factorsQ6k(long words, long apart, int n, long halves, long out) {
        long h = halves;
        long p = words;
        long o = out + SCALES;
        for (int group = 0; group < 2; group++) {
            FloatVector d = halves(h);
            for (int i = 0; i < 4; i++) {
                p = Memory.known(p);
                o = Memory.known(o);
                IntVector v = IntVector.fromMemorySegment(I, ALL, p, LE);
                signed(v.lanewise(LSHL, 24)).mul(d).intoMemorySegment(ALL, o, LE);
                signed(v.lanewise(LSHL, 16)).mul(d).intoMemorySegment(ALL, o + BYTES, LE);
                signed(v.lanewise(LSHL, 8)).mul(d).intoMemorySegment(ALL, o + 2 * BYTES, LE);
                signed(v).mul(d).intoMemorySegment(ALL, o + 3 * BYTES, LE);
                p += BYTES;
                o += 4 * BYTES;
            }
            h = halves + apart;
            p = words + apart;
            o = out + FACTOR_BYTES + SCALES;
        }
    }

    /** The byte on top of every lane. */
    private static FloatVector signed(IntVector v) {
        return (FloatVector) v.lanewise(ASHR, 24).convertShape(I2F, F, 0);
    }

    /** A half for every lane; the conversion is that of {@link VectorHalves#exact}. */
    private static FloatVector halves(long address) {
        return VectorHalves.exact(((IntVector) ShortVector.fromMemorySegment(HALF_S, ALL, Memory.known(address), LE)
                        .castShape(I, 0))
                .lanewise(LSHL, 16));
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
}
