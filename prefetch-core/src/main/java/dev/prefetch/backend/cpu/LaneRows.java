package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.LaneProducts.DISTANCE;
import static dev.prefetch.backend.cpu.LaneProducts.TOKEN_SUMS;
import static dev.prefetch.backend.cpu.LaneRow.WORD_TO_MULTIPLIERS;
import static dev.prefetch.backend.cpu.LaneRow.pair;
import static dev.prefetch.backend.cpu.LaneRow.signed;
import static dev.prefetch.backend.cpu.LaneRow.sum;
import static dev.prefetch.backend.cpu.LaneUnpack.FACTOR_BYTES;
import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorActivations.FACTOR_SCALES;
import static dev.prefetch.backend.cpu.VectorActivations.RECORD_BYTES;
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
 * Multiplies 256 columns of two packed groups of rows with two or four rows of activations, as {@link LaneRow} with one. Their sums are those
 * that {@link LaneProducts} has of elements taken apart, and stand where these stand.
 *
 * <p>Kernels have the arguments {@code (words, from these to the second group's, columns / 4, the first row's record, sums)}; the other rows' records are behind the first.
 * That of four rows of {@code Q4_0} goes on to results, as {@link LaneRow} does, for any number of rows.
 */
final class LaneRows {

    private static final IntVector FOUR = IntVector.broadcast(I, 4);

    private LaneRows() {}

    static void twoQ40(long words, long apart, int n, long x, long sums) {
        two(Memory.known(words), Memory.known(words + apart), 4, n / 2, Memory.known(x), Memory.known(sums));
    }

    static void twoQ4k(long words, long apart, int n, long x, long sums) {
        two(Memory.known(words), Memory.known(words + apart), 4, n / 2, Memory.known(x), Memory.known(sums));
    }

    static void twoQ5k(long words, long apart, int n, long x, long sums) {
        two(Memory.known(words), Memory.known(words + apart), 5, n / 2, Memory.known(x), Memory.known(sums));
    }

