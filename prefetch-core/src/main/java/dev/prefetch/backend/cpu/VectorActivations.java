package dev.prefetch.backend.cpu;

import static jdk.incubator.vector.VectorOperators.F2I;
import static jdk.incubator.vector.VectorOperators.MAX;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/**
 * Prepares a row of activations for the matrix-vector kernels; see each method for its layout.
 *
 * <p>For quantised weights, activations become integers with a scale per group of the weights' format, 16 or 32 elements, rounded half
 * away from zero. With bytes the largest becomes 127. With others the sum of their magnitudes becomes what a sum of products with 16 bits has room for
 * ({@link LaneFormat#most}): a large one among small ones may be some thousands, and the small ones keep their bits. llama.cpp has 127 for the largest, and for super-blocks one scale
 * per 256, which loses more. They are kept in 16-bit lanes, because there is no multiplication of bytes.
 *
 * <p>How packed weights are multiplied without taking them apart: a lane has several unsigned elements, {@code e0} in the lowest
 * bits and {@code e1} above it, which {@link LaneRow} does not mask. Modulo 2^16 it computes {@code v * m0 + (v >>> s1) * m1 + ...},
 * where {@code s1} is the number of bits of {@code e0}. With {@code m0 = a0} and {@code m1 = a1 - (a0 << s1)} that is
 * {@code a0 e0 + a1 e1 + ...}: each multiplier cancels what the elements from its own on contributed to the term before. Whole lanes are shifted, and a multiplication has both
 * halves, so every pair of multipliers is for two elements, the second half a lane above the first; the sums of the halves count together. With bytes a product fills half a lane, and
 * each half is a chain of its own.
 * Sums begin with {@code -centre} times the sum of their activations, so that they are those of the elements {@code e - centre},
 * which fit 16 bits; see {@link LaneFormat}.
 */
final class VectorActivations {

    /** Prepared rows begin at multiples of this. */
    private static final long ALIGNMENT = 64;

    /** Elements per scale. */
    static final int BLOCK = 32;

    /** Elements of a record, and of a super-block. */
    static final int SUPER_BLOCK = LaneFormat.COLS;

    // Layout of a record, for few rows: at most 6 multipliers for 8 columns, then
    /** start values of at most 16 sums, */
    static final long STARTS = SUPER_BLOCK / 8 * 6 * 4;
    /** and factors, in the first of as many records as a tile has rows those of all. */
    static final long RECORD_FACTORS = STARTS + 16 * 4;

    /** Rows of activations of a tile, which stands for as many records where there are many rows. */
    static final int TILE_ROWS = 4;

    /** Bytes from a pair of elements of a tile to the next: they stand there for each of its rows. */
    static final int TILE_PAIR_BYTES = 4 * TILE_ROWS;

    /** Behind the elements. */
    static final long TILE_FACTORS = SUPER_BLOCK / 2 * TILE_PAIR_BYTES;

    // Layout of factors: what 8 groups of 32 activations sum to, each for every row of a tile; then
    /** at most 16 scales, for every row too. */
    static final long FACTOR_SCALES = 8 * 4 * TILE_ROWS;

    private static final long FACTOR_BYTES = FACTOR_SCALES + 16 * 4 * TILE_ROWS;

    // Neither is a power of two, or they would compete for the same places of the cache.
    static final long RECORD_BYTES = RECORD_FACTORS + FACTOR_BYTES;
    static final long TILE_BYTES = TILE_FACTORS + FACTOR_BYTES;

    /** Working space of a row while records are prepared. */
    private static final long WORK_BYTES = 4 * SUPER_BLOCK;

    /**
     * What activations for {@link VectorHalves#TOO_SMALL} halves are multiplied with, unless one of their row is {@link #LARGE}, so that it would become infinite. The
     * sums are then 2^40 times too small, which costs them no bit from 2^-86 on.
     */
    private static final float ORDINARY_SCALE = 0x1p72f;

    private static final float LARGE = 0x1p56f;

    private static final long LOWER = 0xffffffffL;

    /** Of four 16-bit numbers. */
    private static final long SECOND = 0xffff0000L;

    /** The signs of four 16-bit numbers. */
    private static final long SIGNS = 0x8000800080008000L;

