package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BITS;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.B2F;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/**
 * Expands weights to f32, for panels and embeddings; the formats that are not here take the scalar way.
 *
 * <p>Without helpers that take or give vectors: the compiler stops inlining them in some processes, and then every vector
 * they are given is allocated.
 */
final class VectorExpand {

    private VectorExpand() {}

    /** Subnormal halves must not become subnormal floats on the way: processors take them a hundred times slower. */
    static void f16(long in, int elements, long out) {
        int i = 0;
        for (; i + Vectors.LANES <= elements; i += Vectors.LANES) {
            IntVector bits =
                    (IntVector) ShortVector.fromMemorySegment(Vectors.HALF_S, Memory.ALL, in + 2L * i, Vectors.LE)
                            .castShape(Vectors.I, 0);
            IntVector sign = bits.and(0x80000000);
            FloatVector magnitude =
                    bits.and(0x7fff).lanewise(LSHL, 13).add(112 << 23).reinterpretAsFloats();
            // Of a subnormal half this is 2^-15 + half / 2, of any other at least 2^-14 and right.
            FloatVector subnormal =
                    magnitude.fma(FloatVector.broadcast(Vectors.F, 2f), FloatVector.broadcast(Vectors.F, -0x1p-14f));
            // As integers, because the minimum of floats has to look for NaN and negative zero.
            IntVector value = magnitude.reinterpretAsInts().min(subnormal.reinterpretAsInts());
            // Infinity and NaN have the largest exponent here too: all ones where the value is beyond all others.
            IntVector beyond =
                    IntVector.broadcast(Vectors.I, (143 << 23) - 1).sub(value).lanewise(ASHR, 31);
            value = value.add(beyond.and(112 << 23));
            Vectors.store(value.or(sign).reinterpretAsFloats(), out + 4L * i);
        }
        for (; i < elements; i++) {
            Memory.putFloat(out + 4L * i, Memory.getHalf(in + 2L * i));
        }
    }

    static void bf16(long in, int elements, long out) {
        int i = 0;
        for (; i + Vectors.LANES <= elements; i += Vectors.LANES) {
            IntVector bits =
                    (IntVector) ShortVector.fromMemorySegment(Vectors.HALF_S, Memory.ALL, in + 2L * i, Vectors.LE)
                            .castShape(Vectors.I, 0);
            Vectors.store(bits.lanewise(LSHL, 16).reinterpretAsFloats(), out + 4L * i);
        }
        for (; i < elements; i++) {
            Memory.putFloat(out + 4L * i, Float.intBitsToFloat(Memory.getShort(in + 2L * i) << 16));
        }
    }

