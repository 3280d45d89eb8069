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
 * with vectors as objects in some processes, see {@link Isolated}.
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
            long end = p + 4L * BYTES;
            int sum = i;
            long q = x + 32L * i;
            ShortVector a = IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(x + STARTS + 4L * sum)))
                    .reinterpretAsShorts();
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                ShortVector u =
                        IntVector.fromMemorySegment(I, ALL, p, LE).and(NIBBLES).reinterpretAsShorts();
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
            long p = words + (4L + 8 * i) * BYTES;
            long end = p + 8L * BYTES;
            int sum = 2 * i;
            long q = x + 64L * i;
            ShortVector a = IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(x + STARTS + 4L * sum)))
                    .reinterpretAsShorts();
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                ShortVector u =
                        IntVector.fromMemorySegment(I, ALL, p, LE).and(NIBBLES).reinterpretAsShorts();
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

    /** The second groups. */
    static void highQ4k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 4; i++) {
            long p = words + (4L + 8 * i) * BYTES;
            long end = p + 8L * BYTES;
            int sum = 2 * i + 1;
            long q = x + 64L * i + 32;
            ShortVector a = IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(x + STARTS + 4L * sum)))
                    .reinterpretAsShorts();
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

    /** The same with fifth bits, of four words each in front of them; two sums for a group of columns. */
    static void lowQ5k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 8; i++) {
            long h = words + (4L + 5 * i) * BYTES;
            int bit = 0;
            long p = h + BYTES;
            long end = p + 4L * BYTES;
            int sum = i + (i & -2);
            long q = x + 16L * sum;
            ShortVector a = IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(x + STARTS + 4L * sum)))
                    .reinterpretAsShorts();
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                IntVector upper = IntVector.fromMemorySegment(I, ALL, Memory.known(h), LE)
                        .lanewise(LSHR, bit)
                        .lanewise(LSHL, 4)
                        .and(FIFTH_BITS);
                ShortVector u = IntVector.fromMemorySegment(I, ALL, p, LE)
                        .and(NIBBLES)
                        .or(upper)
                        .reinterpretAsShorts();
                a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND))
                                .reinterpretAsShorts()));
                p += BYTES;
                q += 4;
                bit += 2;
            } while (p < end);
            a.intoMemorySegment(ALL, Memory.known(sums + (long) distance * sum), LE);
        }
    }

    /** The second groups. */
    static void highQ5k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 8; i++) {
            long h = words + (4L + 5 * i) * BYTES;
            int bit = 0;
            long p = h + BYTES;
            long end = p + 4L * BYTES;
            int sum = i + (i & -2) + 2;
            long q = x + 16L * sum;
            ShortVector a = IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(x + STARTS + 4L * sum)))
                    .reinterpretAsShorts();
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                IntVector upper = IntVector.fromMemorySegment(I, ALL, Memory.known(h), LE)
                        .lanewise(LSHR, bit)
                        .lanewise(LSHL, 3)
                        .and(FIFTH_BITS);
                ShortVector u = IntVector.fromMemorySegment(I, ALL, p, LE)
                        .lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(upper)
                        .reinterpretAsShorts();
                a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND))
                                .reinterpretAsShorts()));
                p += BYTES;
                q += 4;
                bit += 2;
            } while (p < end);
            a.intoMemorySegment(ALL, Memory.known(sums + (long) distance * sum), LE);
        }
    }

    /** Of each half of 128 columns the first 64, of which two words share the upper bits in front; two sums for a group of columns. */
    static void lowQ6k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 16; i++) {
            long h = words + (4L + 3 * i) * BYTES;
            int bit = 0;
            long p = h + BYTES;
            long end = p + 2L * BYTES;
            int sum = i + (i & -8);
            long q = x + 8L * sum;
            ShortVector a = IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(x + STARTS + 4L * sum)))
                    .reinterpretAsShorts();
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                IntVector upper = IntVector.fromMemorySegment(I, ALL, Memory.known(h), LE)
                        .lanewise(LSHR, bit)
                        .lanewise(LSHL, 4)
                        .and(UPPER_BITS);
                ShortVector u = IntVector.fromMemorySegment(I, ALL, p, LE)
                        .and(NIBBLES)
                        .or(upper)
                        .reinterpretAsShorts();
                a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND))
                                .reinterpretAsShorts()));
                p += BYTES;
                q += 4;
                bit += 4;
            } while (p < end);
            a.intoMemorySegment(ALL, Memory.known(sums + (long) distance * sum), LE);
        }
    }

    /** The second 64 columns. */
    static void highQ6k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 16; i++) {
            long h = words + (4L + 3 * i) * BYTES;
            int bit = 0;
            long p = h + BYTES;
            long end = p + 2L * BYTES;
            int sum = i + (i & -8) + 8;
            long q = x + 8L * sum;
            ShortVector a = IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(x + STARTS + 4L * sum)))
                    .reinterpretAsShorts();
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                IntVector upper = IntVector.fromMemorySegment(I, ALL, Memory.known(h), LE)
                        .lanewise(LSHR, bit)
                        .lanewise(LSHL, 2)
                        .and(UPPER_BITS);
                ShortVector u = IntVector.fromMemorySegment(I, ALL, p, LE)
                        .lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(upper)
                        .reinterpretAsShorts();
                a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND))
                                .reinterpretAsShorts()));
                p += BYTES;
                q += 4;
                bit += 4;
            } while (p < end);
            a.intoMemorySegment(ALL, Memory.known(sums + (long) distance * sum), LE);
        }
    }
}