    /**
     * To results {@code [row of activations][group]}, to which it adds. All rows of activations see a block of 32 columns before the next one, so that words are
     * read from memory at an even pace. The sums of four rows take turns, as in {@link #four}.
     *
     * @param tokens rows of activations, a multiple of four; the last ones may be records that no row has
     */
    static void fourQ40(long words, long apart, int n, long x, int tokens, long factors, long results) {
        long block = words;
        long end = words + 4L * BYTES * (n / 8);
        long columns = 0;
        long start = STARTS;
        long scales = RECORD_FACTORS + FACTOR_SCALES;
        long s = factors;
        long last = results + 2L * BYTES * tokens;
        while (block < end) {
            long until = block + 4L * BYTES;
            long records = x;
            long o = results;
            while (o < last) {
                long at = Memory.known(records + start);
                ShortVector a = pair(at);
                ShortVector b = pair(at + RECORD_BYTES);
                ShortVector c = pair(at + 2 * RECORD_BYTES);
                ShortVector d = pair(at + 3 * RECORD_BYTES);
                ShortVector nextA = a;
                ShortVector nextB = b;
                ShortVector nextC = c;
                ShortVector nextD = d;
                long p = block;
                long q = records + columns;
                while (p < until) {
                    p = Memory.known(p);
                    q = Memory.known(q);
                    IntVector v = IntVector.fromMemorySegment(I, ALL, p, LE);
                    IntVector w = IntVector.fromMemorySegment(I, ALL, Memory.known(p + apart), LE);
                    for (int k = 0; k < 4; k++) {
                        long m = q + 4 * (k & 3);
                        for (int row = 0; row < 4; row++) {
                            ShortVector y = pair(distinct(m + RECORD_BYTES * (row & 3)));
                            ShortVector sum = a.add(v.reinterpretAsShorts().mul(y));
                            ShortVector nextSum =
                                    nextA.add(w.reinterpretAsShorts().mul(y));
                            a = b;
                            b = c;
                            c = d;
                            d = sum;
                            nextA = nextB;
                            nextB = nextC;
                            nextC = nextD;
                            nextD = nextSum;
                        }
                        v = v.lanewise(LSHR, FOUR);
                        w = w.lanewise(LSHR, FOUR);
                    }
                    p += BYTES;
                    q += 16;
                }
                s = Memory.known(s);
                o = Memory.known(o);
                long f = Memory.known(records + scales);
                FloatVector scale = FloatVector.fromMemorySegment(F, ALL, s, LE);
                FloatVector nextScale = FloatVector.fromMemorySegment(F, ALL, s + FACTOR_BYTES, LE);
                for (int row = 0; row < 4; row++) {
                    FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, f + 4 * (row & 3)));
                    long out = o + 2 * BYTES * (row & 3);
                    IntVector z = a.reinterpretAsInts();
                    z = sum(z);
                    FloatVector sum = FloatVector.fromMemorySegment(F, ALL, out, LE);
                    sum = ((FloatVector) z.convertShape(I2F, F, 0)).fma(scale.mul(y), sum);
                    z = nextA.reinterpretAsInts();
                    z = sum(z);
                    FloatVector nextSum = FloatVector.fromMemorySegment(F, ALL, out + BYTES, LE);
                    nextSum = ((FloatVector) z.convertShape(I2F, F, 0)).fma(nextScale.mul(y), nextSum);
                    sum.intoMemorySegment(ALL, out, LE);
                    nextSum.intoMemorySegment(ALL, out + BYTES, LE);
                    a = b;
                    b = c;
                    c = d;
                    nextA = nextB;
                    nextB = nextC;
                    nextC = nextD;
                }
                records += 4 * RECORD_BYTES;
                o += 8 * BYTES;
            }
            block += 4 * BYTES;
            columns += 64;
            start += 4;
            scales += TILE_PAIR_BYTES;
            s += BYTES;
        }
    }

    static void fourQ4k(long words, long apart, int n, long x, long sums) {
        four(words, apart, n / 8, 4, x, sums);
    }

    static void fourQ5k(long words, long apart, int n, long x, long sums) {
        four(words, apart, n / 8, 5, x, sums);
    }

    /**
     * Groups of 32 columns, each with as many words as an element has bits, and four multiplications to a word. Small enough (325 bytes) to be inlined, so that the
     * compiler knows the number of bits: {@link LaneRow} says why.
     *
     * @param end of the groups, four for each
     */
    private static void two(long words, long nextWords, int bits, long end, long q, long sums) {
        long p = words;
        long r = nextWords;
        long i = 0;
        long f = 0;
        while (f < end) {
            f &= 63;
            ShortVector a = pair(q + STARTS + f);
            ShortVector b = pair(q + STARTS + RECORD_BYTES + f);
            ShortVector nextA = a;
            ShortVector nextB = b;
            long until = i + 16 * bits;
            while (i < until) {
                i &= 1023;
                for (int group = 0; group < 2; group++) {
                    IntVector v = words(p + WORD_TO_MULTIPLIERS * i);
                    ShortVector c = a;
                    ShortVector d = b;
                    for (int k = 0; k < 4; k++) {
                        long m = q + i + 4 * (k & 3);
                        c = c.add(products(v, m));
                        d = d.add(products(v, m + RECORD_BYTES));
                        v = v.lanewise(LSHR, bits);
                    }
                    a = nextA;
                    b = nextB;
                    nextA = c;
                    nextB = d;
                    long next = p;
                    p = r;
                    r = next;
                }
                i += 16;
            }
            long o = sums + DISTANCE / 4 * f;
            store(a, o);
            store(nextA, o + BYTES);
            store(b, o + TOKEN_SUMS);
            store(nextB, o + TOKEN_SUMS + BYTES);
            f += 4;
        }
    }

    private static IntVector words(long address) {
        return IntVector.fromMemorySegment(I, ALL, address, LE);
    }

    /** Of words with a pair of multipliers. */
    private static ShortVector products(IntVector words, long multipliers) {
        return words.reinterpretAsShorts().mul(pair(distinct(multipliers)));
    }

    private static void store(ShortVector sums, long address) {
        sums.intoMemorySegment(ALL, address, LE);
    }

    /** The sums of the rows take turns in the first variables. */
    private static void four(long words, long apart, int groups, int bits, long x, long sums) {
        IntVector count = IntVector.broadcast(I, bits);
        long p = words;
        long r = words + apart;
        long end = p + (long) BYTES * bits * groups;
        long q = x;
        long start = x + STARTS;
        long o = sums;
        while (p < end) {
            start = Memory.known(start);
            ShortVector a = pair(start);
            ShortVector b = pair(start + RECORD_BYTES);
            ShortVector c = pair(start + 2 * RECORD_BYTES);
            ShortVector d = pair(start + 3 * RECORD_BYTES);
            ShortVector nextA = a;
            ShortVector nextB = b;
            ShortVector nextC = c;
            ShortVector nextD = d;
            long until = p + (long) BYTES * bits;
            while (p < until) {
                p = Memory.known(p);
                r = Memory.known(r);
                q = Memory.known(q);
                IntVector v = IntVector.fromMemorySegment(I, ALL, p, LE);
                IntVector w = IntVector.fromMemorySegment(I, ALL, r, LE);
                for (int k = 0; k < 4; k++) {
                    long m = q + 4 * (k & 3);
                    for (int row = 0; row < 4; row++) {
                        ShortVector y = pair(distinct(m + RECORD_BYTES * (row & 3)));
                        ShortVector sum = a.add(v.reinterpretAsShorts().mul(y));
                        ShortVector nextSum = nextA.add(w.reinterpretAsShorts().mul(y));
                        a = b;
                        b = c;
                        c = d;
                        d = sum;
                        nextA = nextB;
                        nextB = nextC;
                        nextC = nextD;
                        nextD = nextSum;
                    }
                    v = v.lanewise(LSHR, count);
                    w = w.lanewise(LSHR, count);
                }
                p += BYTES;
                r += BYTES;
                q += 16;
            }
            o = Memory.known(o);
            a.intoMemorySegment(ALL, o, LE);
            nextA.intoMemorySegment(ALL, o + BYTES, LE);
            b.intoMemorySegment(ALL, o + TOKEN_SUMS, LE);
            nextB.intoMemorySegment(ALL, o + TOKEN_SUMS + BYTES, LE);
            c.intoMemorySegment(ALL, o + 2 * TOKEN_SUMS, LE);
            nextC.intoMemorySegment(ALL, o + 2 * TOKEN_SUMS + BYTES, LE);
            d.intoMemorySegment(ALL, o + 3 * TOKEN_SUMS, LE);
            nextD.intoMemorySegment(ALL, o + 3 * TOKEN_SUMS + BYTES, LE);
            start += 4;
            o += DISTANCE;
        }
    }

    /**
     * Where 32 registers tempt the compiler to multiply with everything first, after which sums go through memory, an address that it takes for a number of its own.
     */
    private static long distinct(long address) {
        return BYTES == 64 ? Memory.known(address) : address;
    }

    static void twoQ6k(long words, long apart, int n, long x, long sums) {
        long p = words;
        long r = words + apart;
        long end = p + 48L * BYTES;
        long q = x;
        long start = x + STARTS;
        long o = sums;
        while (p < end) {
            start = Memory.known(start);
            ShortVector a = pair(start);
            ShortVector b = pair(start + RECORD_BYTES);
            ShortVector nextA = a;
            ShortVector nextB = b;
            long until = p + 3L * BYTES;
            while (p < until) {
                p = Memory.known(p);
                r = Memory.known(r);
                q = Memory.known(q);
                IntVector v = IntVector.fromMemorySegment(I, ALL, p, LE);
                IntVector w = IntVector.fromMemorySegment(I, ALL, r, LE);
                for (int k = 0; k < 3; k++) {
                    long m = q + 4 * (k & 3);
                    ShortVector y = pair(m);
                    a = a.add(v.reinterpretAsShorts().mul(y));
                    nextA = nextA.add(w.reinterpretAsShorts().mul(y));
                    y = pair(m + RECORD_BYTES);
                    b = b.add(v.reinterpretAsShorts().mul(y));
                    nextB = nextB.add(w.reinterpretAsShorts().mul(y));
                    v = v.lanewise(LSHR, 6);
                    w = w.lanewise(LSHR, 6);
                }
                p += BYTES;
                r += BYTES;
                q += 12;
            }
            q = Memory.known(q);
            ShortVector y = pair(q);
            ShortVector z = pair(q + RECORD_BYTES);
            o = Memory.known(o);
            for (int group = 0; group < 2; group++) {
                long at = Memory.known(group == 0 ? p - BYTES : r - BYTES);
                ShortVector u = IntVector.fromMemorySegment(I, ALL, at, LE)
                        .lanewise(LSHR, 14)
                        .reinterpretAsShorts();
                long out = o + BYTES * (group & 1);
                a.add(u.mul(y)).intoMemorySegment(ALL, out, LE);
                b.add(u.mul(z)).intoMemorySegment(ALL, out + TOKEN_SUMS, LE);
                a = nextA;
                b = nextB;
            }
            q += 4;
            start += 4;
            o += DISTANCE;
        }
    }

    /**
     * Products of bytes fill half a lane, so that the sums of a block of 32 columns have 32 bits; see
     * {@link LaneProducts#finishWide}. The sums of the rows take turns in the first variables, so that the body is written, and parsed, once.
     */
    static void twoQ80(long words, long apart, int n, long x, long sums) {
        long p = words;
        long r = words + apart;
        long end = p + (long) BYTES * n;
        long q = x;
        long o = sums;
        while (p < end) {
            // Of both halves of a lane, where the lower one is not negative, and of the upper one; of either group.
            IntVector a0 = IntVector.zero(I);
            IntVector a1 = a0;
            IntVector b0 = a0;
            IntVector b1 = a0;
            IntVector upperA0 = a0;
            IntVector upperA1 = a0;
            IntVector upperB0 = a0;
            IntVector upperB1 = a0;
            long until = p + 8L * BYTES;
            while (p < until) {
                p = Memory.known(p);
                r = Memory.known(r);
                q = Memory.known(q);
                ShortVector v = ShortVector.fromMemorySegment(S, ALL, p, LE);
                ShortVector w = signed(v);
                ShortVector nextV = ShortVector.fromMemorySegment(S, ALL, r, LE);
                ShortVector nextW = signed(nextV);
                for (int row = 0; row < 2; row++) {
                    long m = q + RECORD_BYTES * (row & 1);
                    ShortVector y = pair(m);
                    ShortVector z = pair(m + 4);
                    ShortVector start = pair(m + 8);
                    IntVector s = start.add(v.mul(y)).add(w.mul(z)).reinterpretAsInts();
                    IntVector both = a0.add(s);
                    IntVector upper = upperA0.add(s.lanewise(ASHR, 16));
                    s = start.add(nextV.mul(y)).add(nextW.mul(z)).reinterpretAsInts();
                    IntVector nextBoth = a1.add(s);
                    IntVector nextUpper = upperA1.add(s.lanewise(ASHR, 16));
                    a0 = b0;
                    a1 = b1;
                    b0 = both;
                    b1 = nextBoth;
                    upperA0 = upperB0;
                    upperA1 = upperB1;
                    upperB0 = upper;
                    upperB1 = nextUpper;
                }
                p += BYTES;
                r += BYTES;
                q += 12;
            }
            o = Memory.known(o);
            for (int row = 0; row < 2; row++) {
                long at = o + TOKEN_SUMS * (row & 1);
                a0.sub(upperA0.lanewise(LSHL, 16)).add(upperA0).intoMemorySegment(ALL, at, LE);
                a1.sub(upperA1.lanewise(LSHL, 16)).add(upperA1).intoMemorySegment(ALL, at + BYTES, LE);
                a0 = b0;
                a1 = b1;
                upperA0 = upperB0;
                upperA1 = upperB1;
            }
            o += DISTANCE;
        }
    }

    /** As {@link #twoQ80}. */
    static void fourQ80(long words, long apart, int n, long x, long sums) {
        long p = words;
        long r = words + apart;
        long end = p + (long) BYTES * n;
        long q = x;
        long o = sums;
        while (p < end) {
            IntVector a0 = IntVector.zero(I);
            IntVector a1 = a0;
            IntVector b0 = a0;
            IntVector b1 = a0;
            IntVector c0 = a0;
            IntVector c1 = a0;
            IntVector d0 = a0;
            IntVector d1 = a0;
            IntVector upperA0 = a0;
            IntVector upperA1 = a0;
            IntVector upperB0 = a0;
            IntVector upperB1 = a0;
            IntVector upperC0 = a0;
            IntVector upperC1 = a0;
            IntVector upperD0 = a0;
            IntVector upperD1 = a0;
            long until = p + 8L * BYTES;
            while (p < until) {
                p = Memory.known(p);
                r = Memory.known(r);
                q = Memory.known(q);
                ShortVector v = ShortVector.fromMemorySegment(S, ALL, p, LE);
                ShortVector w = signed(v);
                ShortVector nextV = ShortVector.fromMemorySegment(S, ALL, r, LE);
                ShortVector nextW = signed(nextV);
                for (int row = 0; row < 4; row++) {
                    long m = q + RECORD_BYTES * (row & 3);
                    ShortVector y = pair(m);
                    ShortVector z = pair(m + 4);
                    ShortVector start = pair(m + 8);
                    IntVector s = start.add(v.mul(y)).add(w.mul(z)).reinterpretAsInts();
                    IntVector both = a0.add(s);
                    IntVector upper = upperA0.add(s.lanewise(ASHR, 16));
                    s = start.add(nextV.mul(y)).add(nextW.mul(z)).reinterpretAsInts();
                    IntVector nextBoth = a1.add(s);
                    IntVector nextUpper = upperA1.add(s.lanewise(ASHR, 16));
                    a0 = b0;
                    a1 = b1;
                    b0 = c0;
                    b1 = c1;
                    c0 = d0;
                    c1 = d1;
                    d0 = both;
                    d1 = nextBoth;
                    upperA0 = upperB0;
                    upperA1 = upperB1;
                    upperB0 = upperC0;
                    upperB1 = upperC1;
                    upperC0 = upperD0;
                    upperC1 = upperD1;
                    upperD0 = upper;
                    upperD1 = nextUpper;
                }
                p += BYTES;
                r += BYTES;
                q += 12;
            }
            o = Memory.known(o);
            for (int row = 0; row < 4; row++) {
                long at = o + TOKEN_SUMS * (row & 3);
                a0.sub(upperA0.lanewise(LSHL, 16)).add(upperA0).intoMemorySegment(ALL, at, LE);
                a1.sub(upperA1.lanewise(LSHL, 16)).add(upperA1).intoMemorySegment(ALL, at + BYTES, LE);
                a0 = b0;
                a1 = b1;
                b0 = c0;
                b1 = c1;
                c0 = d0;
                c1 = d1;
                upperA0 = upperB0;
                upperA1 = upperB1;
                upperB0 = upperC0;
                upperB1 = upperC1;
                upperC0 = upperD0;
                upperC1 = upperD1;
            }
            o += DISTANCE;
        }
    }
}
