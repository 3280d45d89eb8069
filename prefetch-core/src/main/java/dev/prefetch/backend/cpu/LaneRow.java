package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.LaneUnpack.FACTOR_BYTES;
import static dev.prefetch.backend.cpu.LaneUnpack.MINIMA;
import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorActivations.FACTOR_SCALES;
import static dev.prefetch.backend.cpu.VectorActivations.RECORD_FACTORS;
import static dev.prefetch.backend.cpu.VectorActivations.STARTS;
import static dev.prefetch.backend.cpu.VectorActivations.TILE_PAIR_BYTES;
import static dev.prefetch.backend.cpu.VectorActivations.TILE_ROWS;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
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
 * Multiplies 256 columns of two packed groups of rows with one row of activations: what waits for memory must not
 * store much, or the processor does not look far enough ahead.
 *
 * <p>Kernels have the arguments {@code (words, from these to the second group's, columns / 4, record of the activations, factors)}.
 * The factors of the second group are {@link LaneUnpack#FACTOR_BYTES} behind those of the first; results are {@link LaneMatvec#RESULTS} behind
 * the first ones, of both groups beside each other. In turn the groups take the same variables, the addresses of their words too, and one index leads through the words of both and their
 * multipliers. The address of the results is worked out again at the end: were it kept, 16 registers would not do for what a step needs.
 * Elements are not taken apart: see {@link VectorActivations} for what a word is multiplied with.
 *
 * <p>Loops have their condition in front: the compiler parses the body of one that has it at the end twice, and puts off inlining
 * the rest of a method when it has grown to a limit, after which vectors stay objects in some processes. See {@link Isolated}. A body may have some
 * thirty operations on vectors; reading a number from memory and broadcasting it counts as three. That is why the kernels repeat each other, and why
 * they have loops of two rounds, which the compiler parses once and then unrolls. What a loop counts is masked where it makes an
 * address, so that the compiler sees its bounds at once, and does not take an index for that of a loop which it would split into three, with checks.
 *
 * <p>Whole lanes are shifted, by constants: shifts of 16-bit lanes, or by a count in a register, take the place of a multiplication on some processors.
 *
 * <p>Products of a word are put together before they are added to those of others: with 512 bits an addition that waits for the one
 * before takes two cycles on some processors.
 */
final class LaneRow {

    private static final ShortVector EIGHT = ShortVector.broadcast(S, 8);

    /** Bytes of a word for a byte of its multipliers, which are four pairs. */
    static final int WORD_TO_MULTIPLIERS = BYTES / 16;

    private LaneRow() {}

    /** Four words to a sum, eight elements to a lane. */
    static void q4k(long words, long apart, int n, long x, long factors) {
        long p = Memory.known(words);
        long r = Memory.known(words + apart);
        long q = Memory.known(x);
        long w = Memory.known(factors);
        FloatVector sum = FloatVector.fromMemorySegment(F, ALL, w + LaneMatvec.RESULTS, LE);
        FloatVector nextSum = FloatVector.fromMemorySegment(F, ALL, w + LaneMatvec.RESULTS + BYTES, LE);
        long i = 0;
        long f = 0;
        while (f < 4 * 8) {
            f &= 63;
            ShortVector a = pair(q + STARTS + f);
            ShortVector b = a;
            long until = i + 64;
            while (i < until) {
                i &= 1023;
                for (int group = 0; group < 2; group++) {
                    IntVector v = IntVector.fromMemorySegment(I, ALL, p + WORD_TO_MULTIPLIERS * i, LE);
                    ShortVector y = v.reinterpretAsShorts().mul(pair(q + i));
                    y = y.add(v.lanewise(LSHR, 4).reinterpretAsShorts().mul(pair(q + i + 4)));
                    ShortVector z = v.lanewise(LSHR, 8).reinterpretAsShorts().mul(pair(q + i + 8));
                    z = z.add(v.lanewise(LSHR, 12).reinterpretAsShorts().mul(pair(q + i + 12)));
                    ShortVector c = a.add(y.add(z));
                    a = b;
                    b = c;
                    long next = p;
                    p = r;
                    r = next;
                }
                i += 16;
            }
            FloatVector y =
                    FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + RECORD_FACTORS + FACTOR_SCALES + TILE_ROWS * f));
            FloatVector m = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + RECORD_FACTORS + TILE_ROWS * f));
            for (int group = 0; group < 2; group++) {
                long d = w + FACTOR_BYTES * (group & 1) + LANES * f;
                IntVector z = a.reinterpretAsInts();
                z = sum(z);
                FloatVector scale = FloatVector.fromMemorySegment(F, ALL, d, LE).mul(y);
                FloatVector thisSum = ((FloatVector) z.convertShape(I2F, F, 0)).fma(scale, sum);
                thisSum = m.fma(FloatVector.fromMemorySegment(F, ALL, d + MINIMA, LE), thisSum);
                sum = nextSum;
                nextSum = thisSum;
                a = b;
            }
            f += 4;
        }
        long o = Memory.known(factors + LaneMatvec.RESULTS);
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

    /** As {@link #q4k}. */
    static void q40(long words, long apart, int n, long x, long factors) {
        long p = Memory.known(words);
        long r = Memory.known(words + apart);
        long q = Memory.known(x);
        long w = Memory.known(factors);
        FloatVector sum = FloatVector.fromMemorySegment(F, ALL, w + LaneMatvec.RESULTS, LE);
        FloatVector nextSum = FloatVector.fromMemorySegment(F, ALL, w + LaneMatvec.RESULTS + BYTES, LE);
        long i = 0;
        long f = 0;
        while (f < n / 2) {
            f &= 63;
            ShortVector a = pair(q + STARTS + f);
            ShortVector b = a;
            long until = i + 64;
            while (i < until) {
                i &= 1023;
                for (int group = 0; group < 2; group++) {
                    IntVector v = IntVector.fromMemorySegment(I, ALL, p + WORD_TO_MULTIPLIERS * i, LE);
                    ShortVector y = v.reinterpretAsShorts().mul(pair(q + i));
                    y = y.add(v.lanewise(LSHR, 4).reinterpretAsShorts().mul(pair(q + i + 4)));
                    ShortVector z = v.lanewise(LSHR, 8).reinterpretAsShorts().mul(pair(q + i + 8));
                    z = z.add(v.lanewise(LSHR, 12).reinterpretAsShorts().mul(pair(q + i + 12)));
                    ShortVector c = a.add(y.add(z));
                    a = b;
                    b = c;
                    long next = p;
                    p = r;
                    r = next;
                }
                i += 16;
            }
            FloatVector y =
                    FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + RECORD_FACTORS + FACTOR_SCALES + TILE_ROWS * f));
            for (int group = 0; group < 2; group++) {
                long d = w + FACTOR_BYTES * (group & 1) + LANES * f;
                IntVector z = a.reinterpretAsInts();
                z = sum(z);
                FloatVector scale = FloatVector.fromMemorySegment(F, ALL, d, LE).mul(y);
                FloatVector thisSum = ((FloatVector) z.convertShape(I2F, F, 0)).fma(scale, sum);
                sum = nextSum;
                nextSum = thisSum;
                a = b;
            }
            f += 4;
        }
        long o = Memory.known(factors + LaneMatvec.RESULTS);
        sum.intoMemorySegment(ALL, o, LE);
        nextSum.intoMemorySegment(ALL, o + BYTES, LE);
    }

    /** Five words to a sum, six elements to a lane and two bits of the rest. */
    static void q5k(long words, long apart, int n, long x, long factors) {
        long p = Memory.known(words);
        long r = Memory.known(words + apart);
        long q = Memory.known(x);
        long w = Memory.known(factors);
        FloatVector sum = FloatVector.fromMemorySegment(F, ALL, w + LaneMatvec.RESULTS, LE);
        FloatVector nextSum = FloatVector.fromMemorySegment(F, ALL, w + LaneMatvec.RESULTS + BYTES, LE);
        long i = 0;
        long f = 0;
        while (f < 4 * 8) {
            f &= 63;
            ShortVector a = pair(q + STARTS + f);
            ShortVector b = a;
            long until = i + 80;
            while (i < until) {
                i &= 1023;
                for (int group = 0; group < 2; group++) {
                    IntVector v = IntVector.fromMemorySegment(I, ALL, p + WORD_TO_MULTIPLIERS * i, LE);
                    ShortVector y = v.reinterpretAsShorts().mul(pair(q + i));
                    y = y.add(v.lanewise(LSHR, 5).reinterpretAsShorts().mul(pair(q + i + 4)));
                    ShortVector z = v.lanewise(LSHR, 10).reinterpretAsShorts().mul(pair(q + i + 8));
                    z = z.add(v.lanewise(LSHR, 15).reinterpretAsShorts().mul(pair(q + i + 12)));
                    ShortVector c = a.add(y.add(z));
                    a = b;
                    b = c;
                    long next = p;
                    p = r;
                    r = next;
                }
                i += 16;
            }
            FloatVector y =
                    FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + RECORD_FACTORS + FACTOR_SCALES + TILE_ROWS * f));
            FloatVector m = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + RECORD_FACTORS + TILE_ROWS * f));
            for (int group = 0; group < 2; group++) {
                long d = w + FACTOR_BYTES * (group & 1) + LANES * f;
                IntVector z = a.reinterpretAsInts();
                z = sum(z);
                FloatVector scale = FloatVector.fromMemorySegment(F, ALL, d, LE).mul(y);
                FloatVector thisSum = ((FloatVector) z.convertShape(I2F, F, 0)).fma(scale, sum);
                thisSum = m.fma(FloatVector.fromMemorySegment(F, ALL, d + MINIMA, LE), thisSum);
                sum = nextSum;
                nextSum = thisSum;
                a = b;
            }
            f += 4;
        }
        long o = Memory.known(factors + LaneMatvec.RESULTS);
        sum.intoMemorySegment(ALL, o, LE);
        nextSum.intoMemorySegment(ALL, o + BYTES, LE);
    }

    /** Three words to a sum, four elements to a lane and some bits of two others. */
    static void q6k(long words, long apart, int n, long x, long factors) {
        long p = Memory.known(words);
        long r = Memory.known(words + apart);
        long q = Memory.known(x);
        long w = Memory.known(factors);
        FloatVector sum = FloatVector.fromMemorySegment(F, ALL, w + LaneMatvec.RESULTS, LE);
        FloatVector nextSum = FloatVector.fromMemorySegment(F, ALL, w + LaneMatvec.RESULTS + BYTES, LE);
        long i = 0;
        long f = 0;
        while (f < 4 * 16) {
            f &= 63;
            i &= 4095;
            ShortVector a = pair(q + STARTS + f);
            ShortVector b = a;
            long last = i + 2 * BYTES;
            long until = i + 3 * BYTES;
            long m = q + 10 * f;
            while (i < until) {
                i &= 4095;
                m = Memory.known(m);
                for (int group = 0; group < 2; group++) {
                    IntVector v = IntVector.fromMemorySegment(I, ALL, p + i, LE);
                    ShortVector y = v.reinterpretAsShorts().mul(pair(m));
                    y = y.add(v.lanewise(LSHR, 6).reinterpretAsShorts().mul(pair(m + 4)));
                    ShortVector z = v.lanewise(LSHR, 12).reinterpretAsShorts().mul(pair(m + 8));
                    ShortVector c = a.add(y.add(z));
                    a = b;
                    b = c;
                    long next = p;
                    p = r;
                    r = next;
                }
                i += BYTES;
                m += 12;
            }
            ShortVector rest = pair(Memory.known(m));
            FloatVector y =
                    FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + RECORD_FACTORS + FACTOR_SCALES + TILE_ROWS * f));
            for (int group = 0; group < 2; group++) {
                long d = w + FACTOR_BYTES * (group & 1) + LANES * f;
                IntVector v = IntVector.fromMemorySegment(I, ALL, p + last, LE);
                IntVector z = a.add(v.lanewise(LSHR, 14).reinterpretAsShorts().mul(rest))
                        .reinterpretAsInts();
                z = sum(z);
                FloatVector scale = FloatVector.fromMemorySegment(F, ALL, d, LE).mul(y);
                FloatVector thisSum = ((FloatVector) z.convertShape(I2F, F, 0)).fma(scale, sum);
                sum = nextSum;
                nextSum = thisSum;
                a = b;
                long next = p;
                p = r;
                r = next;
            }
            f += 4;
        }
        long o = Memory.known(factors + LaneMatvec.RESULTS);
        sum.intoMemorySegment(ALL, o, LE);
        nextSum.intoMemorySegment(ALL, o + BYTES, LE);
    }

    /** A pair of 16-bit numbers in every lane. */
    static ShortVector pair(long address) {
        return IntVector.broadcast(I, ALL.get(Memory.INT, address)).reinterpretAsShorts();
    }

    /** Of both halves of a lane, which half a lane holds. */
    static IntVector sum(IntVector halves) {
        return halves.add(halves.lanewise(LSHL, 16)).lanewise(ASHR, 16);
    }

    /** Shifted right by 8 with the sign. */
    static ShortVector signed(ShortVector v) {
        return BYTES == 64 ? v.lanewise(ASHR, EIGHT) : v.lanewise(ASHR, 8);
    }
}
