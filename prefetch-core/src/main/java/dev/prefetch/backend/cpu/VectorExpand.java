package dev.prefetch.backend.cpu;

import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/** Expands weights to f32, for panels and embeddings; the formats that are not here take the scalar way. */
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
            long p = in + 34L * b;
            FloatVector d = Vectors.broadcastHalf(p);
            for (int i = 0; i < 32; i += Vectors.LANES) {
                FloatVector v = Vectors.toFloats(Vectors.bytesAsInts(p + 2 + i));
                Vectors.store(v.mul(d), out + 128L * b + 4L * i);
            }
        }
    }

    static void q40(long in, int elements, long out) {
        for (int b = 0; b < elements / 32; b++) {
            long p = in + 18L * b;
            for (int i = 0; i < 16; i += Vectors.LANES) {
                nibbles(p + 2 + i, Memory.getHalf(p), out + 128L * b + 4L * i);
            }
        }
    }

    private static void nibbles(long in, float d, long out) {
        IntVector z = Vectors.unsignedBytesAsInts(in);
        Vectors.store(Vectors.toFloats(z.and(15).sub(8)).mul(d), out);
        Vectors.store(Vectors.toFloats(z.lanewise(LSHR, 4).sub(8)).mul(d), out + 64);
    }

    static void q4k(long in, int elements, long out) {
        for (int b = 0; b < elements / 256; b++) {
            long p = in + 144L * b;
            float d = Memory.getHalf(p);
            float dmin = Memory.getHalf(p + 2);
            for (int c = 0; c < 4; c++) {
                int first = 2 * c;
                float d0 = d * ScalarSuperBlocks.sixBitScale(p + 4, first);
                float m0 = dmin * ScalarSuperBlocks.sixBitMinimum(p + 4, first);
                float d1 = d * ScalarSuperBlocks.sixBitScale(p + 4, first + 1);
                float m1 = dmin * ScalarSuperBlocks.sixBitMinimum(p + 4, first + 1);
                q4kPair(p + 16 + 32L * c, d0, m0, d1, m1, out + 1024L * b + 256L * c);
            }
        }
    }

    private static void q4kPair(long in, float d0, float m0, float d1, float m1, long out) {
        for (int i = 0; i < 32; i += Vectors.LANES) {
            IntVector z = Vectors.unsignedBytesAsInts(in + i);
            Vectors.store(Vectors.toFloats(z.and(15)).mul(d0).sub(m0), out + 4L * i);
            Vectors.store(Vectors.toFloats(z.lanewise(LSHR, 4)).mul(d1).sub(m1), out + 128 + 4L * i);
        }
    }

    static void q6k(long in, int elements, long out) {
        for (int b = 0; b < elements / 256; b++) {
            long p = in + 210L * b;
            float d = Memory.getHalf(p + 208);
            for (int h = 0; h < 2; h++) {
                for (int i = 0; i < 32; i += Vectors.LANES) {
                    q6kQuarters(
                            p + 64 * h + i,
                            p + 128 + 32 * h + i,
                            p + 192 + 8 * h + i / 16,
                            d,
                            out + 1024L * b + 512L * h + 4L * i);
                }
            }
        }
    }

    /** A vector of elements of each quarter of a half. */
    private static void q6kQuarters(long low, long high, long scales, float d, long out) {
        IntVector z0 = Vectors.unsignedBytesAsInts(low);
        IntVector z1 = Vectors.unsignedBytesAsInts(low + 32);
        IntVector h = Vectors.unsignedBytesAsInts(high);
        q6kStore(z0.and(15).or(h.lanewise(LSHL, 4).and(0x30)), d * Memory.getByte(scales), out);
        q6kStore(z1.and(15).or(h.lanewise(LSHL, 2).and(0x30)), d * Memory.getByte(scales + 2), out + 128);
        q6kStore(z0.lanewise(LSHR, 4).or(h.and(0x30)), d * Memory.getByte(scales + 4), out + 256);
        q6kStore(z1.lanewise(LSHR, 4).or(h.lanewise(LSHR, 2).and(0x30)), d * Memory.getByte(scales + 6), out + 384);
    }

    private static void q6kStore(IntVector q, float scale, long out) {
        Vectors.store(Vectors.toFloats(q.sub(32)).mul(scale), out);
    }
}
