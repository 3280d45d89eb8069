package dev.prefetch.backend.cpu;

import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/**
 * The width of the vectors, which is fixed when this class is loaded, and the few idioms that all kernels are made of.
 *
 * <p>Traps that cost a factor of 10 to 25, because the compiler then keeps vectors as objects: species that are not static
 * finals, vectors that pass through a call that is not inlined, bodies with more than a few dozen operations outside of
 * what the JDK marks for inlining.
 *
 * <p>{@code reduceLanes(ADD)} of floats is not used anywhere: its order is unspecified and does differ between interpreted
 * and compiled code, which would make the first results of a process differ from the later ones.
 */
final class Vectors {

    /** Bits of a vector: 128, 256 or 512. */
    static final int BITS = KernelSelection.vectorBits(FloatVector.SPECIES_PREFERRED.vectorBitSize());

    /** Bytes of a vector. */
    static final int BYTES = BITS / 8;

    /** Floats or ints of a vector. */
    static final int LANES = BITS / 32;

    static final VectorSpecies<Byte> B = VectorSpecies.of(byte.class, VectorShape.forBitSize(BITS));
    static final VectorSpecies<Short> S = VectorSpecies.of(short.class, VectorShape.forBitSize(BITS));
    static final VectorSpecies<Integer> I = VectorSpecies.of(int.class, VectorShape.forBitSize(BITS));
    static final VectorSpecies<Float> F = VectorSpecies.of(float.class, VectorShape.forBitSize(BITS));

    /** As many shorts as a vector has ints. */
    static final VectorSpecies<Short> HALF_S = VectorSpecies.of(short.class, VectorShape.forBitSize(BITS / 2));

    /** As many bytes as a vector has ints; with 128 bits there is no such vector, see {@link #bytes}. */
    static final VectorSpecies<Byte> QUARTER_B =
            VectorSpecies.of(byte.class, VectorShape.forBitSize(Math.max(64, BITS / 4)));

    static final VectorSpecies<Float> F128 = FloatVector.SPECIES_128;

    static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

    private static final VectorShuffle<Float> SWAP_PAIRS = VectorShuffle.fromValues(F128, 2, 3, 0, 1);
    private static final VectorShuffle<Float> SWAP_SINGLES = VectorShuffle.fromValues(F128, 1, 0, 3, 2);
    private static final VectorShuffle<Float> SWAP_NEIGHBOURS = VectorShuffle.fromOp(F, i -> i ^ 1);
    private static final VectorShuffle<Float> SWAP_TWOS = VectorShuffle.fromOp(F, i -> i ^ 2);
    private static final VectorShuffle<Float> SWAP_FOURS = VectorShuffle.fromOp(F, i -> (i ^ 4) % LANES);
    private static final VectorShuffle<Float> SWAP_EIGHTS = VectorShuffle.fromOp(F, i -> (i ^ 8) % LANES);

    /** 0 in the upper, 24 in the lowest of four lanes. */
    private static final IntVector BYTE_SHIFTS = (IntVector) I.fromArray(shifts(), 0);

    private Vectors() {}

    private static int[] shifts() {
        int[] shifts = new int[LANES];
        for (int i = 0; i < LANES; i++) {
            shifts[i] = 24 - i % 4 * 8;
        }
        return shifts;
    }

    static FloatVector floats(long address) {
        return FloatVector.fromMemorySegment(F, Memory.ALL, address, LE);
    }

    static IntVector ints(long address) {
        return IntVector.fromMemorySegment(I, Memory.ALL, address, LE);
    }

    /** The lanes under the mask; memory behind them is not touched. */
    static FloatVector floats(long address, VectorMask<Float> mask) {
        return FloatVector.fromMemorySegment(F, Memory.ALL, address, LE, mask);
    }

    /** Stores the lanes under the mask; memory behind them is not touched. */
    static void store(FloatVector v, long address, VectorMask<Float> mask) {
        v.intoMemorySegment(Memory.ALL, address, LE, mask);
    }

    static void store(FloatVector v, long address) {
        v.intoMemorySegment(Memory.ALL, address, LE);
    }

    static FloatVector broadcast(long address) {
        return FloatVector.broadcast(F, Memory.getFloat(address));
    }