    private VectorActivations() {}

    /** See {@link Kernels#activationStride}. Not a power of two, or the rows would compete for the same places of the cache. */
    static long stride(ActivationForm form, int cols) {
        return switch (form) {
            case PLAIN, SCALED -> padded(4L * cols);
            case BLOCK_BYTES, BLOCK_NIBBLES, GROUP_NIBBLES, GROUP_FIVE_BITS, SIXTEENTHS -> RECORD_BYTES;
        };
    }

    private static long padded(long bytes) {
        return Math.ceilDiv(bytes, ALIGNMENT) * ALIGNMENT + ALIGNMENT;
    }

    /** See {@link Kernels#activationBytes}. */
    static long bytes(ActivationForm form, int cols, int count) {
        LaneFormat format = LaneFormat.of(form);
        if (format == null) {
            return stride(form, cols) * count;
        }
        return laneBytes(format, count) * Math.ceilDiv(cols, SUPER_BLOCK) + WORK_BYTES * count;
    }

    /** Bytes of 256 columns of so many rows: records, or tiles where weights are taken apart for them. */
    static long laneBytes(LaneFormat format, int count) {
        int tiles = Math.ceilDiv(count, TILE_ROWS);
        // Kernels of several rows may read records that no row has.
        return hasRecords(format, count) ? RECORD_BYTES * (count == 1 ? 1 : TILE_ROWS * tiles) : TILE_BYTES * tiles;
    }

    /** Whether so many rows of activations have records. */
    static boolean hasRecords(LaneFormat format, int count) {
        return count <= format.fewRows();
    }

    /** Where a row's factors are, of records that begin there. */
    static long factors(long records, int row) {
        int place = row % TILE_ROWS;
        return records + RECORD_BYTES * (row - place) + RECORD_FACTORS + 4L * place;
    }

    /** Prepares a row; parameters as {@link Kernels#prepare}. */
    static void prepare(ActivationForm form, long x, int cols, int row, int count, long rows) {
        LaneFormat format = LaneFormat.of(form);
        if (format != null) {
            lanes(format, x, cols, row, count, rows);
            return;
        }
        long out = rows + stride(form, cols) * row;
        if (form == ActivationForm.SCALED) {
            float scale = largest(x, cols) < LARGE ? ORDINARY_SCALE : 1;
            VectorElementwise.scale(x, cols, scale, out);
            Memory.putFloat(out + 4L * cols, VectorHalves.TOO_SMALL / scale);
        } else {
            Memory.copy(x, out, 4L * cols);
        }
    }

    /** The largest magnitude of a row; NaN if there is any. */
    private static float largest(long x, int n) {
        FloatVector magnitude = FloatVector.zero(Vectors.F);
        int i = 0;
        for (; i + Vectors.LANES <= n; i += Vectors.LANES) {
            magnitude = magnitude.max(Vectors.floats(x + 4L * i).abs());
        }
        float max = magnitude.reduceLanes(MAX);
        for (; i < n; i++) {
            max = Math.max(max, Math.abs(Memory.getFloat(x + 4L * i)));
        }
        return max;
    }

    /**
     * 16-bit values, whose scale is the result. A NaN or infinity makes that NaN or infinite.
     *
     * @param size of the activations, and {@code most} that of the values
     */
    private static float quantizeBlock(long x, int block, float size, float most, long values) {
        float scale = size / most;
        round(x, block, scale < Float.MIN_NORMAL ? 0 : most / size, values);
        return scale;
    }

    /** The mean of the magnitudes of 32 activations, or half that of 16: their sum may be infinite. */
    private static float mean(long x, int block) {
        FloatVector sum = FloatVector.zero(Vectors.F);
        FloatVector part = FloatVector.broadcast(Vectors.F, 1f / BLOCK);
        for (int i = 0; i < block; i += Vectors.LANES) {
            sum = Vectors.floats(x + 4L * i).abs().fma(part, sum);
        }
        return Vectors.sum(sum);
    }

