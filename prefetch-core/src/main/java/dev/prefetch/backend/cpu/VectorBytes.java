package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.LanePacking.EVEN_SIGNS;
import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.XOR;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/**
 * Multiplies 256 columns of packed {@code Q8_0}, see {@link LaneFormat}, with two, four or eight tokens of plain activations, which stand column by
 * column: {@code [columns][tokens]}: two groups of rows at once, or one where there are not enough registers for the sums of both.
 *
 * <p>Kernels have the arguments {@code (words, from these to the second group's, blocks, tokens, factors, sums)}: factors are {@code [group][block]} as {@link LaneUnpack#factorsQ80} leaves
 * them, sums {@code [tokens][LaneFormat.PAIR_ROWS]}, which are added to. A weight is the product of its byte and the factor, which a float
 * holds exactly, and a sum runs in ascending order of columns: the bits of {@link VectorGemm}.
 *
 * <p>The loops of four are parsed once and then unrolled, and sums take turns in the same variables where they are many; {@link LaneRow} says why
 * kernels repeat each other.
 */
final class VectorBytes {

    /** Bytes between the sums of tokens. */
    static final long SUM_BYTES = 2L * BYTES;

    /** Of a group of rows. */
    private static final long BLOCK_BYTES = 8L * BYTES;

    private VectorBytes() {}

