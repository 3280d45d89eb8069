package dev.prefetch.backend.cpu;

import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2S;

import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/**
 * The few vector idioms that all kernels are made of, 256 bits wide.
 *
 * <p>Traps that cost a factor of 10 to 25, because the compiler then keeps vectors as objects: species that are not static
 * finals, vectors that pass through a call that is not inlined, bodies with more than a few dozen operations.
 *
 * <p>{@code reduceLanes(ADD)} of floats is not used anywhere: its order is unspecified and does differ between interpreted
 * and compiled code, which would make the first results of a process differ from the later ones.
 */
final class Vectors {

    static final VectorSpecies<Byte> B64 = ByteVector.SPECIES_64;
    static final VectorSpecies<Byte> B128 = ByteVector.SPECIES_128;
    static final VectorSpecies<Short> S128 = ShortVector.SPECIES_128;
    static final VectorSpecies<Short> S256 = ShortVector.SPECIES_256;
    static final VectorSpecies<Integer> I256 = IntVector.SPECIES_256;
    static final VectorSpecies<Float> F256 = FloatVector.SPECIES_256;

    static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

    private static final VectorShuffle<Float> SWAP_HALVES = VectorShuffle.fromValues(F256, 4, 5, 6, 7, 0, 1, 2, 3);
    private static final VectorShuffle<Float> SWAP_PAIRS = VectorShuffle.fromValues(F256, 2, 3, 0, 1, 6, 7, 4, 5);
    private static final VectorShuffle<Float> SWAP_NEIGHBOURS = VectorShuffle.fromValues(F256, 1, 0, 3, 2, 5, 4, 7, 6);

    private Vectors() {}

    static FloatVector floats(long address) {
        return FloatVector.fromMemorySegment(F256, Memory.ALL, address, LE);
    }

    static IntVector ints(long address) {
        return IntVector.fromMemorySegment(I256, Memory.ALL, address, LE);
    }

    static ShortVector shorts(long address) {
        return ShortVector.fromMemorySegment(S256, Memory.ALL, address, LE);
    }

    static void store(FloatVector v, long address) {
        v.intoMemorySegment(Memory.ALL, address, LE);
    }

    static void store(IntVector v, long address) {
        v.intoMemorySegment(Memory.ALL, address, LE);
    }

    static FloatVector broadcast(long address) {
        return FloatVector.broadcast(F256, Memory.getFloat(address));
    }

    static FloatVector zero() {
        return FloatVector.zero(F256);
    }

    /** 8 signed bytes as floats. */
    static FloatVector bytesAsFloats(long address) {
        return (FloatVector)
                ByteVector.fromMemorySegment(B64, Memory.ALL, address, LE).castShape(F256, 0);
    }

    /** 8 unsigned bytes as ints. */
    static IntVector unsignedBytesAsInts(long address) {
        return (IntVector)
                ByteVector.fromMemorySegment(B64, Memory.ALL, address, LE).convertShape(ZERO_EXTEND_B2I, I256, 0);
    }

    /** 16 signed bytes as shorts. */
    static ShortVector bytesAsShorts(long address) {
        return (ShortVector)
                ByteVector.fromMemorySegment(B128, Memory.ALL, address, LE).castShape(S256, 0);
    }

    /** 16 unsigned bytes as shorts. */
    static ShortVector unsignedBytesAsShorts(long address) {
        return (ShortVector)
                ByteVector.fromMemorySegment(B128, Memory.ALL, address, LE).convertShape(ZERO_EXTEND_B2S, S256, 0);
    }

    static FloatVector toFloats(IntVector v) {
        return (FloatVector) v.convertShape(I2F, F256, 0);
    }

    /** 8 IEEE halves times 2^-112, exact also for subnormals; infinities and NaN become large finite values. */
    static FloatVector scaledHalves(long address) {
        IntVector bits = (IntVector)
                ShortVector.fromMemorySegment(S128, Memory.ALL, address, LE).castShape(I256, 0);
        return bits.lanewise(LSHL, 13).and(0x8fffe000).reinterpretAsFloats();
    }

    /** In every int lane the sum of its two 16-bit halves, when that sum fits 16 bits (the halves may overflow). */
    static IntVector narrowPairSums(ShortVector v) {
        return v.reinterpretAsInts().mul(0x10001).lanewise(ASHR, 16);
    }

    /** In every int lane the sum of its two 16-bit halves. */
    static IntVector widePairSums(ShortVector v) {
        IntVector pairs = v.reinterpretAsInts();
        return pairs.lanewise(LSHL, 16).lanewise(ASHR, 16).add(pairs.lanewise(ASHR, 16));
    }

    /** Sum of the lanes in a fixed order. */
    static float sum(FloatVector v) {
        FloatVector four = v.add(v.rearrange(SWAP_HALVES));
        FloatVector two = four.add(four.rearrange(SWAP_PAIRS));
        return two.add(two.rearrange(SWAP_NEIGHBOURS)).lane(0);
    }

    /** {@code y[r]} = sum of the 8 floats of row {@code r} of {@code lanes}. */
    static void sumRows(long lanes, int rows, long y) {
        for (int r = 0; r < rows; r++) {
            Memory.putFloat(y + 4L * r, sumOfEight(lanes + 32L * r));
        }
    }

    private static float sumOfEight(long address) {
        long p = Memory.known(address);
        float a = Memory.getFloat(p) + Memory.getFloat(p + 16);
        float b = Memory.getFloat(p + 4) + Memory.getFloat(p + 20);
        float c = Memory.getFloat(p + 8) + Memory.getFloat(p + 24);
        float d = Memory.getFloat(p + 12) + Memory.getFloat(p + 28);
        return (a + c) + (b + d);
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
        FloatVector r = n.fma(FloatVector.broadcast(F256, -0.693359375f), x);
        r = n.fma(FloatVector.broadcast(F256, 2.12194440e-4f), r);
        FloatVector p =
                r.fma(FloatVector.broadcast(F256, 1.9875691500e-4f), FloatVector.broadcast(F256, 1.3981999507e-3f));
        p = p.fma(r, FloatVector.broadcast(F256, 8.3334519073e-3f));
        p = p.fma(r, FloatVector.broadcast(F256, 4.1665795894e-2f));
        p = p.fma(r, FloatVector.broadcast(F256, 1.6666665459e-1f));
        p = p.fma(r, FloatVector.broadcast(F256, 5.0000001201e-1f));
        p = p.fma(r.mul(r), r).add(1f);
        IntVector exponent = shifted.reinterpretAsInts().lanewise(LSHL, 23);
        return p.reinterpretAsInts().add(exponent).reinterpretAsFloats();
    }
}
