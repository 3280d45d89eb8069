package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.LaneProducts.DISTANCE;
import static dev.prefetch.backend.cpu.LaneProducts.TOKEN_SUMS;
import static dev.prefetch.backend.cpu.LaneRow.pair;
import static dev.prefetch.backend.cpu.LaneRow.shifted;
import static dev.prefetch.backend.cpu.LaneRow.signed;
import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorActivations.RECORD_BYTES;
import static dev.prefetch.backend.cpu.VectorActivations.STARTS;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static dev.prefetch.backend.cpu.Vectors.S;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/**
 * Multiplies 256 columns of a packed group of rows with two or four rows of activations, as {@link LaneRow} with one. Their sums are those
 * that {@link LaneProducts} has of elements taken apart, and stand where these stand.
 *
 * <p>Kernels have the arguments {@code (words of the group, the first row's record, columns / 4, sums)}; the other rows' records are behind the first.
 */
final class LaneRows {

    private LaneRows() {}

    static void twoQ40(long words, long x, int n, long sums) {
        two(words, n / 8, 4, x, sums);
    }

    static void twoQ4k(long words, long x, int n, long sums) {
        two(words + 4L * BYTES, n / 8, 4, x, sums);
    }

    static void twoQ5k(long words, long x, int n, long sums) {
        two(words + 4L * BYTES, n / 8, 5, x, sums);
    }

    static void fourQ40(long words, long x, int n, long sums) {
        four(words, n / 8, 4, x, sums);
    }

    static void fourQ4k(long words, long x, int n, long sums) {
        four(words + 4L * BYTES, n / 8, 4, x, sums);
    }

    static void fourQ5k(long words, long x, int n, long sums) {
        four(words + 4L * BYTES, n / 8, 5, x, sums);
    }

    /** Groups of 32 columns, each with as many words as an element has bits, and four elements to half a lane or less. */
    private static void two(long words, int groups, int bits, long x, long sums) {
        ShortVector count = ShortVector.broadcast(S, bits);
        long p = words;
        long end = p + (long) BYTES * bits * groups;
        long q = x;
        long start = x + STARTS;
        long o = sums;
        while (p < end) {
            start = Memory.known(start);
            ShortVector a = pair(start);
            ShortVector b = pair(start + RECORD_BYTES);
            long until = p + (long) BYTES * bits;
            while (p < until) {
                p = Memory.known(p);
                q = Memory.known(q);
                ShortVector v = ShortVector.fromMemorySegment(S, ALL, p, LE);
                for (int k = 0; k < 4; k++) {
                    long m = q + 4 * (k & 3);
                    a = a.add(v.mul(pair(m)));
                    b = b.add(v.mul(pair(m + RECORD_BYTES)));
                    v = shifted(v, bits, count);
                }
                p += BYTES;
                q += 16;
            }
            o = Memory.known(o);
            a.intoMemorySegment(ALL, o, LE);
            b.intoMemorySegment(ALL, o + TOKEN_SUMS, LE);
            start += 4;
            o += DISTANCE;
        }
    }