    /** A half of memory in every lane, as float. */
    static FloatVector broadcastHalf(long address) {
        return FloatVector.broadcast(F, Memory.getHalf(address));
    }

    static FloatVector zero() {
        return FloatVector.zero(F);
    }

    /** {@link #LANES} signed bytes as ints. */
    static IntVector bytesAsInts(long address) {
        if (BITS == 128) {
            return IntVector.broadcast(I, Memory.getInt(address))
                    .lanewise(LSHL, BYTE_SHIFTS)
                    .lanewise(ASHR, 24);
        }
        return (IntVector)
                ByteVector.fromMemorySegment(QUARTER_B, Memory.ALL, address, LE).castShape(I, 0);
    }

    /** {@link #LANES} unsigned bytes as ints. */
    static IntVector unsignedBytesAsInts(long address) {
        if (BITS == 128) {
            return IntVector.broadcast(I, Memory.getInt(address))
                    .lanewise(LSHL, BYTE_SHIFTS)
                    .lanewise(LSHR, 24);
        }
        return (IntVector)
                ByteVector.fromMemorySegment(QUARTER_B, Memory.ALL, address, LE).convertShape(ZERO_EXTEND_B2I, I, 0);
    }

    static FloatVector toFloats(IntVector v) {
        return (FloatVector) v.convertShape(I2F, F, 0);
    }

    /** Sum of the lanes in a fixed order. */
    static float sum(FloatVector lanes) {
        FloatVector v = lanes;
        if (LANES >= 16) {
            v = v.add(v.rearrange(SWAP_EIGHTS));
        }
        if (LANES >= 8) {
            v = v.add(v.rearrange(SWAP_FOURS));
        }
        v = v.add(v.rearrange(SWAP_TWOS));
        return v.add(v.rearrange(SWAP_NEIGHBOURS)).lane(0);
    }

    /** Sum of the {@link #LANES} floats at an address, in a fixed order. */
    static float sumLanes(long address) {
        long p = Memory.known(address);
        FloatVector v = FloatVector.fromMemorySegment(F128, Memory.ALL, p, LE);
        if (BITS >= 256) {
            v = v.add(FloatVector.fromMemorySegment(F128, Memory.ALL, p + 16, LE));
        }
        if (BITS == 512) {
            FloatVector w = FloatVector.fromMemorySegment(F128, Memory.ALL, p + 32, LE);
            v = v.add(w.add(FloatVector.fromMemorySegment(F128, Memory.ALL, p + 48, LE)));
        }
        v = v.add(v.rearrange(SWAP_PAIRS));
        return v.add(v.rearrange(SWAP_SINGLES)).lane(0);
    }

    /** Every even lane exchanged with the lane after it. */
    static FloatVector swapNeighbours(FloatVector v) {
        return v.rearrange(SWAP_NEIGHBOURS);
    }

    /**
     * The exponential function with a relative error of about 1e-7, clamped to the range of normal floats (argument
     * reduction by two-part ln 2 and the polynomial of Cephes {@code expf}).
     */
    static FloatVector exp(FloatVector v) {
        FloatVector x = v.max(-87.33f).min(88.37f);
        // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
        FloatVector shifted = x.mul(1.44269504f).add(12582912f);
        FloatVector n = shifted.sub(12582912f);
        FloatVector r = n.fma(FloatVector.broadcast(F, -0.693359375f), x);
        r = n.fma(FloatVector.broadcast(F, 2.12194440e-4f), r);
        FloatVector p = r.fma(FloatVector.broadcast(F, 1.9875691500e-4f), FloatVector.broadcast(F, 1.3981999507e-3f));
        p = p.fma(r, FloatVector.broadcast(F, 8.3334519073e-3f));
        p = p.fma(r, FloatVector.broadcast(F, 4.1665795894e-2f));
        p = p.fma(r, FloatVector.broadcast(F, 1.6666665459e-1f));
        p = p.fma(r, FloatVector.broadcast(F, 5.0000001201e-1f));
        p = p.fma(r.mul(r), r).add(1f);
        IntVector exponent = shifted.reinterpretAsInts().lanewise(LSHL, 23);
        return p.reinterpretAsInts().add(exponent).reinterpretAsFloats();
    }
}
