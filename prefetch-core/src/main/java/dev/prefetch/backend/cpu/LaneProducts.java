package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.LaneRow.pair;
import static dev.prefetch.backend.cpu.LaneRow.sum;
import static dev.prefetch.backend.cpu.LaneUnpack.FACTOR_BYTES;
import static dev.prefetch.backend.cpu.LaneUnpack.MINIMA;
import static dev.prefetch.backend.cpu.LaneUnpack.PAIR_BYTES;
import static dev.prefetch.backend.cpu.LaneUnpack.SCALES;
import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorActivations.FACTOR_SCALES;
import static dev.prefetch.backend.cpu.VectorActivations.TILE_PAIR_BYTES;
import static dev.prefetch.backend.cpu.VectorActivations.TILE_ROWS;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static dev.prefetch.backend.cpu.Vectors.S;
import static jdk.incubator.vector.VectorOperators.I2F;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/**
 * Multiplies 256 columns of two groups of rows with some rows of activations.
 *
 * <p>A lane belongs to one row of weights, so that products of many columns meet in it and are put together but once for
 * every group of columns. They are summed in the two halves of a lane, whose sum half a lane holds: see {@link LaneFormat#most}. Sums of a group are
 * exact, so how they come about changes no bit.
 */
final class LaneProducts {

    /** Bytes from a sum to the next: they stand there for two groups of rows. */
    static final int DISTANCE = 2 * BYTES;

    /** Bytes of the sums of a row of activations, at most 16. Not a power of two, or they would compete for the same places of the cache. */
    static final long TOKEN_SUMS = 16L * DISTANCE + 2L * BYTES;

    /** Where the sums begin in the working memory of a pair, behind the factors of both groups. */
    static final long SUMS = 2 * FACTOR_BYTES;

    static final long SUM_BYTES = TILE_ROWS * TOKEN_SUMS;

    private LaneProducts() {}

    /**
     * Sums of products with a tile of activations.
     *
     * @param elements what {@link LaneUnpack} made of two groups of rows
     * @param pairs how many pairs of elements a row has, a multiple of {@code pairsPerSum}, which is even
     * @param x the tile, see {@link VectorActivations}
     * @param sums {@code [row of activations][sum][group of rows]}
     */
    static void four(long elements, int pairs, long x, int pairsPerSum, long sums) {
        long w = elements;
        long end = elements + (long) PAIR_BYTES * pairs;
        long step = (long) PAIR_BYTES * pairsPerSum;
        long q = x;
        long o = sums;
        while (w < end) {
            long until = w + step;
            ShortVector a = ShortVector.zero(S);
            ShortVector b = a;
            ShortVector c = a;
            ShortVector d = a;
            ShortVector e = a;
            ShortVector f = a;
            ShortVector g = a;
            ShortVector h = a;
            while (w < until) {
                w = Memory.known(w);
                q = Memory.known(q);
                for (int k = 0; k < 2; k++) {
                    long at = w + PAIR_BYTES * (k & 1);
                    long z = q + TILE_PAIR_BYTES * (k & 1);
                    ShortVector u = ShortVector.fromMemorySegment(S, ALL, at, LE);
                    ShortVector v = ShortVector.fromMemorySegment(S, ALL, at + BYTES, LE);
                    ShortVector m = pair(z);
                    a = a.add(u.mul(m));
                    b = b.add(v.mul(m));
                    m = pair(z + 4);
                    c = c.add(u.mul(m));
                    d = d.add(v.mul(m));
                    m = pair(z + 8);
                    e = e.add(u.mul(m));
                    f = f.add(v.mul(m));
                    m = pair(z + 12);
                    g = g.add(u.mul(m));
                    h = h.add(v.mul(m));
                }
                w += 2 * PAIR_BYTES;
                q += 2 * TILE_PAIR_BYTES;
            }
            o = Memory.known(o);
            a.intoMemorySegment(ALL, o, LE);
            b.intoMemorySegment(ALL, o + BYTES, LE);
            c.intoMemorySegment(ALL, o + TOKEN_SUMS, LE);
            d.intoMemorySegment(ALL, o + TOKEN_SUMS + BYTES, LE);
            e.intoMemorySegment(ALL, o + 2 * TOKEN_SUMS, LE);
            f.intoMemorySegment(ALL, o + 2 * TOKEN_SUMS + BYTES, LE);
            g.intoMemorySegment(ALL, o + 3 * TOKEN_SUMS, LE);
            h.intoMemorySegment(ALL, o + 3 * TOKEN_SUMS + BYTES, LE);
            o += DISTANCE;
        }
    }

