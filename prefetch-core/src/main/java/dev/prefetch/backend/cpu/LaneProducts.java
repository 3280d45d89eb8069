package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.LaneUnpack.MINIMA;
import static dev.prefetch.backend.cpu.LaneUnpack.PANEL_BYTES;
import static dev.prefetch.backend.cpu.LaneUnpack.SCALES;
import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorActivations.RECORD_BYTES;
import static dev.prefetch.backend.cpu.VectorActivations.RECORD_SCALES;
import static dev.prefetch.backend.cpu.VectorActivations.RECORD_SUMS;
import static dev.prefetch.backend.cpu.VectorActivations.SECOND;
import static dev.prefetch.backend.cpu.VectorActivations.STARTS;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static dev.prefetch.backend.cpu.Vectors.S;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/**
 * Multiplies 256 columns of two groups of rows with one or two rows of activations.
 *
 * <p>A lane belongs to one row of weights, so that products of many columns meet in it and are put together but once for
 * every group of columns. They are summed modulo 2^16 in the two halves of a lane, as {@link VectorActivations} says, whose
 * start values see to it that the sums fit. Sums of a group are exact, so how they come about changes no bit.
 */
final class LaneProducts {

    /** Bytes from a sum to the next: they stand there for two groups of rows. */
    static final int DISTANCE = 2 * BYTES;

    /** Sums of a row of activations, at most 32. */
    private static final long TOKEN_SUMS = 32L * DISTANCE;

    /** Bytes before the sums that the kernel may write: what it reads ahead has to be of some use, or it would not be read. */
    static final int SPARE_BYTES = 64;

    /** Where the sums begin in the working memory of a pair, behind its panels. */
    static final long SUMS = 2 * PANEL_BYTES + SPARE_BYTES;

    /** Bytes of the sums of both rows of activations. */
    static final long SUM_BYTES = 2 * TOKEN_SUMS;

    private LaneProducts() {}

    /**
     * Sums of products with one row of activations, as {@code [sum][group of rows]}.
     *
     * @param panels what {@link LaneUnpack} made of two groups of rows
     * @param words how many words there are in a panel, a multiple of {@code wordsPerSum}
     * @param x the record of the activations
     * @param sums {@link #SUM_BYTES}
     */
    static void one(long panels, int words, long x, int wordsPerSum, long sums) {
        long w = panels;
        long end = panels + (long) BYTES * words;
        long step = (long) BYTES * wordsPerSum;
        long q = x;
        long start = x + STARTS;
        long o = sums;
        do {
            long until = w + step;
            ShortVector a = IntVector.broadcast(I, ALL.get(Memory.INT, Memory.known(start)))
                    .reinterpretAsShorts();
            ShortVector b = a;
            do {
                w = Memory.known(w);
                q = Memory.known(q);
                ShortVector u = ShortVector.fromMemorySegment(S, ALL, w, LE);
                ShortVector v = ShortVector.fromMemorySegment(S, ALL, w + PANEL_BYTES, LE);
                ShortVector m = IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts();
                a = a.add(u.mul(m));
                b = b.add(v.mul(m));
                m = IntVector.broadcast(I, ALL.get(Memory.INT, q + SECOND)).reinterpretAsShorts();
                a = a.add(u.lanewise(LSHR, 8).mul(m));
                b = b.add(v.lanewise(LSHR, 8).mul(m));
                w += BYTES;
                q += 4;
            } while (w < until);
            o = Memory.known(o);
            a.intoMemorySegment(ALL, o, LE);
            b.intoMemorySegment(ALL, o + BYTES, LE);
            o += DISTANCE;
            start += 4;
        } while (w < end);
    }

    /**
     * The same with two rows of activations, whose records follow one another: the products with first multipliers only.
     * {@link #secondOfTwo} adds the others; a body with both would be too large, see {@link LaneRow}.
     */
    static void firstOfTwo(long panels, int words, long x, int wordsPerSum, long sums) {
        long w = panels;
        long end = panels + (long) BYTES * words;
        long step = (long) BYTES * wordsPerSum;
        long q = x;
        long start = x + STARTS;
        long o = sums;
        do {
            long until = w + step;
            start = Memory.known(start);
            ShortVector a = IntVector.broadcast(I, ALL.get(Memory.INT, start)).reinterpretAsShorts();
            ShortVector b = a;
            ShortVector c = IntVector.broadcast(I, ALL.get(Memory.INT, start + RECORD_BYTES))
                    .reinterpretAsShorts();
            ShortVector d = c;
            do {
                w = Memory.known(w);
                q = Memory.known(q);
                ShortVector u = ShortVector.fromMemorySegment(S, ALL, w, LE);
                ShortVector v = ShortVector.fromMemorySegment(S, ALL, w + PANEL_BYTES, LE);
                ShortVector m = IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts();
                a = a.add(u.mul(m));
                b = b.add(v.mul(m));
                m = IntVector.broadcast(I, ALL.get(Memory.INT, q + RECORD_BYTES))
                        .reinterpretAsShorts();
                c = c.add(u.mul(m));
                d = d.add(v.mul(m));
                w += BYTES;
                q += 4;
            } while (w < until);
            o = Memory.known(o);
            a.intoMemorySegment(ALL, o, LE);
            b.intoMemorySegment(ALL, o + BYTES, LE);
            c.intoMemorySegment(ALL, o + TOKEN_SUMS, LE);
            d.intoMemorySegment(ALL, o + TOKEN_SUMS + BYTES, LE);
            o += DISTANCE;
            start += 4;
        } while (w < end);
    }