    /** A block, multiplied and rounded half away from zero. */
    private static void round(long x, int block, float inverse, long values) {
        for (int i = 0; i < block; i += Vectors.LANES) {
            FloatVector v = Vectors.floats(x + 4L * i).mul(inverse);
            IntVector sign = v.reinterpretAsInts().and(0x80000000);
            FloatVector half = sign.or(0x3f000000).reinterpretAsFloats();
            IntVector rounded = (IntVector) v.add(half).convertShape(F2I, Vectors.I, 0);
            ((ShortVector) rounded.castShape(Vectors.HALF_S, 0))
                    .intoMemorySegment(Memory.ALL, values + 2L * i, Vectors.LE);
        }
    }

    /** Records or tiles for {@link LaneMatvec}; those of the same columns of all {@code count} rows stand one behind the other. */
    private static void lanes(LaneFormat format, long x, int cols, int row, int count, long out) {
        int superBlocks = Math.ceilDiv(cols, SUPER_BLOCK);
        long values = out + laneBytes(format, count) * superBlocks + WORK_BYTES * row;
        for (int b = 0; b < superBlocks; b++) {
            long columns = out + laneBytes(format, count) * b;
            long from = x + 4L * SUPER_BLOCK * b;
            int n = Math.min(SUPER_BLOCK, cols - SUPER_BLOCK * b);
            long factors;
            if (hasRecords(format, count)) {
                long record = columns + RECORD_BYTES * row;
                factors = factors(columns, row);
                quantize(format, from, n, values, factors);
                long pairs = values + 2L * SUPER_BLOCK;
                pairs(values, n / 4, pairs, 4);
                multipliers(format, pairs, n, record);
                if (!format.bytes()) {
                    starts(values, n / 4, format, record + STARTS);
                }
            } else {
                long tile = columns + TILE_BYTES * (row / TILE_ROWS);
                int place = 4 * (row % TILE_ROWS);
                factors = tile + TILE_FACTORS + place;
                quantize(format, from, n, values, factors);
                pairs(values, n / 4, tile + place, TILE_PAIR_BYTES);
            }
            for (int i = 0; i < n && format.minima(); i += BLOCK) {
                int sum = sumOfSixteen(values + 2L * i) + sumOfSixteen(values + 2L * i + 32);
                long at = factors + (long) TILE_PAIR_BYTES * i / BLOCK;
                Memory.putFloat(at, sum * Memory.getFloat(at + FACTOR_SCALES));
            }
        }
    }

    /** The values in 16-bit lanes, and their scales to {@code factors}. */
    private static void quantize(LaneFormat format, long x, int n, long values, long factors) {
        int block = format.sumCols();
        for (int i = 0; i < n; i += block) {
            long from = x + 4L * i;
            long to = values + 2L * i;
            float scale = format.bytes()
                    ? quantizeBlock(from, block, largest(from, block), format.most, to)
                    : quantizeBlock(from, block, mean(from, block), (float) format.most / BLOCK, to);
            Memory.putFloat(factors + FACTOR_SCALES + (long) TILE_PAIR_BYTES * i / block, scale);
        }
    }

    /** Of four values the first and the third as a pair, then the second and the fourth. */
    private static void pairs(long values, int words, long out, int step) {
        for (int i = 0; i < words; i++) {
            long v = Memory.getLong(Memory.known(values + 8L * i));
            long o = Memory.known(out + 2L * step * i);
            Memory.putInt(o, (int) (v & 0xffff | v >>> 16 & 0xffff0000L));
            Memory.putInt(o + step, (int) (v >>> 16 & 0xffff | v >>> 32 & 0xffff0000L));
        }
    }

    /** What the sums in both halves of a lane begin with. */
    private static void starts(long values, int words, LaneFormat format, long out) {
        for (int word = 0; word < words; word += format.wordsPerSum) {
            int lower = 0;
            int upper = 0;
            for (int i = word; i < word + format.wordsPerSum; i++) {
                long p = Memory.known(values + 8L * i);
                lower += Memory.getShort(p) + Memory.getShort(p + 2);
                upper += Memory.getShort(p + 4) + Memory.getShort(p + 6);
            }
            int start = -format.centre * lower & 0xffff | -format.centre * upper << 16;
            Memory.putInt(out + 4L * (word / format.wordsPerSum), start);
        }
    }