    private static void four(long words, int groups, int bits, long x, long sums) {
        ShortVector count = ShortVector.broadcast(S, bits);
        long p = words;
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
            long until = p + (long) BYTES * bits;
            while (p < until) {
                p = Memory.known(p);
                q = Memory.known(q);
                ShortVector v = ShortVector.fromMemorySegment(S, ALL, p, LE);
                for (int k = 0; k < 4; k++) {
                    long m = q + 4 * (k & 3);
                    a = a.add(v.mul(pair(m)));
                    b = b.add(v.mul(pair(m + RECORD_BYTES)));
                    c = c.add(v.mul(pair(m + 2 * RECORD_BYTES)));
                    d = d.add(v.mul(pair(m + 3 * RECORD_BYTES)));
                    v = shifted(v, bits, count);
                }
                p += BYTES;
                q += 16;
            }
            o = Memory.known(o);
            a.intoMemorySegment(ALL, o, LE);
            b.intoMemorySegment(ALL, o + TOKEN_SUMS, LE);
            c.intoMemorySegment(ALL, o + 2 * TOKEN_SUMS, LE);
            d.intoMemorySegment(ALL, o + 3 * TOKEN_SUMS, LE);
            start += 4;
            o += DISTANCE;
        }
    }

    static void twoQ6k(long words, long x, int n, long sums) {
        ShortVector count = ShortVector.broadcast(S, 6);
        long p = words + 4L * BYTES;
        long end = p + 48L * BYTES;
        long q = x;
        long start = x + STARTS;
        long o = sums;
        while (p < end) {
            start = Memory.known(start);
            ShortVector a = pair(start);
            ShortVector b = pair(start + RECORD_BYTES);
            long until = p + 3L * BYTES;
            while (p < until) {
                p = Memory.known(p);
                q = Memory.known(q);
                ShortVector v = ShortVector.fromMemorySegment(S, ALL, p, LE);
                for (int k = 0; k < 3; k++) {
                    long m = q + 4 * (k & 3);
                    a = a.add(v.mul(pair(m)));
                    b = b.add(v.mul(pair(m + RECORD_BYTES)));
                    v = shifted(v, 6, count);
                }
                p += BYTES;
                q += 12;
            }
            q = Memory.known(q);
            ShortVector u = ShortVector.fromMemorySegment(S, ALL, Memory.known(p - BYTES), LE)
                    .lanewise(LSHR, 14);
            o = Memory.known(o);
            a.add(u.mul(pair(q))).intoMemorySegment(ALL, o, LE);
            b.add(u.mul(pair(q + RECORD_BYTES))).intoMemorySegment(ALL, o + TOKEN_SUMS, LE);
            q += 4;
            start += 4;
            o += DISTANCE;
        }
    }

    /**
     * Products of bytes fill half a lane, so that the sums of a block of 32 columns have 32 bits; see {@link LaneProducts#finishWide}. The sums of the
     * rows take turns in the first variable, so that the body is written, and parsed, once.
     */
    static void twoQ80(long words, long x, int n, long sums) {
        long p = words;
        long end = p + (long) BYTES * n;
        long q = x;
        long o = sums;
        while (p < end) {
            // Of both halves of a lane, where the lower one is not negative, and of the upper one.
            IntVector a = IntVector.zero(I);
            IntVector b = a;
            IntVector upperA = a;
            IntVector upperB = a;
            long until = p + 8L * BYTES;
            while (p < until) {
                p = Memory.known(p);
                q = Memory.known(q);
                ShortVector v = ShortVector.fromMemorySegment(S, ALL, p, LE);
                ShortVector w = signed(v);
                for (int row = 0; row < 2; row++) {
                    long m = q + RECORD_BYTES * (row & 1);
                    IntVector z = pair(m + 8)
                            .add(v.mul(pair(m)))
                            .add(w.mul(pair(m + 4)))
                            .reinterpretAsInts();
                    IntVector both = a.add(z);
                    IntVector upper = upperA.add(z.lanewise(ASHR, 16));
                    a = b;
                    b = both;
                    upperA = upperB;
                    upperB = upper;
                }
                p += BYTES;
                q += 12;
            }
            o = Memory.known(o);
            for (int row = 0; row < 2; row++) {
                a.sub(upperA.lanewise(LSHL, 16)).add(upperA).intoMemorySegment(ALL, o + TOKEN_SUMS * (row & 1), LE);
                a = b;
                upperA = upperB;
            }
            o += DISTANCE;
        }
    }

    /** As {@link #twoQ80}. */
    static void fourQ80(long words, long x, int n, long sums) {
        long p = words;
        long end = p + (long) BYTES * n;
        long q = x;
        long o = sums;
        while (p < end) {
            IntVector a = IntVector.zero(I);
            IntVector b = a;
            IntVector c = a;
            IntVector d = a;
            IntVector upperA = a;
            IntVector upperB = a;
            IntVector upperC = a;
            IntVector upperD = a;
            long until = p + 8L * BYTES;
            while (p < until) {
                p = Memory.known(p);
                q = Memory.known(q);
                ShortVector v = ShortVector.fromMemorySegment(S, ALL, p, LE);
                ShortVector w = signed(v);
                for (int row = 0; row < 4; row++) {
                    long m = q + RECORD_BYTES * (row & 3);
                    IntVector z = pair(m + 8)
                            .add(v.mul(pair(m)))
                            .add(w.mul(pair(m + 4)))
                            .reinterpretAsInts();
                    IntVector both = a.add(z);
                    IntVector upper = upperA.add(z.lanewise(ASHR, 16));
                    a = b;
                    b = c;
                    c = d;
                    d = both;
                    upperA = upperB;
                    upperB = upperC;
                    upperC = upperD;
                    upperD = upper;
                }
                p += BYTES;
                q += 12;
            }
            o = Memory.known(o);
            for (int row = 0; row < 4; row++) {
                a.sub(upperA.lanewise(LSHL, 16)).add(upperA).intoMemorySegment(ALL, o + TOKEN_SUMS * (row & 3), LE);
                a = b;
                b = c;
                c = d;
                upperA = upperB;
                upperB = upperC;
                upperC = upperD;
            }
            o += DISTANCE;
        }
    }
}
