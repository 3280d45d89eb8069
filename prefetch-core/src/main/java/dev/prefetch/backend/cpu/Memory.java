package dev.prefetch.backend.cpu;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/**
 * Raw access to memory by absolute address, little-endian and without alignment.
 *
 * <p>Kernels address everything through one segment over the whole address space: its bounds are a constant and it has no
 * lifetime, so the compiler drops the checks that cost up to half the speed of a kernel. The price is that nothing here
 * protects from a wrong address: {@link CpuOps} checks every size against the buffers before a kernel runs.
 */
final class Memory {

    /** The whole address space. */
    static final MemorySegment ALL = wholeAddressSpace();

    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /** No system gives a process addresses beyond these bits. */
    private static final long ADDRESS_BITS = (1L << 56) - 1;

    /**
     * All IEEE halves as floats: a conversion by instruction takes two operations of the ports that vectors need, a look-up
     * none, and the scales of a model are few different numbers.
     */
    private static final long HALVES = halfTable();

    private Memory() {}

    private static long halfTable() {
        MemorySegment table = Arena.global().allocate(4L << 16, 64);
        for (int bits = 0; bits < 1 << 16; bits++) {
            table.setAtIndex(ValueLayout.JAVA_FLOAT, bits, Float.float16ToFloat((short) bits));
        }
        return table.address();
    }

    /**
     * The same address, but now the compiler knows that it is small and positive: bounds checks of all accesses at constant
     * distances from it then vanish, which speeds kernels up by a half. Worth it once per block, outside of unrolled code.
     */
    static long known(long address) {
        return address & ADDRESS_BITS;
    }

    @SuppressWarnings("restricted")
    private static MemorySegment wholeAddressSpace() {
        return MemorySegment.NULL.reinterpret(Long.MAX_VALUE);
    }

    static byte getByte(long address) {
        return ALL.get(ValueLayout.JAVA_BYTE, address);
    }

    static int getUnsignedByte(long address) {
        return ALL.get(ValueLayout.JAVA_BYTE, address) & 0xff;
    }

    static void putByte(long address, byte value) {
        ALL.set(ValueLayout.JAVA_BYTE, address, value);
    }

    static short getShort(long address) {
        return ALL.get(SHORT, address);
    }

    static void putShort(long address, short value) {
        ALL.set(SHORT, address, value);
    }

    static int getInt(long address) {
        return ALL.get(INT, address);
    }

    static void putInt(long address, int value) {
        ALL.set(INT, address, value);
    }

    static long getLong(long address) {
        return ALL.get(LONG, address);
    }

    static void putLong(long address, long value) {
        ALL.set(LONG, address, value);
    }

    static float getFloat(long address) {
        return ALL.get(FLOAT, address);
    }

    static void putFloat(long address, float value) {
        ALL.set(FLOAT, address, value);
    }

    /** An IEEE half as float. */
    static float getHalf(long address) {
        return ALL.get(FLOAT, HALVES + 4L * (ALL.get(SHORT, address) & 0xffff));
    }

    static void copy(long source, long target, long bytes) {
        MemorySegment.copy(ALL, source, ALL, target, bytes);
    }

    static void clear(long address, long bytes) {
        // Without a slice, which would be an object for every head of every token. The compiler does not unroll such a
        // loop by itself.
        long p = address;
        long end = address + bytes;
        for (; p + 4 * Long.BYTES <= end; p += 4 * Long.BYTES) {
            p = known(p);
            ALL.set(LONG, p, 0);
            ALL.set(LONG, p + Long.BYTES, 0);
            ALL.set(LONG, p + 2 * Long.BYTES, 0);
            ALL.set(LONG, p + 3 * Long.BYTES, 0);
        }
        for (; p < end; p++) {
            ALL.set(ValueLayout.JAVA_BYTE, p, (byte) 0);
        }
    }
}