    /**
     * Adds the products with second multipliers to {@link #firstOfTwo}.
     *
     * @param sums {@link #SPARE_BYTES} before them are spare
     * @param ahead what is wanted next and read meanwhile, so that nobody waits for memory then
     * @param aheadStep bytes of it for each word
     */
    static void secondOfTwo(long panels, int words, long x, int wordsPerSum, long sums, long ahead, int aheadStep) {
        long w = panels;
        long end = panels + (long) BYTES * words;
        long step = (long) BYTES * wordsPerSum;
        long q = x + SECOND;
        long o = sums;
        long next = ahead;
        int bits = 0;
        do {
            long until = w + step;
            o = Memory.known(o);
            ShortVector a = ShortVector.fromMemorySegment(S, ALL, o, LE);
            ShortVector b = ShortVector.fromMemorySegment(S, ALL, o + BYTES, LE);
            ShortVector c = ShortVector.fromMemorySegment(S, ALL, o + TOKEN_SUMS, LE);
            ShortVector d = ShortVector.fromMemorySegment(S, ALL, o + TOKEN_SUMS + BYTES, LE);
            do {
                w = Memory.known(w);
                q = Memory.known(q);
                ShortVector u = ShortVector.fromMemorySegment(S, ALL, w, LE).lanewise(LSHR, 8);
                ShortVector v = ShortVector.fromMemorySegment(S, ALL, w + PANEL_BYTES, LE)
                        .lanewise(LSHR, 8);
                ShortVector m = IntVector.broadcast(I, ALL.get(Memory.INT, q)).reinterpretAsShorts();
                a = a.add(u.mul(m));
                b = b.add(v.mul(m));
                m = IntVector.broadcast(I, ALL.get(Memory.INT, q + RECORD_BYTES))
                        .reinterpretAsShorts();
                c = c.add(u.mul(m));
                d = d.add(v.mul(m));
                bits |= ALL.get(Memory.INT, Memory.known(next));
                next += aheadStep;
                w += BYTES;
                q += 4;
            } while (w < until);
            a.intoMemorySegment(ALL, o, LE);
            b.intoMemorySegment(ALL, o + BYTES, LE);
            c.intoMemorySegment(ALL, o + TOKEN_SUMS, LE);
            d.intoMemorySegment(ALL, o + TOKEN_SUMS + BYTES, LE);
            o += DISTANCE;
        } while (w < end);
        Memory.putInt(sums - SPARE_BYTES, bits);
    }

    /**
     * Adds the sums to results, {@code [row of activations][group of rows]}: a sum for each of 8 groups of columns, which have
     * minima. The others below.
     *
     * @param work the panels, and the sums behind them
     * @param tokens rows of activations, 1 or 2
     * @param x their records
     */
    static void finishQ4k(long work, int tokens, long x, int words, long results) {
        for (int t = 0; t < tokens; t++) {
            long sums = work + SUMS + TOKEN_SUMS * t;
            scaled(work, sums, 8, 1, x + RECORD_BYTES * t, results + 2L * BYTES * t);
            minima(work, x + RECORD_BYTES * t, results + 2L * BYTES * t);
        }
    }

    /** Two sums for each of 8 groups of columns, which have minima. */
    static void finishQ5k(long work, int tokens, long x, int words, long results) {
        for (int t = 0; t < tokens; t++) {
            long sums = work + SUMS + TOKEN_SUMS * t;
            scaled(work, sums, 8, 2, x + RECORD_BYTES * t, results + 2L * BYTES * t);
            minima(work, x + RECORD_BYTES * t, results + 2L * BYTES * t);
        }
    }