    /** The same with the first two rows of a tile. */
    static void two(long elements, int pairs, long x, int pairsPerSum, long sums) {
        long w = elements;
        long end = elements + (long) PAIR_BYTES * pairs;
        long step = (long) PAIR_BYTES * pairsPerSum;
        long q = x;
        long o = sums;
        while (w < end) {
            long until = w + step;
            ShortVector a = ShortVector.zero(S);
            ShortVector b = a;
            ShortVector c = a;
            ShortVector d = a;
            while (w < until) {
                w = Memory.known(w);
                q = Memory.known(q);
                ShortVector u = ShortVector.fromMemorySegment(S, ALL, w, LE);
                ShortVector v = ShortVector.fromMemorySegment(S, ALL, w + BYTES, LE);
                ShortVector m = pair(q);
                a = a.add(u.mul(m));
                b = b.add(v.mul(m));
                m = pair(q + 4);
                c = c.add(u.mul(m));
                d = d.add(v.mul(m));
                w += PAIR_BYTES;
                q += TILE_PAIR_BYTES;
            }
            o = Memory.known(o);
            a.intoMemorySegment(ALL, o, LE);
            b.intoMemorySegment(ALL, o + BYTES, LE);
            c.intoMemorySegment(ALL, o + TOKEN_SUMS, LE);
            d.intoMemorySegment(ALL, o + TOKEN_SUMS + BYTES, LE);
            o += DISTANCE;
        }
    }

