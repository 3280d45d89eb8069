package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.HalfPacking.STEP_BYTES;
import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/**
 * Multiplies packed 16-bit floats, see {@link HalfPacking}, with one, two or four rows of activations.
 *
 * <p>Kernels have the arguments {@code (words of a group, bytes from these to the other group's, columns / 2, first row of activations,
 * bytes to the next, sums)}, the sums {@code [row of activations][HalfPacking.ROWS]}, to which they add. A sum runs in ascending order
 * of columns by itself, as those of {@link VectorGemm} do: a row of activations gets the same bits from all of them.
 *
 * <p>Loops of two or four rounds are parsed once and then unrolled, see {@link LaneRow}; in that of four, rows of activations take turns in the
 * same variables. Their addresses are not {@link Memory#known} there: with them the compiler loads all activations first, for which 16 registers
 * are not enough. The kernels of the two formats differ in nothing but how a word becomes floats; {@link LaneRow} says why kernels repeat each other.
 */
final class VectorHalves {

    private static final int SIGN = 0x80000000;
    static final int UPPER_HALVES = 0xffff0000;
    private static final int MAGNITUDE = 0x0fffe000;
    private static final int REBIAS = 112 << 23;

    /** How much too small halves are as floats where {@link Subnormals#FAST}: activations and sums make up for it, see {@link ActivationForm#SCALED}. */
    static final float TOO_SMALL = 0x1p112f;

    private VectorHalves() {}