    /** Multipliers for {@link LaneRow}, or {@link LaneRows} for more than one row, of pairs of elements. */
    private static void multipliers(LaneFormat format, long pairs, int n, long out) {
        switch (format) {
            case Q8_0 -> {
                for (int i = 0; i < n / 4; i++) {
                    // Elements stand in falling order.
                    int a = Integer.rotateLeft(Memory.getInt(Memory.known(pairs + 8L * i + 4)), 16);
                    long b = Integer.rotateLeft(Memory.getInt(Memory.known(pairs + 8L * i)), 16) & LOWER;
                    long o = Memory.known(out + 12L * i);
                    Memory.putInt(o, a);
                    Memory.putInt(o + 4, (int) minus(b, times(a & LOWER, 8)));
                    // That of the sum begins with 2^15 in the lower half, so that it is not negative.
                    Memory.putInt(o + 8, (int) minus(0x8000, times(a & LOWER, 7)));
                }
            }
            case Q4_0, Q4_K -> {
                for (int i = 0; i < n / 8; i++) {
                    long p = Memory.known(pairs + 64L * (i / 4) + 8L * (i % 4));
                    long a = Memory.getInt(p) & LOWER | Memory.getLong(p + 32) << 32;
                    long b = Memory.getLong(p) >>> 32 | Memory.getLong(p + 32) & ~LOWER;
                    four(a, b, 4, Memory.known(out + 16L * i));
                }
            }
            case Q5_K -> {
                for (int i = 0; i < n / 32 * 5; i++) {
                    long p = Memory.known(pairs + 64L * (i / 5));
                    long q = Memory.known(p + 12L * (i % 5));
                    long b = Memory.getInt(q + 8) & LOWER | times(Memory.getInt(p + 60), i % 5) << 32;
                    four(Memory.getLong(q), b, 5, Memory.known(out + 16L * i));
                }
            }
            case Q6_K -> {
                for (int i = 0; i < n / 16; i++) {
                    long p = Memory.known(pairs + 32L * i);
                    long o = Memory.known(out + 40L * i);
                    long first = Memory.getLong(p);
                    long third = Memory.getLong(p + 8);
                    long fifth = Memory.getLong(p + 16);
                    long last = Memory.getLong(p + 24);
                    long before = times(first << 32, 6) | times(third << 16 & SECOND, 4);
                    Memory.putLong(o, minus(first, before));
                    before = times(first >>> 32, 6) | times(fifth >>> 16 & SECOND, 4) << 32;
                    Memory.putLong(o + 8, minus(third, before));
                    before = third >>> 32 | fifth << 32;
                    Memory.putLong(o + 16, minus(fifth, times(before, 6)));
                    before = last << 32 | fifth >>> 16 & SECOND;
                    Memory.putLong(o + 24, minus(last, times(before, 6)));
                    long upper = third & LOWER | fifth & ~LOWER;
                    before = last >>> 32 | third << 32;
                    Memory.putLong(o + 32, minus(times(upper, 4), times(before, 6)));
                }
            }
        }
    }

    /** From two times two pairs as many multipliers for elements of so many bits. */
    private static void four(long a, long b, int bits, long out) {
        long before = times(a << 32, bits) | times(b >>> 16 & SECOND, 16 - 3 * bits);
        Memory.putLong(out, minus(a, before));
        Memory.putLong(out + 8, minus(b, times(b << 32 | a >>> 32, bits)));
    }

    /** Four 16-bit numbers less four others. */
    private static long minus(long a, long b) {
        return (a | SIGNS) - (b & ~SIGNS) ^ (a ^ ~b) & SIGNS;
    }

    /** Four 16-bit numbers times a power of two. */
    private static long times(long a, int power) {
        return a << power & (0xffff << power & 0xffff) * 0x0001000100010001L;
    }

    private static int sumOfFour(long values) {
        long p = Memory.known(values);
        return Memory.getShort(p) + Memory.getShort(p + 2) + Memory.getShort(p + 4) + Memory.getShort(p + 6);
    }

    private static int sumOfSixteen(long values) {
        return sumOfFour(values) + sumOfFour(values + 8) + sumOfFour(values + 16) + sumOfFour(values + 24);
    }
}
