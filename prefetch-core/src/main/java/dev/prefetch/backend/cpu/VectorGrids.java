package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BITS;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.F128;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.Arena;
import java.lang.invoke.MethodHandle;
import java.util.Map;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * Expands the formats of {@link ScalarGrids}, which defines them, to the same floats. Points and signs come out of tables of
 * floats (4 to 64 KiB, of which a model's blocks use the front more than the rest), so that an element costs no shifting.
 *
 * <p>Without helpers that take or give vectors, as {@link VectorExpand}.
 */
final class VectorGrids {

    /** Vectors of at most eight floats: one point. */
    private static final VectorSpecies<Float> G =
            VectorSpecies.of(float.class, VectorShape.forBitSize(Math.min(256, BITS)));

    private static final int STEP = G.length();

    /** What the points of {@code IQ1_S} and {@code IQ1_M} are shifted by. */
    private static final float DELTA = 0.125f;

    /** The tables; never freed, because the kernels live as long as the process. */
    private static final Arena TABLES = Arena.global();

    private static final long IQ2_XXS = points(Grids.IQ2_XXS);
    private static final long IQ2_XS = points(Grids.IQ2_XS);
    private static final long IQ2_S = points(Grids.IQ2_S);
    private static final long IQ1 = points(Grids.IQ1);
    private static final long IQ3_XXS = points(Grids.IQ3_XXS);
    private static final long IQ3_S = points(Grids.IQ3_S);

    /** By eight bits: 1 or -1 for each. */
    private static final long SIGNS = signs(256);

    /** By seven bits: 1 or -1 for each, and for an eighth that makes the number of negative ones even. */
    private static final long EVEN_SIGNS = signs(128);

    private VectorGrids() {}

    /** The kernels of this class. */
    static Map<GgmlType, MethodHandle> expanders() {
        return Map.of(
                GgmlType.IQ2_XXS, Isolated.expand(VectorGrids.class, "iq2xxs"),
                GgmlType.IQ2_XS, Isolated.expand(VectorGrids.class, "iq2xs"),
                GgmlType.IQ2_S, Isolated.expand(VectorGrids.class, "iq2s"),
                GgmlType.IQ3_XXS, Isolated.expand(VectorGrids.class, "iq3xxs"),
                GgmlType.IQ3_S, Isolated.expand(VectorGrids.class, "iq3s"),
                GgmlType.IQ1_S, Isolated.expand(VectorGrids.class, "iq1s"),
                GgmlType.IQ1_M, Isolated.expand(VectorGrids.class, "iq1m"),
                GgmlType.TQ2_0, Isolated.expand(VectorGrids.class, "tq20"),
                GgmlType.TQ1_0, Isolated.expand(VectorGrids.class, "tq10"));
    }

    private static long points(byte[] grid) {
        long table = TABLES.allocate(4L * grid.length, 64).address();
        for (int i = 0; i < grid.length; i++) {
            Memory.putFloat(table + 4L * i, grid[i]);
        }
        return table;
    }

    private static long signs(int patterns) {
        long table = TABLES.allocate(32L * patterns, 64).address();
        for (int pattern = 0; pattern < patterns; pattern++) {
            int bits = patterns == 256 ? pattern : pattern | (Integer.bitCount(pattern) & 1) << 7;
            for (int j = 0; j < 8; j++) {
                Memory.putFloat(table + 32L * pattern + 4L * j, 1 - 2 * (bits >> j & 1));
            }
        }
        return table;
    }

    static void iq2xxs(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = Memory.known(in + 66L * (g >> 3));
            long group = Memory.known(block + 2 + 8L * (g & 7));
            long o = Memory.known(out + 128L * g);
            int rest = Memory.getInt(group + 4);
            FloatVector d = FloatVector.broadcast(G, Memory.getHalf(block) * (0.5f + (rest >>> 28)) * 0.25f);
            for (int l = 0; l < 4; l++) {
                long point = Memory.known(IQ2_XXS + 32L * Memory.getUnsignedByte(group + l));
                long signs = Memory.known(EVEN_SIGNS + 32L * (rest >>> 7 * l & 127));
                for (int j = 0; j < 8; j += STEP) {
                    FloatVector.fromMemorySegment(G, ALL, point + 4L * j, LE)
                            .mul(FloatVector.fromMemorySegment(G, ALL, signs + 4L * j, LE))
                            .mul(d)
                            .intoMemorySegment(ALL, o + 32L * l + 4L * j, LE);
                }
            }
        }
    }

    static void iq2xs(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = Memory.known(in + 74L * (g >> 3));
            long group = Memory.known(block + 2 + 8L * (g & 7));
            long o = Memory.known(out + 128L * g);
            int scales = Memory.getUnsignedByte(block + 66 + (g & 7));
            float all = Memory.getHalf(block);
            for (int l = 0; l < 4; l++) {
                int q = Memory.getShort(group + 2L * l) & 0xffff;
                FloatVector d = FloatVector.broadcast(G, all * (0.5f + (scales >> (l >> 1 << 2) & 15)) * 0.25f);
                long point = Memory.known(IQ2_XS + 32L * (q & 511));
                long signs = Memory.known(EVEN_SIGNS + 32L * (q >> 9));
                for (int j = 0; j < 8; j += STEP) {
                    FloatVector.fromMemorySegment(G, ALL, point + 4L * j, LE)
                            .mul(FloatVector.fromMemorySegment(G, ALL, signs + 4L * j, LE))
                            .mul(d)
                            .intoMemorySegment(ALL, o + 32L * l + 4L * j, LE);
                }
            }
        }
    }

    static void iq2s(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = Memory.known(in + 82L * (g >> 3));
            long group = Memory.known(block + 2 + 4L * (g & 7));
            long o = Memory.known(out + 128L * g);
            int scales = Memory.getUnsignedByte(block + 74 + (g & 7));
            int high = Memory.getUnsignedByte(block + 66 + (g & 7));
            float all = Memory.getHalf(block);
            for (int l = 0; l < 4; l++) {
                int index = Memory.getUnsignedByte(group + l) | (high >> 2 * l & 3) << 8;
                FloatVector d = FloatVector.broadcast(G, all * (0.5f + (scales >> (l >> 1 << 2) & 15)) * 0.25f);
                long point = Memory.known(IQ2_S + 32L * index);
                long signs = Memory.known(SIGNS + 32L * Memory.getUnsignedByte(group + 32 + l));
                for (int j = 0; j < 8; j += STEP) {
                    FloatVector.fromMemorySegment(G, ALL, point + 4L * j, LE)
                            .mul(FloatVector.fromMemorySegment(G, ALL, signs + 4L * j, LE))
                            .mul(d)
                            .intoMemorySegment(ALL, o + 32L * l + 4L * j, LE);
                }
            }
        }
    }

    static void iq3xxs(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = Memory.known(in + 98L * (g >> 3));
            long group = Memory.known(block + 2 + 8L * (g & 7));
            long o = Memory.known(out + 128L * g);
            int rest = Memory.getInt(block + 66 + 4L * (g & 7));
            FloatVector d = FloatVector.broadcast(F128, Memory.getHalf(block) * (0.5f + (rest >>> 28)) * 0.5f);
            for (int l = 0; l < 8; l++) {
                long point = Memory.known(IQ3_XXS + 16L * Memory.getUnsignedByte(group + l));
                long signs = Memory.known(EVEN_SIGNS + 32L * (rest >>> 7 * (l >> 1) & 127) + 16L * (l & 1));
                FloatVector.fromMemorySegment(F128, ALL, point, LE)
                        .mul(FloatVector.fromMemorySegment(F128, ALL, signs, LE))
                        .mul(d)
                        .intoMemorySegment(ALL, o + 16L * l, LE);
            }
        }
    }

    static void iq3s(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = Memory.known(in + 110L * (g >> 3));
            long group = Memory.known(block + 2 + 8L * (g & 7));
            long signBytes = Memory.known(block + 74 + 4L * (g & 7));
            long o = Memory.known(out + 128L * g);
            int scale = Memory.getUnsignedByte(block + 106 + ((g & 7) >> 1)) >> ((g & 1) << 2) & 15;
            int high = Memory.getUnsignedByte(block + 66 + (g & 7));
            FloatVector d = FloatVector.broadcast(F128, Memory.getHalf(block) * (1 + 2 * scale));
            for (int l = 0; l < 8; l++) {
                int index = Memory.getUnsignedByte(group + l) | (high >> l & 1) << 8;
                long point = Memory.known(IQ3_S + 16L * index);
                long signs = Memory.known(SIGNS + 32L * Memory.getUnsignedByte(signBytes + (l >> 1)) + 16L * (l & 1));
                FloatVector.fromMemorySegment(F128, ALL, point, LE)
                        .mul(FloatVector.fromMemorySegment(F128, ALL, signs, LE))
                        .mul(d)
                        .intoMemorySegment(ALL, o + 16L * l, LE);
            }
        }
    }

    static void iq1s(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = Memory.known(in + 50L * (g >> 3));
            long group = Memory.known(block + 2 + 4L * (g & 7));
            long o = Memory.known(out + 128L * g);
            int high = Memory.getShort(block + 34 + 2L * (g & 7)) & 0xffff;
            FloatVector d = FloatVector.broadcast(G, Memory.getHalf(block) * (2 * (high >> 12 & 7) + 1));
            FloatVector delta = FloatVector.broadcast(G, (high & 0x8000) == 0 ? DELTA : -DELTA);
            for (int l = 0; l < 4; l++) {
                int index = Memory.getUnsignedByte(group + l) | (high >> 3 * l & 7) << 8;
                long point = Memory.known(IQ1 + 32L * index);
                for (int j = 0; j < 8; j += STEP) {
                    FloatVector.fromMemorySegment(G, ALL, point + 4L * j, LE)
                            .add(delta)
                            .mul(d)
                            .intoMemorySegment(ALL, o + 32L * l + 4L * j, LE);
                }
            }
        }
    }

    static void iq1m(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = Memory.known(in + 56L * (g >> 3));
            long group = Memory.known(block + 4L * (g & 7));
            long o = Memory.known(out + 128L * g);
            int scales = Memory.getShort(block + 48 + 2L * ((g & 7) >> 1)) & 0xffff;
            float all = ScalarGrids.iq1mScale(block + 48);
            for (int l = 0; l < 4; l++) {
                int high = Memory.getUnsignedByte(block + 32 + 2L * (g & 7) + (l >> 1)) >> ((l & 1) << 2);
                int index = Memory.getUnsignedByte(group + l) | (high & 7) << 8;
                int scale = scales >> 6 * (g & 1) + 3 * (l >> 1) & 7;
                FloatVector d = FloatVector.broadcast(G, all * (2 * scale + 1));
                FloatVector delta = FloatVector.broadcast(G, (high & 8) == 0 ? DELTA : -DELTA);
                long point = Memory.known(IQ1 + 32L * index);
                for (int j = 0; j < 8; j += STEP) {
                    FloatVector.fromMemorySegment(G, ALL, point + 4L * j, LE)
                            .add(delta)
                            .mul(d)
                            .intoMemorySegment(ALL, o + 32L * l + 4L * j, LE);
                }
            }
        }
    }

    static void tq20(long in, int elements, long out) {
        for (int half = 0; half < elements / 128; half++) {
            long block = Memory.known(in + 66L * (half >> 1));
            long q = Memory.known(block + 32L * (half & 1));
            long o = Memory.known(out + 512L * half);
            FloatVector d = FloatVector.broadcast(F, Memory.getHalf(block + 64));
            for (int i = 0; i < 32; i += LANES) {
                IntVector z = (IntVector)
                        (BITS == 128
                                ? Vectors.unsignedBytesAsInts(q + i)
                                : ByteVector.fromMemorySegment(Vectors.QUARTER_B, ALL, q + i, LE)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0));
                for (int s = 0; s < 4; s++) {
                    ((FloatVector) z.lanewise(LSHR, 2 * s).and(3).sub(1).convertShape(I2F, F, 0))
                            .mul(d)
                            .intoMemorySegment(ALL, o + 128L * s + 4L * i, LE);
                }
            }
        }
    }

    static void tq10(long in, int elements, long out) {
        for (int b = 0; b < elements / 256; b++) {
            long block = Memory.known(in + 54L * b);
            long o = Memory.known(out + 1024L * b);
            FloatVector d = FloatVector.broadcast(F, Memory.getHalf(block + 52));
            for (int i = 0; i < 48; i += LANES) {
                IntVector z = (IntVector)
                        (BITS == 128
                                ? Vectors.unsignedBytesAsInts(block + i)
                                : ByteVector.fromMemorySegment(Vectors.QUARTER_B, ALL, block + i, LE)
                                        .convertShape(ZERO_EXTEND_B2I, I, 0));
                // 32 bytes with a digit of 32 consecutive elements each, then 16 with one of 16.
                long to = i < 32 ? o + 4L * i : o + 640 + 4L * (i - 32);
                long step = i < 32 ? 128 : 64;
                for (int n = 0; n < 5; n++) {
                    ((FloatVector) z.mul(3).lanewise(LSHR, 8).sub(1).convertShape(I2F, F, 0))
                            .mul(d)
                            .intoMemorySegment(ALL, to + step * n, LE);
                    z = z.mul(3).and(255);
                }
            }
            ScalarGrids.ternaryDigits(block + 48, 4, 4, Memory.getHalf(block + 52), o + 4 * 240);
        }
    }
}