    static void twoOfPair(long words, long apart, int blocks, long x, long factors, long sums) {
        long p = words;
        long r = words + apart;
        long end = words + BLOCK_BYTES * blocks;
        long q = x;
        long s = factors;
        long o = Memory.known(sums);
        FloatVector a0 = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector a1 = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
        FloatVector b0 = FloatVector.fromMemorySegment(F, ALL, o + SUM_BYTES, LE);
        FloatVector b1 = FloatVector.fromMemorySegment(F, ALL, o + SUM_BYTES + BYTES, LE);
        while (p < end) {
            FloatVector scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(s), LE);
            FloatVector nextScale =
                    FloatVector.fromMemorySegment(F, ALL, Memory.known(s + LaneUnpack.FACTOR_BYTES), LE);
            long until = p + BLOCK_BYTES;
            while (p < until) {
                p = Memory.known(p);
                r = Memory.known(r);
                q = Memory.known(q);
                IntVector u = IntVector.fromMemorySegment(I, ALL, p, LE).lanewise(XOR, EVEN_SIGNS);
                IntVector v = IntVector.fromMemorySegment(I, ALL, r, LE).lanewise(XOR, EVEN_SIGNS);
                for (int k = 0; k < 4; k++) {
                    FloatVector w = topByte(u).mul(scale);
                    FloatVector z = topByte(v).mul(nextScale);
                    long m = q + 8 * (k & 3);
                    FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m));
                    a0 = w.fma(y, a0);
                    a1 = z.fma(y, a1);
                    y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m + 4));
                    b0 = w.fma(y, b0);
                    b1 = z.fma(y, b1);
                    u = u.lanewise(LSHL, 8);
                    v = v.lanewise(LSHL, 8);
                }
                p += BYTES;
                r += BYTES;
                q += 32;
            }
            s += BYTES;
        }
        a0.intoMemorySegment(ALL, o, LE);
        a1.intoMemorySegment(ALL, o + BYTES, LE);
        b0.intoMemorySegment(ALL, o + SUM_BYTES, LE);
        b1.intoMemorySegment(ALL, o + SUM_BYTES + BYTES, LE);
    }

    static void fourOfPair(long words, long apart, int blocks, long x, long factors, long sums) {
        long p = words;
        long r = words + apart;
        long end = words + BLOCK_BYTES * blocks;
        long q = x;
        long s = factors;
        long o = Memory.known(sums);
        FloatVector a0 = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector a1 = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
        FloatVector b0 = FloatVector.fromMemorySegment(F, ALL, o + SUM_BYTES, LE);
        FloatVector b1 = FloatVector.fromMemorySegment(F, ALL, o + SUM_BYTES + BYTES, LE);
        FloatVector c0 = FloatVector.fromMemorySegment(F, ALL, o + 2 * SUM_BYTES, LE);
        FloatVector c1 = FloatVector.fromMemorySegment(F, ALL, o + 2 * SUM_BYTES + BYTES, LE);
        FloatVector d0 = FloatVector.fromMemorySegment(F, ALL, o + 3 * SUM_BYTES, LE);
        FloatVector d1 = FloatVector.fromMemorySegment(F, ALL, o + 3 * SUM_BYTES + BYTES, LE);
        while (p < end) {
            FloatVector scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(s), LE);
            FloatVector nextScale =
                    FloatVector.fromMemorySegment(F, ALL, Memory.known(s + LaneUnpack.FACTOR_BYTES), LE);
            long until = p + BLOCK_BYTES;
            while (p < until) {
                p = Memory.known(p);
                r = Memory.known(r);
                q = Memory.known(q);
                IntVector u = IntVector.fromMemorySegment(I, ALL, p, LE).lanewise(XOR, EVEN_SIGNS);
                IntVector v = IntVector.fromMemorySegment(I, ALL, r, LE).lanewise(XOR, EVEN_SIGNS);
                for (int k = 0; k < 4; k++) {
                    FloatVector w = topByte(u).mul(scale);
                    FloatVector z = topByte(v).mul(nextScale);
                    long m = q + 16 * (k & 3);
                    FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m));
                    a0 = w.fma(y, a0);
                    a1 = z.fma(y, a1);
                    y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m + 4));
                    b0 = w.fma(y, b0);
                    b1 = z.fma(y, b1);
                    y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m + 8));
                    c0 = w.fma(y, c0);
                    c1 = z.fma(y, c1);
                    y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m + 12));
                    d0 = w.fma(y, d0);
                    d1 = z.fma(y, d1);
                    u = u.lanewise(LSHL, 8);
                    v = v.lanewise(LSHL, 8);
                }
                p += BYTES;
                r += BYTES;
                q += 64;
            }
            s += BYTES;
        }
        a0.intoMemorySegment(ALL, o, LE);
        a1.intoMemorySegment(ALL, o + BYTES, LE);
        b0.intoMemorySegment(ALL, o + SUM_BYTES, LE);
        b1.intoMemorySegment(ALL, o + SUM_BYTES + BYTES, LE);
        c0.intoMemorySegment(ALL, o + 2 * SUM_BYTES, LE);
        c1.intoMemorySegment(ALL, o + 2 * SUM_BYTES + BYTES, LE);
        d0.intoMemorySegment(ALL, o + 3 * SUM_BYTES, LE);
        d1.intoMemorySegment(ALL, o + 3 * SUM_BYTES + BYTES, LE);
    }

    static void eightOfPair(long words, long apart, int blocks, long x, long factors, long sums) {
        long p = words;
        long r = words + apart;
        long end = words + BLOCK_BYTES * blocks;
        long q = x;
        long s = factors;
        long o = Memory.known(sums);
        FloatVector a0 = FloatVector.zero(F);
        FloatVector a1 = a0;
        FloatVector b0 = a0;
        FloatVector b1 = a0;
        FloatVector c0 = a0;
        FloatVector c1 = a0;
        FloatVector d0 = a0;
        FloatVector d1 = a0;
        FloatVector e0 = a0;
        FloatVector e1 = a0;
        FloatVector f0 = a0;
        FloatVector f1 = a0;
        FloatVector g0 = a0;
        FloatVector g1 = a0;
        FloatVector h0 = a0;
        FloatVector h1 = a0;
        for (int t = 0; t < 4; t++) {
            long at = o + 2 * SUM_BYTES * (t & 3);
            a0 = c0;
            a1 = c1;
            b0 = d0;
            b1 = d1;
            c0 = e0;
            c1 = e1;
            d0 = f0;
            d1 = f1;
            e0 = g0;
            e1 = g1;
            f0 = h0;
            f1 = h1;
            g0 = FloatVector.fromMemorySegment(F, ALL, at, LE);
            g1 = FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE);
            h0 = FloatVector.fromMemorySegment(F, ALL, at + SUM_BYTES, LE);
            h1 = FloatVector.fromMemorySegment(F, ALL, at + SUM_BYTES + BYTES, LE);
        }
        while (p < end) {
            FloatVector scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(s), LE);
            FloatVector nextScale =
                    FloatVector.fromMemorySegment(F, ALL, Memory.known(s + LaneUnpack.FACTOR_BYTES), LE);
            long until = p + BLOCK_BYTES;
            while (p < until) {
                p = Memory.known(p);
                r = Memory.known(r);
                q = Memory.known(q);
                IntVector u = IntVector.fromMemorySegment(I, ALL, p, LE).lanewise(XOR, EVEN_SIGNS);
                IntVector v = IntVector.fromMemorySegment(I, ALL, r, LE).lanewise(XOR, EVEN_SIGNS);
                for (int k = 0; k < 4; k++) {
                    FloatVector w = topByte(u).mul(scale);
                    FloatVector z = topByte(v).mul(nextScale);
                    long m = q + 32 * (k & 3);
                    for (int t = 0; t < 4; t++) {
                        FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m + 8 * (t & 3)));
                        FloatVector first = w.fma(y, a0);
                        FloatVector nextFirst = z.fma(y, a1);
                        y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m + 8 * (t & 3) + 4));
                        FloatVector second = w.fma(y, b0);
                        FloatVector nextSecond = z.fma(y, b1);
                        a0 = c0;
                        a1 = c1;
                        b0 = d0;
                        b1 = d1;
                        c0 = e0;
                        c1 = e1;
                        d0 = f0;
                        d1 = f1;
                        e0 = g0;
                        e1 = g1;
                        f0 = h0;
                        f1 = h1;
                        g0 = first;
                        g1 = nextFirst;
                        h0 = second;
                        h1 = nextSecond;
                    }
                    u = u.lanewise(LSHL, 8);
                    v = v.lanewise(LSHL, 8);
                }
                p += BYTES;
                r += BYTES;
                q += 128;
            }
            s += BYTES;
        }
        for (int t = 0; t < 4; t++) {
            long at = o + 2 * SUM_BYTES * (t & 3);
            a0.intoMemorySegment(ALL, at, LE);
            a1.intoMemorySegment(ALL, at + BYTES, LE);
            b0.intoMemorySegment(ALL, at + SUM_BYTES, LE);
            b1.intoMemorySegment(ALL, at + SUM_BYTES + BYTES, LE);
            a0 = c0;
            a1 = c1;
            b0 = d0;
            b1 = d1;
            c0 = e0;
            c1 = e1;
            d0 = f0;
            d1 = f1;
            e0 = g0;
            e1 = g1;
            f0 = h0;
            f1 = h1;
        }
    }

    static void eightOfGroup(long words, long apart, int blocks, long x, long factors, long sums) {
        long p = words;
        long end = words + BLOCK_BYTES * blocks;
        long q = x;
        long s = factors;
        long o = Memory.known(sums);
        FloatVector a = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector b = FloatVector.fromMemorySegment(F, ALL, o + SUM_BYTES, LE);
        FloatVector c = FloatVector.fromMemorySegment(F, ALL, o + 2 * SUM_BYTES, LE);
        FloatVector d = FloatVector.fromMemorySegment(F, ALL, o + 3 * SUM_BYTES, LE);
        FloatVector e = FloatVector.fromMemorySegment(F, ALL, o + 4 * SUM_BYTES, LE);
        FloatVector f = FloatVector.fromMemorySegment(F, ALL, o + 5 * SUM_BYTES, LE);
        FloatVector g = FloatVector.fromMemorySegment(F, ALL, o + 6 * SUM_BYTES, LE);
        FloatVector h = FloatVector.fromMemorySegment(F, ALL, o + 7 * SUM_BYTES, LE);
        while (p < end) {
            FloatVector scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(s), LE);
            long until = p + BLOCK_BYTES;
            while (p < until) {
                p = Memory.known(p);
                q = Memory.known(q);
                IntVector v = IntVector.fromMemorySegment(I, ALL, p, LE).lanewise(XOR, EVEN_SIGNS);
                for (int k = 0; k < 4; k++) {
                    FloatVector w = topByte(v).mul(scale);
                    long m = q + 32 * (k & 3);
                    a = w.fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m)), a);
                    b = w.fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m + 4)), b);
                    c = w.fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m + 8)), c);
                    d = w.fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m + 12)), d);
                    e = w.fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m + 16)), e);
                    f = w.fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m + 20)), f);
                    g = w.fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m + 24)), g);
                    h = w.fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m + 28)), h);
                    v = v.lanewise(LSHL, 8);
                }
                p += BYTES;
                q += 128;
            }
            s += BYTES;
        }
        a.intoMemorySegment(ALL, o, LE);
        b.intoMemorySegment(ALL, o + SUM_BYTES, LE);
        c.intoMemorySegment(ALL, o + 2 * SUM_BYTES, LE);
        d.intoMemorySegment(ALL, o + 3 * SUM_BYTES, LE);
        e.intoMemorySegment(ALL, o + 4 * SUM_BYTES, LE);
        f.intoMemorySegment(ALL, o + 5 * SUM_BYTES, LE);
        g.intoMemorySegment(ALL, o + 6 * SUM_BYTES, LE);
        h.intoMemorySegment(ALL, o + 7 * SUM_BYTES, LE);
    }

    /** The signed byte at the top of each word. */
    private static FloatVector topByte(IntVector v) {
        return (FloatVector) v.lanewise(ASHR, 24).convertShape(I2F, F, 0);
    }
}
