package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/**
 * The matrix-matrix micro-kernel: a row of weights has a lane of its own, and tokens are broadcast one by one.
 *
 * <p>A strip is {@link #ROWS} rows of weights side by side, {@code [columns][ROWS]}. Its three vectors times 4 tokens are 12
 * sums, which just fit the 16 registers of AVX2 together with weights and a token, and are enough to reach the peak of
 * AVX-512 as well. More would be more than the JVM's quick compiler takes, and what that refuses is never compiled. With rows
 * in the lanes instead of tokens, few tokens leave no lane empty.
 *
 * <p>Two things keep the compiler from loading more weights and tokens in advance than 16 registers hold beside the sums, which then
 * went through memory and took half as long again: the loops do not count, so they are not unrolled, and the addresses of tokens are not
 * {@link Memory#known}, so each is loaded behind a check of its own.
 *
 * <p>Without helpers for loads and stores: so much is inlined here that the compiler stops before it reaches the last of
 * them, and only what the JDK marks for inlining still is.
 */
final class VectorGemm {

    /** Vectors of rows in a strip. */
    static final int VECTORS = 3;

    /** Tokens of a tile. */
    static final int TOKENS = 8;

    static final int ROWS = VECTORS * LANES;

    /** Columns that all tokens see before the next: of strips of 512 bits they take half of a first-level cache. */
    private static final int CHUNK = 128;

    private static final int LINE_BYTES = 64;

    /** Bytes before the sums that the kernel may write: what it reads ahead has to be of some use, or it would not be read. */
    static final int SPARE_BYTES = 64;

    /** Bytes between columns of a strip, and between the sums of tokens. */
    static final int STRIP_BYTES = VECTORS * BYTES;

    private static final IntVector LOWER = interleave(0);
    private static final IntVector UPPER = interleave(LANES / 2);

    private VectorGemm() {}

    /** Lanes of two vectors in turn, from a lane on. */
    private static IntVector interleave(int first) {
        int[] lanes = new int[LANES];
        for (int i = 0; i < LANES; i++) {
            lanes[i] = first + i / 2 + i % 2 * LANES;
        }
        return (IntVector) I.fromArray(lanes, 0);
    }

    /**
     * {@code sums[t][r] += strip[k][r] * x[t][k]} in ascending order of {@code k}.
     *
     * @param x the tokens in tiles, {@code [depth][TOKENS]} each
     * @param tileBytes bytes from one tile to the next
     * @param sums {@code [tokens][ROWS]}, and room for those of a whole tile; {@link #SPARE_BYTES} before them are spare
     * @param ahead weights that are wanted next: they are read meanwhile, so that nobody waits for memory then
     * @param aheadStep how many bytes of them for each column, at least 4, or 0 where none are wanted
     */
    static void multiply(
            long strip, int depth, long x, long tileBytes, int tokens, long sums, long ahead, long aheadStep) {
        // Every four tokens read a part. Where a column has more than a line, reading ahead measured slower.
        long part = Math.max(Integer.BYTES, aheadStep / Math.ceilDiv(tokens, 4));
        long parts = aheadStep > LINE_BYTES ? 0 : aheadStep / part;
        int bits = 0;
        for (int k = 0; k < depth; k += CHUNK) {
            int columns = Math.min(CHUNK, depth - k);
            long w = strip + (long) STRIP_BYTES * k;
            for (int t = 0; t < tokens; t += 4) {
                long tile = x + tileBytes * (t / TOKENS) + 4L * TOKENS * k + 4L * (t % TOKENS);
                long c = sums + (long) STRIP_BYTES * t;
                if (t / 4 < parts) {
                    bits |= read(ahead + aheadStep * k + part * columns * (t / 4), part * columns);
                }
                if (t + 2 < tokens || columns % 2 != 0) {
                    fourTokens(w, columns, tile, c);
                } else {
                    twoTokens(w, columns, tile, c);
                }
            }
        }
        Memory.putInt(sums - SPARE_BYTES, bits);
    }

    /** Reads something of every line. */
    private static int read(long address, long bytes) {
        int bits = 0;
        for (long i = 0; i <= bytes - Integer.BYTES; i += LINE_BYTES) {
            bits |= Memory.getInt(Memory.known(address + i));
        }
        return bits;
    }

