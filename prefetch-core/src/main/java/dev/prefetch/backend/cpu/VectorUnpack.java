package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.IntVector;

/**
 * Unpacks super-blocks to one unsigned byte per element.
 *
 * <p>Stores are written out instead of by a helper: in methods of this size the compiler has stopped inlining what is not
 * marked for it in the JDK.
 */
final class VectorUnpack {

    private static final int NIBBLES = 0x0f0f0f0f;
    private static final int FIFTH_BITS = 0x10101010;
    private static final int UPPER_BITS = 0x30303030;

    private VectorUnpack() {}

    /** {@code Q4_K}: nibbles only. */
    static void q4k(long row, int blocks, long out) {
        for (int b = 0; b < blocks; b++) {
            long p = Memory.known(row + 144L * b + 16);
            long o = Memory.known(out + 256L * b);
            for (int c = 0; c < 4; c++) {
                IntVector z = Vectors.ints(p + 32L * c);
                z.and(NIBBLES).intoMemorySegment(Memory.ALL, o + 64L * c, LE);
                z.lanewise(LSHR, 4).and(NIBBLES).intoMemorySegment(Memory.ALL, o + 64L * c + 32, LE);
            }
        }
    }

    /** {@code Q5_K}: the high bits of group {@code g} are the bits {@code g} of 32 bytes. */
    static void q5k(long row, int blocks, long out) {
        for (int b = 0; b < blocks; b++) {
            long p = Memory.known(row + 176L * b);
            long o = Memory.known(out + 256L * b);
            IntVector high = Vectors.ints(p + 16);
            for (int c = 0; c < 4; c++) {
                IntVector z = Vectors.ints(p + 48 + 32L * c);
                IntVector low = z.and(NIBBLES).or(high.lanewise(LSHL, 4).and(FIFTH_BITS));
                low.intoMemorySegment(Memory.ALL, o + 64L * c, LE);
                IntVector upper = z.lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(high.lanewise(LSHL, 3).and(FIFTH_BITS));
                upper.intoMemorySegment(Memory.ALL, o + 64L * c + 32, LE);
                high = high.lanewise(LSHR, 2);
            }
        }
    }

    /** {@code Q6_K}: two bits for each quarter of a half of 128 in 32 bytes. */
    static void q6k(long row, int blocks, long out) {
        for (int b = 0; b < 2 * blocks; b++) {
            long p = Memory.known(row + 210L * (b / 2) + 64L * (b % 2));
            long o = Memory.known(out + 128L * b);
            IntVector high = Vectors.ints(p + 128 - 32L * (b % 2));
            for (int c = 0; c < 2; c++) {
                IntVector z = Vectors.ints(p + 32L * c);
                IntVector low = z.and(NIBBLES).or(high.lanewise(LSHL, 4).and(UPPER_BITS));
                low.intoMemorySegment(Memory.ALL, o + 32L * c, LE);
                IntVector upper = z.lanewise(LSHR, 4).and(NIBBLES).or(high.and(UPPER_BITS));
                upper.intoMemorySegment(Memory.ALL, o + 32L * c + 64, LE);
                high = high.lanewise(LSHR, 2);
            }
        }
    }
}