    static void q80(long in, int elements, long out) {
        for (int b = 0; b < elements / 32; b++) {
            long p = Memory.known(in + 34L * b);
            long o = Memory.known(out + 128L * b);
            FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p));
            for (int i = 0; i < 32; i += LANES) {
                FloatVector v = BITS == 128
                        ? Vectors.toFloats(Vectors.bytesAsInts(p + 2 + i))
                        : (FloatVector) ByteVector.fromMemorySegment(Vectors.QUARTER_B, ALL, p + 2 + i, LE)
                                .convertShape(B2F, F, 0);
                v.mul(d).intoMemorySegment(ALL, o + 4L * i, LE);
            }
        }
    }

    static void q40(long in, int elements, long out) {
        for (int b = 0; b < elements / 32; b++) {
            long p = Memory.known(in + 18L * b);
            long o = Memory.known(out + 128L * b);
            FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p));
            for (int i = 0; i < 16; i += LANES) {
                IntVector z = (IntVector)
                        (BITS == 128
                                ? Vectors.unsignedBytesAsInts(p + 2 + i)
                                : ByteVector.fromMemorySegment(Vectors.QUARTER_B, ALL, p + 2 + i, LE)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0));
                ((FloatVector) z.and(15).sub(8).convertShape(I2F, F, 0)).mul(d).intoMemorySegment(ALL, o + 4L * i, LE);
                ((FloatVector) z.lanewise(LSHR, 4).sub(8).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o + 64 + 4L * i, LE);
            }
        }
    }

    /** A pair of groups, which share their bytes, at a time. */
    static void q4k(long in, int elements, long out) {
        for (int pair = 0; pair < elements / 64; pair++) {
            long p = Memory.known(in + 144L * (pair / 4));
            long z0 = Memory.known(p + 16 + 32L * (pair % 4));
            long o = Memory.known(out + 256L * pair);
            int s0 = Memory.getInt(p + 4);
            int s1 = Memory.getInt(p + 8);
            int s2 = Memory.getInt(p + 12);
            int shift = pair % 2 * 16;
            boolean upper = (pair & 2) != 0;
            int scales = upper ? s2 & 0x0f0f0f0f | (s0 >>> 6 & 0x03030303) << 4 : s0 & 0x3f3f3f3f;
            int minima = upper ? s2 >>> 4 & 0x0f0f0f0f | (s1 >>> 6 & 0x03030303) << 4 : s1 & 0x3f3f3f3f;
            float d = Memory.getHalf(p);
            float dmin = Memory.getHalf(p + 2);
            FloatVector d0 = FloatVector.broadcast(F, d * (scales >>> shift & 63));
            FloatVector m0 = FloatVector.broadcast(F, dmin * (minima >>> shift & 63));
            FloatVector d1 = FloatVector.broadcast(F, d * (scales >>> shift + 8 & 63));
            FloatVector m1 = FloatVector.broadcast(F, dmin * (minima >>> shift + 8 & 63));
            for (int i = 0; i < 32; i += LANES) {
                IntVector z = (IntVector)
                        (BITS == 128
                                ? Vectors.unsignedBytesAsInts(z0 + i)
                                : ByteVector.fromMemorySegment(Vectors.QUARTER_B, ALL, z0 + i, LE)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0));
                ((FloatVector) z.and(15).convertShape(I2F, F, 0))
                        .mul(d0)
                        .sub(m0)
                        .intoMemorySegment(ALL, o + 4L * i, LE);
                ((FloatVector) z.lanewise(LSHR, 4).convertShape(I2F, F, 0))
                        .mul(d1)
                        .sub(m1)
                        .intoMemorySegment(ALL, o + 128 + 4L * i, LE);
            }
        }
    }

    static void q5k(long in, int elements, long out) {
        for (int pair = 0; pair < elements / 64; pair++) {
            long p = Memory.known(in + 176L * (pair / 4));
            long z0 = Memory.known(p + 48 + 32L * (pair % 4));
            long o = Memory.known(out + 256L * pair);
            int bit = 2 * (pair % 4);
            int s0 = Memory.getInt(p + 4);
            int s1 = Memory.getInt(p + 8);
            int s2 = Memory.getInt(p + 12);
            int shift = pair % 2 * 16;
            boolean upper = (pair & 2) != 0;
            int scales = upper ? s2 & 0x0f0f0f0f | (s0 >>> 6 & 0x03030303) << 4 : s0 & 0x3f3f3f3f;
            int minima = upper ? s2 >>> 4 & 0x0f0f0f0f | (s1 >>> 6 & 0x03030303) << 4 : s1 & 0x3f3f3f3f;
            float d = Memory.getHalf(p);
            float dmin = Memory.getHalf(p + 2);
            FloatVector d0 = FloatVector.broadcast(F, d * (scales >>> shift & 63));
            FloatVector m0 = FloatVector.broadcast(F, dmin * (minima >>> shift & 63));
            FloatVector d1 = FloatVector.broadcast(F, d * (scales >>> shift + 8 & 63));
            FloatVector m1 = FloatVector.broadcast(F, dmin * (minima >>> shift + 8 & 63));
            for (int i = 0; i < 32; i += LANES) {
                IntVector z = (IntVector)
                        (BITS == 128
                                ? Vectors.unsignedBytesAsInts(z0 + i)
                                : ByteVector.fromMemorySegment(Vectors.QUARTER_B, ALL, z0 + i, LE)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0));
                IntVector h = (IntVector)
                        (BITS == 128
                                ? Vectors.unsignedBytesAsInts(p + 16 + i)
                                : ByteVector.fromMemorySegment(Vectors.QUARTER_B, ALL, p + 16 + i, LE)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0));
                ((FloatVector) z.and(15)
                                .or(h.lanewise(LSHR, bit).and(1).lanewise(LSHL, 4))
                                .convertShape(I2F, F, 0))
                        .mul(d0)
                        .sub(m0)
                        .intoMemorySegment(ALL, o + 4L * i, LE);
                ((FloatVector) z.lanewise(LSHR, 4)
                                .or(h.lanewise(LSHR, bit + 1).and(1).lanewise(LSHL, 4))
                                .convertShape(I2F, F, 0))
                        .mul(d1)
                        .sub(m1)
                        .intoMemorySegment(ALL, o + 128 + 4L * i, LE);
            }
        }
    }

    /** The first and third, or the second and fourth quarter of a half at a time: they share their bytes. */
    static void q6k(long in, int elements, long out) {
        for (int pair = 0; pair < elements / 64; pair++) {
            long p = Memory.known(in + 210L * (pair / 4));
            int half = pair % 4 / 2;
            int quarter = pair % 2;
            long low = Memory.known(p + 64 * half + 32 * quarter);
            long high = Memory.known(p + 128 + 32 * half);
            long scales = Memory.known(p + 192 + 8 * half + 2 * quarter);
            long o = Memory.known(out + 1024L * (pair / 4) + 512L * half + 128L * quarter);
            float d = Memory.getHalf(p + 208);
            for (int i = 0; i < 32; i += LANES) {
                IntVector z = (IntVector)
                        (BITS == 128
                                ? Vectors.unsignedBytesAsInts(low + i)
                                : ByteVector.fromMemorySegment(Vectors.QUARTER_B, ALL, low + i, LE)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0));
                IntVector h = ((IntVector)
                                (BITS == 128
                                        ? Vectors.unsignedBytesAsInts(high + i)
                                        : ByteVector.fromMemorySegment(Vectors.QUARTER_B, ALL, high + i, LE)
                                                .convertShape(ZERO_EXTEND_B2I, I, 0)))
                        .lanewise(LSHR, 2 * quarter);
                ((FloatVector) z.and(15)
                                .or(h.lanewise(LSHL, 4).and(0x30))
                                .sub(32)
                                .convertShape(I2F, F, 0))
                        .mul(d * Memory.getByte(scales + i / 16))
                        .intoMemorySegment(ALL, o + 4L * i, LE);
                ((FloatVector) z.lanewise(LSHR, 4).or(h.and(0x30)).sub(32).convertShape(I2F, F, 0))
                        .mul(d * Memory.getByte(scales + 4 + i / 16))
                        .intoMemorySegment(ALL, o + 256 + 4L * i, LE);
            }
        }
    }
}