    /** Two sums for each of 16 groups of columns. */
    static void finishQ6k(long work, int tokens, long x, int words, long results) {
        for (int t = 0; t < tokens; t++) {
            long sums = work + SUMS + TOKEN_SUMS * t;
            scaled(work, sums, 16, 2, x + RECORD_BYTES * t, results + 2L * BYTES * t);
        }
    }

    /** Groups of columns that share a scale of activations. */
    private static void scaled(long panels, long sums, int groups, int sumsPerGroup, long x, long result) {
        long w = panels + SCALES;
        long end = w + (long) BYTES * groups;
        long s = sums;
        FloatVector a = FloatVector.zero(F);
        FloatVector b = a;
        do {
            w = Memory.known(w);
            s = Memory.known(s);
            IntVector v = IntVector.fromMemorySegment(I, ALL, s, LE);
            IntVector first = v.lanewise(LSHL, 16).lanewise(ASHR, 16).add(v.lanewise(ASHR, 16));
            v = IntVector.fromMemorySegment(I, ALL, s + BYTES, LE);
            IntVector second = v.lanewise(LSHL, 16).lanewise(ASHR, 16).add(v.lanewise(ASHR, 16));
            s += DISTANCE;
            if (sumsPerGroup == 2) {
                v = IntVector.fromMemorySegment(I, ALL, s, LE);
                first = first.add(v.lanewise(LSHL, 16).lanewise(ASHR, 16)).add(v.lanewise(ASHR, 16));
                v = IntVector.fromMemorySegment(I, ALL, s + BYTES, LE);
                second = second.add(v.lanewise(LSHL, 16).lanewise(ASHR, 16)).add(v.lanewise(ASHR, 16));
                s += DISTANCE;
            }
            a = ((FloatVector) first.convertShape(I2F, F, 0)).fma(FloatVector.fromMemorySegment(F, ALL, w, LE), a);
            b = ((FloatVector) second.convertShape(I2F, F, 0))
                    .fma(FloatVector.fromMemorySegment(F, ALL, w + PANEL_BYTES, LE), b);
            w += BYTES;
        } while (w < end);
        long o = Memory.known(result);
        FloatVector scale = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(x + RECORD_SCALES)));
        a.fma(scale, FloatVector.fromMemorySegment(F, ALL, o, LE)).intoMemorySegment(ALL, o, LE);
        b.fma(scale, FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE)).intoMemorySegment(ALL, o + BYTES, LE);
    }

    private static void minima(long panels, long x, long result) {
        long w = panels + MINIMA;
        long end = w + 8L * BYTES;
        long q = x + RECORD_SUMS;
        FloatVector a = FloatVector.zero(F);
        FloatVector b = a;
        do {
            w = Memory.known(w);
            FloatVector y = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(q)));
            a = y.fma(FloatVector.fromMemorySegment(F, ALL, w, LE), a);
            b = y.fma(FloatVector.fromMemorySegment(F, ALL, w + PANEL_BYTES, LE), b);
            w += BYTES;
            q += 4;
        } while (w < end);
        long o = Memory.known(result);
        FloatVector scale = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(x + RECORD_SCALES)));
        a.fma(scale, FloatVector.fromMemorySegment(F, ALL, o, LE)).intoMemorySegment(ALL, o, LE);
        b.fma(scale, FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE)).intoMemorySegment(ALL, o + BYTES, LE);
    }

    /** A sum for each block of 32 columns, which have a scale of activations each. */
    static void finishQ40(long work, int tokens, long x, int words, long results) {
        for (int i = 0; i < 2 * tokens; i++) {
            long w = work + SCALES + PANEL_BYTES * (i & 1);
            long end = w + (long) BYTES * (words / 8);
            long s = work + SUMS + TOKEN_SUMS * (i >> 1) + (long) BYTES * (i & 1);
            long q = x + RECORD_BYTES * (i >> 1) + RECORD_SCALES;
            long o = Memory.known(results + (long) BYTES * i);
            FloatVector a = FloatVector.fromMemorySegment(F, ALL, o, LE);
            do {
                w = Memory.known(w);
                IntVector v = IntVector.fromMemorySegment(I, ALL, Memory.known(s), LE);
                FloatVector scale =
                        FloatVector.fromMemorySegment(F, ALL, w, LE).mul(ALL.get(Memory.FLOAT, Memory.known(q)));
                v = v.lanewise(LSHL, 16).lanewise(ASHR, 16).add(v.lanewise(ASHR, 16));
                a = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scale, a);
                w += BYTES;
                s += DISTANCE;
                q += 4;
            } while (w < end);
            a.intoMemorySegment(ALL, o, LE);
        }
    }
}
