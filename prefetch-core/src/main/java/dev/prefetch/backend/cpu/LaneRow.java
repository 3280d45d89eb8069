package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorActivations.SECOND;
import static dev.prefetch.backend.cpu.VectorActivations.STARTS;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static dev.prefetch.backend.cpu.Vectors.S;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/**
 * The sums of {@link LaneProducts} straight from a packed group, without a panel in between: what waits for memory must not
 * store much, or the processor does not look far enough ahead.
 *
 * <p>Kernels have the arguments {@code (words of the group, columns / 4, record of the activations, distance of the sums, sums)}.
 * There is one for the low and one for the high nibbles, which are called one after the other: so large a body that it had both was compiled
 * with vectors as objects in some processes, see {@link Isolated}. Bodies for two words of nibbles alone were compiled so too, so that those have one.
 */
final class LaneRow {

    private static final int NIBBLES = 0x0f0f0f0f;
    private static final int FIFTH_BITS = 0x10101010;
    private static final int UPPER_BITS = 0x30303030;

    private LaneRow() {}

    /** Four words to a sum. */
    static void lowQ40(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < n / 8; i++) {
            long p = words + 4L * BYTES * i;
            low(p, p + 4L * BYTES, x + 32L * i, x + STARTS + 4L * i, sums + (long) distance * i);
        }
    }

    /** Adds to the sums of {@link #lowQ40}. */
    static void highQ40(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < n / 8; i++) {
            long p = words + 4L * BYTES * i;
            long end = p + 4L * BYTES;
            int sum = i;
            long q = x + 32L * i + 16;
            ShortVector a = ShortVector.fromMemorySegment(S, ALL, Memory.known(sums + (long) distance * sum), LE);
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                ShortVector u = IntVector.fromMemorySegment(I, ALL, p, LE)
                        .lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .reinterpretAsShorts();
                a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND))
                                .reinterpretAsShorts()));
                p += BYTES;
                q += 4;
            } while (p < end);
            a.intoMemorySegment(ALL, Memory.known(sums + (long) distance * sum), LE);
        }
    }

    /** Eight words of two groups of columns, of which this is the first. */
    static void lowQ4k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 4; i++) {
            int sum = 2 * i;
            long p = words + (4L + 8 * i) * BYTES;
            low(p, p + 8L * BYTES, x + 64L * i, x + STARTS + 4L * sum, sums + (long) distance * sum);
        }
    }

    /** The second groups. */
    static void highQ4k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 4; i++) {
            int sum = 2 * i + 1;
            long p = words + (4L + 8 * i) * BYTES;
            high(p, p + 8L * BYTES, x + 64L * i + 32, x + STARTS + 4L * sum, sums + (long) distance * sum);
        }
    }

    /** The same with fifth bits, of four words each in front of them. */
    static void lowQ5k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 4; i++) {
            int sum = 2 * i;
            long o = sums + (long) distance * sum;
            lowFiveBits(words + (4L + 10 * i) * BYTES, x + 32L * sum, x + STARTS + 4L * sum, o);
        }
    }

    /** The second groups. */
    static void highQ5k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 4; i++) {
            int sum = 2 * i + 1;
            long o = sums + (long) distance * sum;
            highFiveBits(words + (4L + 10 * i) * BYTES, x + 32L * sum, x + STARTS + 4L * sum, o);
        }
    }

    /** Of each half of 128 columns the first 64, of which two words share the upper bits in front. */
    static void lowQ6k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 8; i++) {
            int sum = i + (i & -4);
            long o = sums + (long) distance * sum;
            lowSixBits(words + (4L + 6 * i) * BYTES, x + 16L * sum, x + STARTS + 4L * sum, o);
        }
    }

    /** The second 64 columns. */
    static void highQ6k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 8; i++) {
            int sum = i + (i & -4) + 4;
            long o = sums + (long) distance * sum;
            highSixBits(words + (4L + 6 * i) * BYTES, x + 16L * sum, x + STARTS + 4L * sum, o);
        }
    }

    /** A sum of the low nibbles of the words from {@code words} to {@code end}, from its start value on. */
    private static void low(long words, long end, long x, long start, long sum) {
        long p = words;
        long q = x;
        ShortVector a =
                IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(start))).reinterpretAsShorts();
        do {
            p = Memory.known(p);
            q = Memory.known(q);
            ShortVector u =
                    IntVector.fromMemorySegment(I, ALL, p, LE).and(NIBBLES).reinterpretAsShorts();
            a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
            a = a.add(u.lanewise(LSHR, 8)
                    .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND)).reinterpretAsShorts()));
            p += BYTES;
            q += 4;
        } while (p < end);
        a.intoMemorySegment(ALL, Memory.known(sum), LE);
    }

    private static void high(long words, long end, long x, long start, long sum) {
        long p = words;
        long q = x;
        ShortVector a =
                IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(start))).reinterpretAsShorts();
        do {
            p = Memory.known(p);
            q = Memory.known(q);
            ShortVector u = IntVector.fromMemorySegment(I, ALL, p, LE)
                    .lanewise(LSHR, 4)
                    .and(NIBBLES)
                    .reinterpretAsShorts();
            a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
            a = a.add(u.lanewise(LSHR, 8)
                    .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND)).reinterpretAsShorts()));
            p += BYTES;
            q += 4;
        } while (p < end);
        a.intoMemorySegment(ALL, Memory.known(sum), LE);
    }

    /** The same with fifth bits: twice four words with a word of them in front. */
    private static void lowFiveBits(long upper, long x, long start, long sum) {
        long p = upper;
        long end = upper + 10L * BYTES;
        long q = x;
        ShortVector a =
                IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(start))).reinterpretAsShorts();
        do {
            IntVector h = IntVector.fromMemorySegment(I, ALL, Memory.known(p), LE);
            p += BYTES;
            long until = p + 4L * BYTES;
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                ShortVector u = IntVector.fromMemorySegment(I, ALL, p, LE)
                        .and(NIBBLES)
                        .or(h.lanewise(LSHL, 4).and(FIFTH_BITS))
                        .reinterpretAsShorts();
                a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND))
                                .reinterpretAsShorts()));
                u = IntVector.fromMemorySegment(I, ALL, p + BYTES, LE)
                        .and(NIBBLES)
                        .or(h.lanewise(LSHL, 2).and(FIFTH_BITS))
                        .reinterpretAsShorts();
                a = a.add(
                        u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + 4)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + 4 + SECOND))
                                .reinterpretAsShorts()));
                h = h.lanewise(LSHR, 4);
                p += 2 * BYTES;
                q += 8;
            } while (p < until);
        } while (p < end);
        a.intoMemorySegment(ALL, Memory.known(sum), LE);
    }

    private static void highFiveBits(long upper, long x, long start, long sum) {
        long p = upper;
        long end = upper + 10L * BYTES;
        long q = x;
        ShortVector a =
                IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(start))).reinterpretAsShorts();
        do {
            IntVector h = IntVector.fromMemorySegment(I, ALL, Memory.known(p), LE);
            p += BYTES;
            long until = p + 4L * BYTES;
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                ShortVector u = IntVector.fromMemorySegment(I, ALL, p, LE)
                        .lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(h.lanewise(LSHL, 3).and(FIFTH_BITS))
                        .reinterpretAsShorts();
                a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND))
                                .reinterpretAsShorts()));
                u = IntVector.fromMemorySegment(I, ALL, p + BYTES, LE)
                        .lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(h.lanewise(LSHL, 1).and(FIFTH_BITS))
                        .reinterpretAsShorts();
                a = a.add(
                        u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + 4)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + 4 + SECOND))
                                .reinterpretAsShorts()));
                h = h.lanewise(LSHR, 4);
                p += 2 * BYTES;
                q += 8;
            } while (p < until);
        } while (p < end);
        a.intoMemorySegment(ALL, Memory.known(sum), LE);
    }

    /**
     * The same with upper bits: twice two words with a word of them in front. The inner loop runs once: without it the compiler put off
     * inlining and left vectors as objects in some processes.
     */
    private static void lowSixBits(long upper, long x, long start, long sum) {
        long p = upper;
        long end = upper + 6L * BYTES;
        long q = x;
        ShortVector a =
                IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(start))).reinterpretAsShorts();
        do {
            IntVector h = IntVector.fromMemorySegment(I, ALL, Memory.known(p), LE);
            p += BYTES;
            long until = p + 2L * BYTES;
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                ShortVector u = IntVector.fromMemorySegment(I, ALL, p, LE)
                        .and(NIBBLES)
                        .or(h.lanewise(LSHL, 4).and(UPPER_BITS))
                        .reinterpretAsShorts();
                a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND))
                                .reinterpretAsShorts()));
                u = IntVector.fromMemorySegment(I, ALL, p + BYTES, LE)
                        .and(NIBBLES)
                        .or(h.and(UPPER_BITS))
                        .reinterpretAsShorts();
                a = a.add(
                        u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + 4)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + 4 + SECOND))
                                .reinterpretAsShorts()));
                p += 2 * BYTES;
                q += 8;
            } while (p < until);
        } while (p < end);
        a.intoMemorySegment(ALL, Memory.known(sum), LE);
    }

    private static void highSixBits(long upper, long x, long start, long sum) {
        long p = upper;
        long end = upper + 6L * BYTES;
        long q = x;
        ShortVector a =
                IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(start))).reinterpretAsShorts();
        do {
            IntVector h = IntVector.fromMemorySegment(I, ALL, Memory.known(p), LE);
            p += BYTES;
            long until = p + 2L * BYTES;
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                ShortVector u = IntVector.fromMemorySegment(I, ALL, p, LE)
                        .lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(h.lanewise(LSHL, 2).and(UPPER_BITS))
                        .reinterpretAsShorts();
                a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND))
                                .reinterpretAsShorts()));
                u = IntVector.fromMemorySegment(I, ALL, p + BYTES, LE)
                        .lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(h.lanewise(LSHR, 2).and(UPPER_BITS))
                        .reinterpretAsShorts();
                a = a.add(
                        u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + 4)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + 4 + SECOND))
                                .reinterpretAsShorts()));
                p += 2 * BYTES;
                q += 8;
            } while (p < until);
        } while (p < end);
        a.intoMemorySegment(ALL, Memory.known(sum), LE);
    }
}
