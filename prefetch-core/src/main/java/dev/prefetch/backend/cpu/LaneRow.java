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
 * The sums of {@link LaneProducts#one} straight from a packed group, without a panel in between: what waits for memory must not
 * store much, or the processor does not look far enough ahead.
 *
 * <p>Kernels have the arguments {@code (words of the group, columns / 4, record of the activations, distance of the sums, sums)}.
 */
final class LaneRow {

    private static final int NIBBLES = 0x0f0f0f0f;

    private LaneRow() {}

    /** Four words of low and high nibbles to a sum. */
    static void rowQ40(long words, int n, long x, int distance, long sums) {
        for (int block = 0; block < n / 8; block++) {
            long p = words + 4L * BYTES * block;
            long end = p + 4L * BYTES;
            long q = x + 32L * block;
            ShortVector a = IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(x + STARTS + 4L * block)))
                    .reinterpretAsShorts();
            ShortVector b = ShortVector.zero(S);
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                IntVector z = IntVector.fromMemorySegment(I, ALL, p, LE);
                ShortVector u = z.and(NIBBLES).reinterpretAsShorts();
                a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
                b = b.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND))
                                .reinterpretAsShorts()));
                u = z.lanewise(LSHR, 4).and(NIBBLES).reinterpretAsShorts();
                a = a.add(u.mul(
                        IntVector.broadcast(I, ALL.get(Memory.INT, q + 16)).reinterpretAsShorts()));
                b = b.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND + 16))
                                .reinterpretAsShorts()));
                p += BYTES;
                q += 4;
            } while (p < end);
            a.add(b).intoMemorySegment(ALL, Memory.known(sums + (long) distance * block), LE);
        }
    }

    /** Eight words of nibbles of two groups of columns. */
    static void rowQ4k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 4; i++) {
            long p = words + (4L + 8 * i) * BYTES;
            long end = p + 8L * BYTES;
            long q = x + 64L * i;
            long start = Memory.known(x + STARTS + 8L * i);
            ShortVector a = IntVector.broadcast(I, ALL.get(Memory.INT, start)).reinterpretAsShorts();
            ShortVector b =
                    IntVector.broadcast(I, ALL.get(Memory.INT, start + 4)).reinterpretAsShorts();
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                IntVector z = IntVector.fromMemorySegment(I, ALL, p, LE);
                ShortVector u = z.and(NIBBLES).reinterpretAsShorts();
                a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND))
                                .reinterpretAsShorts()));
                u = z.lanewise(LSHR, 4).and(NIBBLES).reinterpretAsShorts();
                b = b.add(u.mul(
                        IntVector.broadcast(I, ALL.get(Memory.INT, q + 32)).reinterpretAsShorts()));
                b = b.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND + 32))
                                .reinterpretAsShorts()));
                p += BYTES;
                q += 4;
            } while (p < end);
            long o = Memory.known(sums + 2L * distance * i);
            a.intoMemorySegment(ALL, o, LE);
            b.intoMemorySegment(ALL, o + distance, LE);
        }
    }

    /** The same with fifth bits, of four words each in front of them; two sums for a group of columns. */
    static void rowQ5k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 8; i++) {
            long h = words + (4L + 5 * i) * BYTES;
            long p = h + BYTES;
            long end = p + 4L * BYTES;
            int bit = 0;
            // The first of four sums of two groups.
            int sum = i + (i & -2);
            long q = x + 16L * sum;
            long start = Memory.known(x + STARTS + 4L * sum);
            ShortVector a = IntVector.broadcast(I, ALL.get(Memory.INT, start)).reinterpretAsShorts();
            ShortVector b =
                    IntVector.broadcast(I, ALL.get(Memory.INT, start + 8)).reinterpretAsShorts();
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                IntVector fifth =
                        IntVector.fromMemorySegment(I, ALL, Memory.known(h), LE).lanewise(LSHR, bit);
                IntVector z = IntVector.fromMemorySegment(I, ALL, p, LE);
                ShortVector u = z.and(NIBBLES)
                        .or(fifth.lanewise(LSHL, 4).and(0x10101010))
                        .reinterpretAsShorts();
                a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND))
                                .reinterpretAsShorts()));
                u = z.lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(fifth.lanewise(LSHL, 3).and(0x10101010))
                        .reinterpretAsShorts();
                b = b.add(u.mul(
                        IntVector.broadcast(I, ALL.get(Memory.INT, q + 32)).reinterpretAsShorts()));
                b = b.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND + 32))
                                .reinterpretAsShorts()));
                p += BYTES;
                q += 4;
                bit += 2;
            } while (p < end);
            long o = Memory.known(sums + (long) distance * sum);
            a.intoMemorySegment(ALL, o, LE);
            b.intoMemorySegment(ALL, o + 2L * distance, LE);
        }
    }

    /**
     * Of each half of 128 columns, words have nibbles of 64 columns and of the next 64; two words share the upper bits in front. Two
     * sums for a group of columns.
     */
    static void rowQ6k(long words, int n, long x, int distance, long sums) {
        for (int i = 0; i < 16; i++) {
            long h = words + (4L + 3 * i) * BYTES;
            long p = h + BYTES;
            long end = p + 2L * BYTES;
            int bit = 0;
            int sum = i + (i & -8);
            long q = x + 8L * sum;
            long start = Memory.known(x + STARTS + 4L * sum);
            ShortVector a = IntVector.broadcast(I, ALL.get(Memory.INT, start)).reinterpretAsShorts();
            ShortVector b =
                    IntVector.broadcast(I, ALL.get(Memory.INT, start + 32)).reinterpretAsShorts();
            do {
                p = Memory.known(p);
                q = Memory.known(q);
                IntVector upper =
                        IntVector.fromMemorySegment(I, ALL, Memory.known(h), LE).lanewise(LSHR, bit);
                IntVector z = IntVector.fromMemorySegment(I, ALL, p, LE);
                ShortVector u = z.and(NIBBLES)
                        .or(upper.lanewise(LSHL, 4).and(0x30303030))
                        .reinterpretAsShorts();
                a = a.add(u.mul(IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts()));
                a = a.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND))
                                .reinterpretAsShorts()));
                u = z.lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(upper.lanewise(LSHL, 2).and(0x30303030))
                        .reinterpretAsShorts();
                b = b.add(u.mul(
                        IntVector.broadcast(I, ALL.get(Memory.INT, q + 64)).reinterpretAsShorts()));
                b = b.add(u.lanewise(LSHR, 8)
                        .mul(IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND + 64))
                                .reinterpretAsShorts()));
                p += BYTES;
                q += 4;
                bit += 4;
            } while (p < end);
            long o = Memory.known(sums + (long) distance * sum);
            a.intoMemorySegment(ALL, o, LE);
            b.intoMemorySegment(ALL, o + 8L * distance, LE);
        }
    }
}
