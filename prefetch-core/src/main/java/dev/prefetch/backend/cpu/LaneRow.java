package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.LaneUnpack.FACTOR_BYTES;
import static dev.prefetch.backend.cpu.LaneUnpack.MINIMA;
import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorActivations.FACTOR_SCALES;
import static dev.prefetch.backend.cpu.VectorActivations.RECORD_FACTORS;
import static dev.prefetch.backend.cpu.VectorActivations.STARTS;
import static dev.prefetch.backend.cpu.VectorActivations.TILE_PAIR_BYTES;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
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
 * Multiplies 256 columns of two packed groups of rows with one row of activations: what waits for memory must not
 * store much, or the processor does not look far enough ahead.
 *
 * <p>Kernels have the arguments {@code (words, from these to the second group's, columns / 4, record of the activations, factors)}.
 * The factors of the second group are {@link LaneUnpack#FACTOR_BYTES} behind those of the first; results are {@link LaneMatvec#RESULTS} behind
 * the first ones, of both groups beside each other. In turn the groups take the same variables, the addresses of their words too. The address of
 * the results is worked out again at the end: were it kept, 16 registers would not do for what a step needs.
 * Elements are not taken apart: see {@link VectorActivations} for what a word is multiplied with.
 *
 * <p>Loops have their condition in front: the compiler parses the body of one that has it at the end twice, and puts off inlining
 * the rest of a method when it has grown to a limit, after which vectors stay objects in some processes. See {@link Isolated}. A body may have some
 * thirty operations on vectors; reading a number from memory and broadcasting it counts as three. That is why the kernels repeat each other, and why
 * they have loops of two rounds, which the compiler parses once and then unrolls. What such a loop counts is masked where it makes an
 * address, so that the compiler sees its bounds before it unrolls.
 *
 * <p>Products of a word are put together before they are added to those of others: with 512 bits an addition that waits for the one
 * before takes two cycles on some processors.
 */
final class LaneRow {

    static final ShortVector FOUR = ShortVector.broadcast(S, 4);
    private static final ShortVector FIVE = ShortVector.broadcast(S, 5);
    private static final ShortVector SIX = ShortVector.broadcast(S, 6);
    private static final ShortVector EIGHT = ShortVector.broadcast(S, 8);
    private static final ShortVector TEN = ShortVector.broadcast(S, 10);

    // Not final on purpose: a count that the compiler knows it brings to a vector register in front of every shift of
    // 16-bit lanes, others once.
    private static int four = 4;
    private static int five = 5;
    private static int six = 6;
    private static int eight = 8;
    private static int ten = 10;
    private static int fourteen = 14;

    private LaneRow() {}

    /** Four words to a sum, four elements to half a lane. */
    static void q4k(long words, long apart, int n, long x, long factors) {
        int four = LaneRow.four;
        int eight = LaneRow.eight;
        long p = words;
        long r = words + apart;
        long end = p + 32L * BYTES;
        long q = x;
        long f = x + RECORD_FACTORS;
        long start = x + STARTS;
        long w = factors;
        long o = Memory.known(factors + LaneMatvec.RESULTS);
        FloatVector sum = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector nextSum = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
        while (p < end) {
            ShortVector a = pair(Memory.known(start));
            ShortVector b = a;
            long until = p + 4L * BYTES;
            while (p < until) {
                p = Memory.known(p);
                r = Memory.known(r);
                q = Memory.known(q);
                for (int group = 0; group < 2; group++) {
                    ShortVector v = ShortVector.fromMemorySegment(S, ALL, p, LE);
                    ShortVector c = a;
                    for (int k = 0; k < 2; k++) {
                        long m = q + 8 * (k & 1);
                        c = c.add(v.mul(pair(m)).add(shifted(v, four, FOUR).mul(pair(m + 4))));
                        v = shifted(v, eight, EIGHT);
                    }
                    a = b;
                    b = c;
                    long next = p + BYTES;
                    p = r;
                    r = next;
                }
                q += 16;
            }
            f = Memory.known(f);
            FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, f + FACTOR_SCALES));
            FloatVector m = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, f));
            for (int group = 0; group < 2; group++) {
                long d = Memory.known(w + FACTOR_BYTES * (group & 1));
                IntVector z = a.reinterpretAsInts();
                z = z.lanewise(LSHL, 16).lanewise(ASHR, 16).add(z.lanewise(ASHR, 16));
                FloatVector scale = FloatVector.fromMemorySegment(F, ALL, d, LE).mul(y);
                FloatVector thisSum = ((FloatVector) z.convertShape(I2F, F, 0)).fma(scale, sum);
                thisSum = m.fma(FloatVector.fromMemorySegment(F, ALL, d + MINIMA, LE), thisSum);
                sum = nextSum;
                nextSum = thisSum;
                a = b;
            }
            start += 4;
            f += TILE_PAIR_BYTES;
            w += BYTES;
        }
        o = Memory.known(factors + LaneMatvec.RESULTS);
        sum.intoMemorySegment(ALL, o, LE);
        nextSum.intoMemorySegment(ALL, o + BYTES, LE);
    }

    /** Two elements to half a lane: their products fill 16 bits, so that those of each word are put together with 32. */
    static void q80(long words, long apart, int n, long x, long factors) {
        long p = words;
        long r = words + apart;
        long end = p + (long) BYTES * n;
        long q = x;
        long f = x + RECORD_FACTORS + FACTOR_SCALES;
        long w = factors;
        long o = Memory.known(factors + LaneMatvec.RESULTS);
        FloatVector sum = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector nextSum = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
        while (p < end) {
            // Of both halves of a lane, where the lower one is not negative, and of the upper one.
            IntVector both = IntVector.zero(I);
            IntVector upper = both;
            IntVector nextBoth = both;
            IntVector nextUpper = both;
            long until = p + 8L * BYTES;
            while (p < until) {
                p = Memory.known(p);
                r = Memory.known(r);
                q = Memory.known(q);
                ShortVector a = pair(q);
                ShortVector b = pair(q + 4);
                ShortVector start = pair(q + 8);
                for (int group = 0; group < 2; group++) {
                    ShortVector v = ShortVector.fromMemorySegment(S, ALL, p, LE);
                    IntVector z = start.add(v.mul(a)).add(signed(v).mul(b)).reinterpretAsInts();
                    IntVector thisBoth = both.add(z);
                    IntVector thisUpper = upper.add(z.lanewise(ASHR, 16));
                    both = nextBoth;
                    upper = nextUpper;
                    nextBoth = thisBoth;
                    nextUpper = thisUpper;
                    long next = p + BYTES;
                    p = r;
                    r = next;
                }
                q += 12;
            }
            FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(f)));
            for (int group = 0; group < 2; group++) {
                long d = Memory.known(w + FACTOR_BYTES * (group & 1));
                IntVector z = both.sub(upper.lanewise(LSHL, 16)).add(upper).sub(8 << 15);
                FloatVector scale = FloatVector.fromMemorySegment(F, ALL, d, LE).mul(y);
                FloatVector thisSum = ((FloatVector) z.convertShape(I2F, F, 0)).fma(scale, sum);
                sum = nextSum;
                nextSum = thisSum;
                both = nextBoth;
                upper = nextUpper;
            }
            f += TILE_PAIR_BYTES;
            w += BYTES;
        }
        o = Memory.known(factors + LaneMatvec.RESULTS);
        sum.intoMemorySegment(ALL, o, LE);
        nextSum.intoMemorySegment(ALL, o + BYTES, LE);
    }

    /** As {@link #q4k}, but the sum of a whole lane fits 16 bits: the halves are one chain, and shifts by a constant exist for whole lanes only. */
    static void q40(long words, long apart, int n, long x, long factors) {
        long p = words;
        long r = words + apart;
        long end = p + 4L * BYTES * (n / 8);
        long q = x;
        long f = x + RECORD_FACTORS + FACTOR_SCALES;
        long start = x + STARTS;
        long w = factors;
        long o = Memory.known(factors + LaneMatvec.RESULTS);
        FloatVector sum = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector nextSum = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
        while (p < end) {
            ShortVector a = pair(Memory.known(start));
            ShortVector b = a;
            long until = p + 4L * BYTES;
            while (p < until) {
                p = Memory.known(p);
                r = Memory.known(r);
                q = Memory.known(q);
                for (int group = 0; group < 2; group++) {
                    IntVector v = IntVector.fromMemorySegment(I, ALL, p, LE);
                    ShortVector y = v.reinterpretAsShorts().mul(pair(q));
                    y = y.add(v.lanewise(LSHR, 4).reinterpretAsShorts().mul(pair(q + 4)));
                    ShortVector z = v.lanewise(LSHR, 8).reinterpretAsShorts().mul(pair(q + 8));
                    z = z.add(v.lanewise(LSHR, 12).reinterpretAsShorts().mul(pair(q + 12)));
                    ShortVector c = a.add(y.add(z));
                    a = b;
                    b = c;
                    long next = p + BYTES;
                    p = r;
                    r = next;
                }
                q += 16;
            }
            FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(f)));
            for (int group = 0; group < 2; group++) {
                long d = Memory.known(w + FACTOR_BYTES * (group & 1));
                IntVector z = a.reinterpretAsInts();
                z = z.add(z.lanewise(LSHL, 16)).lanewise(ASHR, 16);
                FloatVector scale = FloatVector.fromMemorySegment(F, ALL, d, LE).mul(y);
                FloatVector thisSum = ((FloatVector) z.convertShape(I2F, F, 0)).fma(scale, sum);
                sum = nextSum;
                nextSum = thisSum;
                a = b;
            }
            start += 4;
            f += TILE_PAIR_BYTES;
            w += BYTES;
        }
        o = Memory.known(factors + LaneMatvec.RESULTS);
        sum.intoMemorySegment(ALL, o, LE);
        nextSum.intoMemorySegment(ALL, o + BYTES, LE);
    }

    /** Five words to a sum, three elements to half a lane and a bit of the sixteenth. */
    static void q5k(long words, long apart, int n, long x, long factors) {
        int five = LaneRow.five;
        int ten = LaneRow.ten;
        long p = words;
        long r = words + apart;
        long end = p + 40L * BYTES;
        long q = x;
        long f = x + RECORD_FACTORS;
        long start = x + STARTS;
        long w = factors;
        long o = Memory.known(factors + LaneMatvec.RESULTS);
        FloatVector sum = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector nextSum = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
        while (p < end) {
            ShortVector a = pair(Memory.known(start));
            ShortVector b = a;
            long until = p + 5L * BYTES;
            while (p < until) {
                p = Memory.known(p);
                r = Memory.known(r);
                q = Memory.known(q);
                for (int group = 0; group < 2; group++) {
                    ShortVector v = ShortVector.fromMemorySegment(S, ALL, p, LE);
                    ShortVector c = a;
                    for (int k = 0; k < 2; k++) {
                        long m = q + 8 * (k & 1);
                        c = c.add(v.mul(pair(m)).add(shifted(v, five, FIVE).mul(pair(m + 4))));
                        v = shifted(v, ten, TEN);
                    }
                    a = b;
                    b = c;
                    long next = p + BYTES;
                    p = r;
                    r = next;
                }
                q += 16;
            }
            f = Memory.known(f);
            FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, f + FACTOR_SCALES));
            FloatVector m = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, f));
            for (int group = 0; group < 2; group++) {
                long d = Memory.known(w + FACTOR_BYTES * (group & 1));
                IntVector z = a.reinterpretAsInts();
                z = z.lanewise(LSHL, 16).lanewise(ASHR, 16).add(z.lanewise(ASHR, 16));
                FloatVector scale = FloatVector.fromMemorySegment(F, ALL, d, LE).mul(y);
                FloatVector thisSum = ((FloatVector) z.convertShape(I2F, F, 0)).fma(scale, sum);
                thisSum = m.fma(FloatVector.fromMemorySegment(F, ALL, d + MINIMA, LE), thisSum);
                sum = nextSum;
                nextSum = thisSum;
                a = b;
            }
            start += 4;
            f += TILE_PAIR_BYTES;
            w += BYTES;
        }
        o = Memory.known(factors + LaneMatvec.RESULTS);
        sum.intoMemorySegment(ALL, o, LE);
        nextSum.intoMemorySegment(ALL, o + BYTES, LE);
    }

    /** Three words to a sum, two elements to half a lane and some bits of a third. */
    static void q6k(long words, long apart, int n, long x, long factors) {
        int six = LaneRow.six;
        int fourteen = LaneRow.fourteen;
        long p = words;
        long r = words + apart;
        long end = p + 48L * BYTES;
        long q = x;
        long f = x + RECORD_FACTORS + FACTOR_SCALES;
        long start = x + STARTS;
        long w = factors;
        long o = Memory.known(factors + LaneMatvec.RESULTS);
        FloatVector sum = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector nextSum = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
        while (p < end) {
            ShortVector a = pair(Memory.known(start));
            ShortVector b = a;
            long until = p + 3L * BYTES;
            while (p < until) {
                p = Memory.known(p);
                r = Memory.known(r);
                q = Memory.known(q);
                for (int group = 0; group < 2; group++) {
                    ShortVector v = ShortVector.fromMemorySegment(S, ALL, p, LE);
                    ShortVector y = v.mul(pair(q));
                    for (int k = 0; k < 2; k++) {
                        v = shifted(v, six, SIX);
                        y = y.add(v.mul(pair(q + 4 + 4 * (k & 1))));
                    }
                    ShortVector c = a.add(y);
                    a = b;
                    b = c;
                    long next = p + BYTES;
                    p = r;
                    r = next;
                }
                q += 12;
            }
            q = Memory.known(q);
            ShortVector last = pair(q);
            q += 4;
            p = Memory.known(p - BYTES);
            r = Memory.known(r - BYTES);
            FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(f)));
            for (int group = 0; group < 2; group++) {
                long d = Memory.known(w + FACTOR_BYTES * (group & 1));
                ShortVector u = ShortVector.fromMemorySegment(S, ALL, p, LE);
                IntVector z = a.add(u.lanewise(LSHR, fourteen).mul(last)).reinterpretAsInts();
                z = z.lanewise(LSHL, 16).lanewise(ASHR, 16).add(z.lanewise(ASHR, 16));
                FloatVector scale = FloatVector.fromMemorySegment(F, ALL, d, LE).mul(y);
                FloatVector thisSum = ((FloatVector) z.convertShape(I2F, F, 0)).fma(scale, sum);
                sum = nextSum;
                nextSum = thisSum;
                a = b;
                long next = p + BYTES;
                p = r;
                r = next;
            }
            start += 4;
            f += TILE_PAIR_BYTES;
            w += BYTES;
        }
        o = Memory.known(factors + LaneMatvec.RESULTS);
        sum.intoMemorySegment(ALL, o, LE);
        nextSum.intoMemorySegment(ALL, o + BYTES, LE);
    }

    /** A pair of 16-bit numbers in every lane. */
    static ShortVector pair(long address) {
        return IntVector.broadcast(I, ALL.get(Memory.INT, address)).reinterpretAsShorts();
    }

    /**
     * Shifted right without sign, by {@code bits} or by a count in every lane: for 512 bits there is an instruction that takes a count for each lane, for
     * fewer often none. The one that takes a single count from a register keeps multiplications waiting on some processors.
     */
    static ShortVector shifted(ShortVector v, int bits, ShortVector count) {
        return BYTES == 64 ? v.lanewise(LSHR, count) : v.lanewise(LSHR, bits);
    }

    /** Shifted right by 8 with the sign. */
    static ShortVector signed(ShortVector v) {
        return BYTES == 64 ? v.lanewise(ASHR, EIGHT) : v.lanewise(ASHR, 8);
    }
}