    /** An even number of columns. */
    private static void twoTokens(long w, int depth, long x, long c) {
        FloatVector a0 = FloatVector.fromMemorySegment(F, ALL, c, LE);
        FloatVector a1 = FloatVector.fromMemorySegment(F, ALL, c + BYTES, LE);
        FloatVector a2 = FloatVector.fromMemorySegment(F, ALL, c + 2 * BYTES, LE);
        FloatVector b0 = FloatVector.fromMemorySegment(F, ALL, c + 3 * BYTES, LE);
        FloatVector b1 = FloatVector.fromMemorySegment(F, ALL, c + 4 * BYTES, LE);
        FloatVector b2 = FloatVector.fromMemorySegment(F, ALL, c + 5 * BYTES, LE);
        long end = w + (long) STRIP_BYTES * depth;
        long column = w;
        long q = x;
        while (column != end) {
            long p = Memory.known(column);
            FloatVector w0 = FloatVector.fromMemorySegment(F, ALL, p, LE);
            FloatVector w1 = FloatVector.fromMemorySegment(F, ALL, p + BYTES, LE);
            FloatVector w2 = FloatVector.fromMemorySegment(F, ALL, p + 2 * BYTES, LE);
            FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q));
            a0 = y.fma(w0, a0);
            a1 = y.fma(w1, a1);
            a2 = y.fma(w2, a2);
            y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + 4));
            b0 = y.fma(w0, b0);
            b1 = y.fma(w1, b1);
            b2 = y.fma(w2, b2);
            w0 = FloatVector.fromMemorySegment(F, ALL, p + 3 * BYTES, LE);
            w1 = FloatVector.fromMemorySegment(F, ALL, p + 4 * BYTES, LE);
            w2 = FloatVector.fromMemorySegment(F, ALL, p + 5 * BYTES, LE);
            y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + 4 * TOKENS));
            a0 = y.fma(w0, a0);
            a1 = y.fma(w1, a1);
            a2 = y.fma(w2, a2);
            y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + 4 * TOKENS + 4));
            b0 = y.fma(w0, b0);
            b1 = y.fma(w1, b1);
            b2 = y.fma(w2, b2);
            column += 2 * STRIP_BYTES;
            q += 8 * TOKENS;
        }
        a0.intoMemorySegment(ALL, c, LE);
        a1.intoMemorySegment(ALL, c + BYTES, LE);
        a2.intoMemorySegment(ALL, c + 2 * BYTES, LE);
        b0.intoMemorySegment(ALL, c + 3 * BYTES, LE);
        b1.intoMemorySegment(ALL, c + 4 * BYTES, LE);
        b2.intoMemorySegment(ALL, c + 5 * BYTES, LE);
    }

    private static void fourTokens(long w, int depth, long x, long c) {
        FloatVector a0 = FloatVector.fromMemorySegment(F, ALL, c, LE);
        FloatVector a1 = FloatVector.fromMemorySegment(F, ALL, c + BYTES, LE);
        FloatVector a2 = FloatVector.fromMemorySegment(F, ALL, c + 2 * BYTES, LE);
        FloatVector b0 = FloatVector.fromMemorySegment(F, ALL, c + 3 * BYTES, LE);
        FloatVector b1 = FloatVector.fromMemorySegment(F, ALL, c + 4 * BYTES, LE);
        FloatVector b2 = FloatVector.fromMemorySegment(F, ALL, c + 5 * BYTES, LE);
        FloatVector c0 = FloatVector.fromMemorySegment(F, ALL, c + 6 * BYTES, LE);
        FloatVector c1 = FloatVector.fromMemorySegment(F, ALL, c + 7 * BYTES, LE);
        FloatVector c2 = FloatVector.fromMemorySegment(F, ALL, c + 8 * BYTES, LE);
        FloatVector d0 = FloatVector.fromMemorySegment(F, ALL, c + 9 * BYTES, LE);
        FloatVector d1 = FloatVector.fromMemorySegment(F, ALL, c + 10 * BYTES, LE);
        FloatVector d2 = FloatVector.fromMemorySegment(F, ALL, c + 11 * BYTES, LE);
        long end = w + (long) STRIP_BYTES * depth;
        long column = w;
        long q = x;
        while (column != end) {
            long p = Memory.known(column);
            FloatVector w0 = FloatVector.fromMemorySegment(F, ALL, p, LE);
            FloatVector w1 = FloatVector.fromMemorySegment(F, ALL, p + BYTES, LE);
            FloatVector w2 = FloatVector.fromMemorySegment(F, ALL, p + 2 * BYTES, LE);
            FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q));
            a0 = y.fma(w0, a0);
            a1 = y.fma(w1, a1);
            a2 = y.fma(w2, a2);
            y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + 4));
            b0 = y.fma(w0, b0);
            b1 = y.fma(w1, b1);
            b2 = y.fma(w2, b2);
            y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + 8));
            c0 = y.fma(w0, c0);
            c1 = y.fma(w1, c1);
            c2 = y.fma(w2, c2);
            y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + 12));
            d0 = y.fma(w0, d0);
            d1 = y.fma(w1, d1);
            d2 = y.fma(w2, d2);
            column += STRIP_BYTES;
            q += 4 * TOKENS;
        }
        a0.intoMemorySegment(ALL, c, LE);
        a1.intoMemorySegment(ALL, c + BYTES, LE);
        a2.intoMemorySegment(ALL, c + 2 * BYTES, LE);
        b0.intoMemorySegment(ALL, c + 3 * BYTES, LE);
        b1.intoMemorySegment(ALL, c + 4 * BYTES, LE);
        b2.intoMemorySegment(ALL, c + 5 * BYTES, LE);
        c0.intoMemorySegment(ALL, c + 6 * BYTES, LE);
        c1.intoMemorySegment(ALL, c + 7 * BYTES, LE);
        c2.intoMemorySegment(ALL, c + 8 * BYTES, LE);
        d0.intoMemorySegment(ALL, c + 9 * BYTES, LE);
        d1.intoMemorySegment(ALL, c + 10 * BYTES, LE);
        d2.intoMemorySegment(ALL, c + 11 * BYTES, LE);
    }

    /**
     * Transposes {@link Vectors#LANES} rows of as many 32-bit words: {@code out[i][r] = in[r][i]}.
     *
     * @param inStride bytes between rows of {@code in}
     * @param between scratch for as many words
     * @param outStride bytes between rows of {@code out}
     */
    static void transpose(long in, long inStride, long between, long out, long outStride) {
        // Each pass is one or two times the perfect shuffle of all words, of which log2(LANES) make a transposition.
        if (LANES == 4) {
            shuffleTwice(in, inStride, out, outStride);
        } else {
            shuffleTwice(in, inStride, between, BYTES);
            if (LANES == 8) {
                shuffle(between, out, outStride);
            } else {
                shuffleTwice(between, BYTES, out, outStride);
            }
        }
    }

    private static void shuffleTwice(long in, long inStride, long out, long outStride) {
        for (int i = 0; i < LANES / 4; i++) {
            long p = Memory.known(in + inStride * i);
            long q = Memory.known(out + 4 * outStride * i);
            IntVector a = IntVector.fromMemorySegment(I, ALL, p, LE);
            IntVector b = IntVector.fromMemorySegment(I, ALL, Memory.known(p + LANES / 4 * inStride), LE);
            IntVector c = IntVector.fromMemorySegment(I, ALL, Memory.known(p + LANES / 2 * inStride), LE);
            IntVector d = IntVector.fromMemorySegment(I, ALL, Memory.known(p + LANES / 4 * 3 * inStride), LE);
            IntVector e = LOWER.selectFrom(a, c);
            IntVector f = LOWER.selectFrom(b, d);
            IntVector g = UPPER.selectFrom(a, c);
            IntVector h = UPPER.selectFrom(b, d);
            LOWER.selectFrom(e, f).intoMemorySegment(ALL, q, LE);
            UPPER.selectFrom(e, f).intoMemorySegment(ALL, Memory.known(q + outStride), LE);
            LOWER.selectFrom(g, h).intoMemorySegment(ALL, Memory.known(q + 2 * outStride), LE);
            UPPER.selectFrom(g, h).intoMemorySegment(ALL, Memory.known(q + 3 * outStride), LE);
        }
    }

    private static void shuffle(long in, long out, long outStride) {
        for (int i = 0; i < LANES / 2; i++) {
            long p = Memory.known(in + (long) BYTES * i);
            long q = Memory.known(out + 2 * outStride * i);
            IntVector a = IntVector.fromMemorySegment(I, ALL, p, LE);
            IntVector b = IntVector.fromMemorySegment(I, ALL, p + LANES / 2 * BYTES, LE);
            LOWER.selectFrom(a, b).intoMemorySegment(ALL, q, LE);
            UPPER.selectFrom(a, b).intoMemorySegment(ALL, Memory.known(q + outStride), LE);
        }
    }

    static void packTokens(long x, long xStride, int tokens, int width, int depth, long packed) {
        for (int t = 0; t < tokens; t++) {
            long row = x + t * xStride;
            for (int k = 0; k < depth; k++) {
                Memory.putFloat(packed + 4L * (k * width + t), Memory.getFloat(row + 4L * k));
            }
        }
        for (int t = tokens; t < width; t++) {
            for (int k = 0; k < depth; k++) {
                Memory.putFloat(packed + 4L * (k * width + t), 0);
            }
        }
    }
}