    /**
     * Adds the sums to results, {@code [row of activations][group of rows]}: a sum for each of 8 groups of columns, which have
     * minima. The others below.
     *
     * @param work the factors, and the sums behind them
     * @param tokens rows of activations, at most {@link VectorActivations#TILE_ROWS}
     * @param x their factors
     */
    static void finishWithMinima(long work, int tokens, long x, int words, long results) {
        for (int t = 0; t < tokens; t++) {
            long w = work;
            long end = w + 8L * BYTES;
            long s = work + SUMS + TOKEN_SUMS * t;
            long q = x + 4L * t;
            long o = Memory.known(results + 2L * BYTES * t);
            FloatVector a = FloatVector.fromMemorySegment(F, ALL, o, LE);
            FloatVector b = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
            while (w < end) {
                w = Memory.known(w);
                s = Memory.known(s);
                q = Memory.known(q);
                FloatVector scale = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q + FACTOR_SCALES));
                FloatVector sum = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, q));
                IntVector v = IntVector.fromMemorySegment(I, ALL, s, LE);
                v = sum(v);
                a = ((FloatVector) v.convertShape(I2F, F, 0))
                        .fma(
                                FloatVector.fromMemorySegment(F, ALL, w + SCALES, LE)
                                        .mul(scale),
                                a);
                a = sum.fma(FloatVector.fromMemorySegment(F, ALL, w + MINIMA, LE), a);
                v = IntVector.fromMemorySegment(I, ALL, s + BYTES, LE);
                v = sum(v);
                b = ((FloatVector) v.convertShape(I2F, F, 0))
                        .fma(
                                FloatVector.fromMemorySegment(F, ALL, w + FACTOR_BYTES + SCALES, LE)
                                        .mul(scale),
                                b);
                b = sum.fma(FloatVector.fromMemorySegment(F, ALL, w + FACTOR_BYTES + MINIMA, LE), b);
                w += BYTES;
                s += DISTANCE;
                q += TILE_PAIR_BYTES;
            }
            a.intoMemorySegment(ALL, o, LE);
            b.intoMemorySegment(ALL, o + BYTES, LE);
        }
    }

    /** A sum for each block of 32 columns. */
    static void finishBlocks(long work, int tokens, long x, int words, long results) {
        withoutMinima(work, tokens, x, words / 8, results);
    }

    /** A sum for each 16 columns. */
    static void finishSixteenths(long work, int tokens, long x, int words, long results) {
        withoutMinima(work, tokens, x, words / 4, results);
    }

    /** A sum for each block of 32 columns, of 32 bits and too large by 2^15 for each of its 8 words; see {@link LaneRows#twoQ80}. */
    static void finishWide(long work, int tokens, long x, int words, long results) {
        for (int t = 0; t < tokens; t++) {
            long w = work + SCALES;
            long end = w + (long) BYTES * (words / 8);
            long s = work + SUMS + TOKEN_SUMS * t;
            long q = x + 4L * t + FACTOR_SCALES;
            long o = Memory.known(results + 2L * BYTES * t);
            FloatVector a = FloatVector.fromMemorySegment(F, ALL, o, LE);
            FloatVector b = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
            while (w < end) {
                w = Memory.known(w);
                s = Memory.known(s);
                FloatVector scale = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(q)));
                IntVector v = IntVector.fromMemorySegment(I, ALL, s, LE).sub(8 << 15);
                a = ((FloatVector) v.convertShape(I2F, F, 0))
                        .fma(FloatVector.fromMemorySegment(F, ALL, w, LE).mul(scale), a);
                v = IntVector.fromMemorySegment(I, ALL, s + BYTES, LE).sub(8 << 15);
                b = ((FloatVector) v.convertShape(I2F, F, 0))
                        .fma(
                                FloatVector.fromMemorySegment(F, ALL, w + FACTOR_BYTES, LE)
                                        .mul(scale),
                                b);
                w += BYTES;
                s += DISTANCE;
                q += TILE_PAIR_BYTES;
            }
            a.intoMemorySegment(ALL, o, LE);
            b.intoMemorySegment(ALL, o + BYTES, LE);
        }
    }

    private static void withoutMinima(long work, int tokens, long x, int groups, long results) {
        for (int t = 0; t < tokens; t++) {
            long w = work + SCALES;
            long end = w + (long) BYTES * groups;
            long s = work + SUMS + TOKEN_SUMS * t;
            long q = x + 4L * t + FACTOR_SCALES;
            long o = Memory.known(results + 2L * BYTES * t);
            FloatVector a = FloatVector.fromMemorySegment(F, ALL, o, LE);
            FloatVector b = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE);
            while (w < end) {
                w = Memory.known(w);
                s = Memory.known(s);
                FloatVector scale = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(q)));
                IntVector v = IntVector.fromMemorySegment(I, ALL, s, LE);
                v = sum(v);
                a = ((FloatVector) v.convertShape(I2F, F, 0))
                        .fma(FloatVector.fromMemorySegment(F, ALL, w, LE).mul(scale), a);
                v = IntVector.fromMemorySegment(I, ALL, s + BYTES, LE);
                v = sum(v);
                b = ((FloatVector) v.convertShape(I2F, F, 0))
                        .fma(
                                FloatVector.fromMemorySegment(F, ALL, w + FACTOR_BYTES, LE)
                                        .mul(scale),
                                b);
                w += BYTES;
                s += DISTANCE;
                q += TILE_PAIR_BYTES;
            }
            a.intoMemorySegment(ALL, o, LE);
            b.intoMemorySegment(ALL, o + BYTES, LE);
        }
    }
}