    /** IEEE halves; see {@link VectorExpand#f16} for the subnormal ones, and {@link #TOO_SMALL}. */
    static void f16(long words, long apart, int n, long x, long distance, long sums) {
        FloatVector two = FloatVector.broadcast(F, 2f);
        FloatVector limit = FloatVector.broadcast(F, -0x1p-14f);
        long p = words;
        long r = words + apart;
        long end = words + STEP_BYTES * n;
        long q = x;
        long o = Memory.known(sums);
        FloatVector a = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector b = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
        while (p < end) {
            p = Memory.known(p);
            r = Memory.known(r);
            q = Memory.known(q);
            IntVector u = IntVector.fromMemorySegment(I, ALL, p, LE);
            IntVector v = IntVector.fromMemorySegment(I, ALL, r, LE);
            IntVector s = u.lanewise(LSHL, 16);
            IntVector t = v.lanewise(LSHL, 16);
            for (int k = 0; k < 2; k++) {
                FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + 4 * (k & 1)));
                a = floats(s, two, limit).fma(y, a);
                b = floats(t, two, limit).fma(y, b);
                s = u;
                t = v;
            }
            p += STEP_BYTES;
            r += STEP_BYTES;
            q += 8;
        }
        a.intoMemorySegment(ALL, o, LE);
        b.intoMemorySegment(ALL, o + BYTES, LE);
    }

    static void twoF16(long words, long apart, int n, long x, long distance, long sums) {
        FloatVector two = FloatVector.broadcast(F, 2f);
        FloatVector limit = FloatVector.broadcast(F, -0x1p-14f);
        long p = words;
        long r = words + apart;
        long end = words + STEP_BYTES * n;
        long q = x;
        long o = Memory.known(sums);
        FloatVector a = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector b = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
        FloatVector c = FloatVector.fromMemorySegment(F, ALL, o + 2 * BYTES, LE);
        FloatVector d = FloatVector.fromMemorySegment(F, ALL, o + 3 * BYTES, LE);
        while (p < end) {
            p = Memory.known(p);
            r = Memory.known(r);
            IntVector u = IntVector.fromMemorySegment(I, ALL, p, LE);
            IntVector v = IntVector.fromMemorySegment(I, ALL, r, LE);
            IntVector s = u.lanewise(LSHL, 16);
            IntVector t = v.lanewise(LSHL, 16);
            for (int k = 0; k < 2; k++) {
                FloatVector f = floats(s, two, limit);
                FloatVector g = floats(t, two, limit);
                long m = Memory.known(q + 4 * k);
                FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m));
                a = f.fma(y, a);
                b = g.fma(y, b);
                y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(m + distance)));
                c = f.fma(y, c);
                d = g.fma(y, d);
                s = u;
                t = v;
            }
            p += STEP_BYTES;
            r += STEP_BYTES;
            q += 8;
        }
        a.intoMemorySegment(ALL, o, LE);
        b.intoMemorySegment(ALL, o + BYTES, LE);
        c.intoMemorySegment(ALL, o + 2 * BYTES, LE);
        d.intoMemorySegment(ALL, o + 3 * BYTES, LE);
    }

    static void fourF16(long words, long apart, int n, long x, long distance, long sums) {
        FloatVector two = FloatVector.broadcast(F, 2f);
        FloatVector limit = FloatVector.broadcast(F, -0x1p-14f);
        long p = words;
        long r = words + apart;
        long end = words + STEP_BYTES * n;
        long q = x;
        long o = Memory.known(sums);
        FloatVector a = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector b = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
        FloatVector c = FloatVector.fromMemorySegment(F, ALL, o + 2 * BYTES, LE);
        FloatVector d = FloatVector.fromMemorySegment(F, ALL, o + 3 * BYTES, LE);
        FloatVector e = FloatVector.fromMemorySegment(F, ALL, o + 4 * BYTES, LE);
        FloatVector h = FloatVector.fromMemorySegment(F, ALL, o + 5 * BYTES, LE);
        FloatVector i = FloatVector.fromMemorySegment(F, ALL, o + 6 * BYTES, LE);
        FloatVector j = FloatVector.fromMemorySegment(F, ALL, o + 7 * BYTES, LE);
        while (p < end) {
            p = Memory.known(p);
            r = Memory.known(r);
            IntVector u = IntVector.fromMemorySegment(I, ALL, p, LE);
            IntVector v = IntVector.fromMemorySegment(I, ALL, r, LE);
            IntVector s = u.lanewise(LSHL, 16);
            IntVector t = v.lanewise(LSHL, 16);
            for (int k = 0; k < 2; k++) {
                FloatVector f = floats(s, two, limit);
                FloatVector g = floats(t, two, limit);
                long m = q + 4 * k;
                for (int row = 0; row < 4; row++) {
                    FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m));
                    FloatVector first = f.fma(y, a);
                    FloatVector second = g.fma(y, b);
                    a = c;
                    b = d;
                    c = e;
                    d = h;
                    e = i;
                    h = j;
                    i = first;
                    j = second;
                    m += distance;
                }
                s = u;
                t = v;
            }
            p += STEP_BYTES;
            r += STEP_BYTES;
            q += 8;
        }
        a.intoMemorySegment(ALL, o, LE);
        b.intoMemorySegment(ALL, o + BYTES, LE);
        c.intoMemorySegment(ALL, o + 2 * BYTES, LE);
        d.intoMemorySegment(ALL, o + 3 * BYTES, LE);
        e.intoMemorySegment(ALL, o + 4 * BYTES, LE);
        h.intoMemorySegment(ALL, o + 5 * BYTES, LE);
        i.intoMemorySegment(ALL, o + 6 * BYTES, LE);
        j.intoMemorySegment(ALL, o + 7 * BYTES, LE);
    }

    /** The upper halves of floats. */
    static void bf16(long words, long apart, int n, long x, long distance, long sums) {
        long p = words;
        long r = words + apart;
        long end = words + STEP_BYTES * n;
        long q = x;
        long o = Memory.known(sums);
        FloatVector a = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector b = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
        while (p < end) {
            p = Memory.known(p);
            r = Memory.known(r);
            q = Memory.known(q);
            IntVector u = IntVector.fromMemorySegment(I, ALL, p, LE);
            IntVector v = IntVector.fromMemorySegment(I, ALL, r, LE);
            IntVector s = u.lanewise(LSHL, 16);
            IntVector t = v.lanewise(LSHL, 16);
            for (int k = 0; k < 2; k++) {
                FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + 4 * (k & 1)));
                a = s.reinterpretAsFloats().fma(y, a);
                b = t.reinterpretAsFloats().fma(y, b);
                s = u.and(UPPER_HALVES);
                t = v.and(UPPER_HALVES);
            }
            p += STEP_BYTES;
            r += STEP_BYTES;
            q += 8;
        }
        a.intoMemorySegment(ALL, o, LE);
        b.intoMemorySegment(ALL, o + BYTES, LE);
    }

    static void twoBf16(long words, long apart, int n, long x, long distance, long sums) {
        long p = words;
        long r = words + apart;
        long end = words + STEP_BYTES * n;
        long q = x;
        long o = Memory.known(sums);
        FloatVector a = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector b = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
        FloatVector c = FloatVector.fromMemorySegment(F, ALL, o + 2 * BYTES, LE);
        FloatVector d = FloatVector.fromMemorySegment(F, ALL, o + 3 * BYTES, LE);
        while (p < end) {
            p = Memory.known(p);
            r = Memory.known(r);
            IntVector u = IntVector.fromMemorySegment(I, ALL, p, LE);
            IntVector v = IntVector.fromMemorySegment(I, ALL, r, LE);
            IntVector s = u.lanewise(LSHL, 16);
            IntVector t = v.lanewise(LSHL, 16);
            for (int k = 0; k < 2; k++) {
                FloatVector f = s.reinterpretAsFloats();
                FloatVector g = t.reinterpretAsFloats();
                long m = Memory.known(q + 4 * k);
                FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m));
                a = f.fma(y, a);
                b = g.fma(y, b);
                y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(m + distance)));
                c = f.fma(y, c);
                d = g.fma(y, d);
                s = u.and(UPPER_HALVES);
                t = v.and(UPPER_HALVES);
            }
            p += STEP_BYTES;
            r += STEP_BYTES;
            q += 8;
        }
        a.intoMemorySegment(ALL, o, LE);
        b.intoMemorySegment(ALL, o + BYTES, LE);
        c.intoMemorySegment(ALL, o + 2 * BYTES, LE);
        d.intoMemorySegment(ALL, o + 3 * BYTES, LE);
    }

    static void fourBf16(long words, long apart, int n, long x, long distance, long sums) {
        long p = words;
        long r = words + apart;
        long end = words + STEP_BYTES * n;
        long q = x;
        long o = Memory.known(sums);
        FloatVector a = FloatVector.fromMemorySegment(F, ALL, o, LE);
        FloatVector b = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
        FloatVector c = FloatVector.fromMemorySegment(F, ALL, o + 2 * BYTES, LE);
        FloatVector d = FloatVector.fromMemorySegment(F, ALL, o + 3 * BYTES, LE);
        FloatVector e = FloatVector.fromMemorySegment(F, ALL, o + 4 * BYTES, LE);
        FloatVector h = FloatVector.fromMemorySegment(F, ALL, o + 5 * BYTES, LE);
        FloatVector i = FloatVector.fromMemorySegment(F, ALL, o + 6 * BYTES, LE);
        FloatVector j = FloatVector.fromMemorySegment(F, ALL, o + 7 * BYTES, LE);
        while (p < end) {
            p = Memory.known(p);
            r = Memory.known(r);
            IntVector u = IntVector.fromMemorySegment(I, ALL, p, LE);
            IntVector v = IntVector.fromMemorySegment(I, ALL, r, LE);
            IntVector s = u.lanewise(LSHL, 16);
            IntVector t = v.lanewise(LSHL, 16);
            for (int k = 0; k < 2; k++) {
                FloatVector f = s.reinterpretAsFloats();
                FloatVector g = t.reinterpretAsFloats();
                long m = q + 4 * k;
                for (int row = 0; row < 4; row++) {
                    FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, m));
                    FloatVector first = f.fma(y, a);
                    FloatVector second = g.fma(y, b);
                    a = c;
                    b = d;
                    c = e;
                    d = h;
                    e = i;
                    h = j;
                    i = first;
                    j = second;
                    m += distance;
                }
                s = u.and(UPPER_HALVES);
                t = v.and(UPPER_HALVES);
            }
            p += STEP_BYTES;
            r += STEP_BYTES;
            q += 8;
        }
        a.intoMemorySegment(ALL, o, LE);
        b.intoMemorySegment(ALL, o + BYTES, LE);
        c.intoMemorySegment(ALL, o + 2 * BYTES, LE);
        d.intoMemorySegment(ALL, o + 3 * BYTES, LE);
        e.intoMemorySegment(ALL, o + 4 * BYTES, LE);
        h.intoMemorySegment(ALL, o + 5 * BYTES, LE);
        i.intoMemorySegment(ALL, o + 6 * BYTES, LE);
        j.intoMemorySegment(ALL, o + 7 * BYTES, LE);
    }

    /** The upper half of each word, maybe {@link #TOO_SMALL}. */
    private static FloatVector floats(IntVector z, FloatVector two, FloatVector limit) {
        return Subnormals.FAST ? tooSmall(z) : byMinimum(z, two, limit);
    }

    /** Without a subnormal float on the way: of a subnormal half the minimum takes the right one of two numbers, see {@link VectorExpand#f16}. */
    private static FloatVector byMinimum(IntVector z, FloatVector two, FloatVector limit) {
        IntVector m = z.lanewise(LSHR, 3).and(MAGNITUDE).add(REBIAS);
        m = m.min(m.reinterpretAsFloats().fma(two, limit).reinterpretAsInts());
        return m.or(z.and(SIGN)).reinterpretAsFloats();
    }

    /** The upper half of each word, as {@link #f16}: a subnormal product takes its time even where {@link Subnormals#FAST}, and what waits for it does too. */
    static FloatVector exact(IntVector z) {
        return byMinimum(z, FloatVector.broadcast(F, 2f), FloatVector.broadcast(F, -0x1p-14f));
    }

    /** The exponent is too small by 112, and so a subnormal half is a subnormal float: exact but for {@link #TOO_SMALL}. */
    static FloatVector tooSmall(IntVector z) {
        return z.lanewise(ASHR, 3).and(SIGN | MAGNITUDE).reinterpretAsFloats();
    }

    /** The two halves of each word of a vector as floats, the upper ones {@code distance} bytes behind the lower. As {@link #f16}. */
    static void toFloats(long words, long out, long distance) {
        IntVector z = IntVector.fromMemorySegment(I, ALL, Memory.known(words), LE);
        long o = Memory.known(out);
        exact(z.lanewise(LSHL, 16)).intoMemorySegment(ALL, o, LE);
        exact(z).intoMemorySegment(ALL, Memory.known(o + distance), LE);
    }
}
