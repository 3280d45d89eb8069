package dev.prefetch.cuda;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemorySegment;
import jcuda.driver.CUevent;
import jcuda.driver.CUevent_flags;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;
import org.jspecify.annotations.Nullable;

/**
 * Brings small arrays (tokens, positions, rows) to the device in stream order, without waiting.
 *
 * <p>How it works: the arrays are written one behind the other to a ring of page-locked memory and copied to the same place
 * of a ring on the device. There, nothing is overwritten too early, because the copy is on the stream of the kernels that
 * read. On the host, the ring is cut into segments; an event is recorded when a segment is full, and waited for before the
 * segment is written again, which is a ring later and normally long reached.
 */
final class ArgumentRing {

    private static final int SEGMENTS = 4;
    private static final long SMALLEST_SEGMENT_BYTES = 128 << 10;
    private static final int ALIGNMENT = 16;

    private final CudaDevice device;
    private final CudaContext context;
    private final CUstream stream;
    private final CUevent[] copied = new CUevent[SEGMENTS];
    private @Nullable CudaHostMemory host;
    private @Nullable CudaBuffer target;
    private long segmentBytes;
    private int segment;
    private long used;

    ArgumentRing(CudaDevice device, CUstream stream) {
        this.device = device;
        this.context = device.context();
        this.stream = stream;
        for (int i = 0; i < SEGMENTS; i++) {
            copied[i] = new CUevent();
            context.check(JCudaDriver.cuEventCreate(copied[i], CUevent_flags.CU_EVENT_DISABLE_TIMING), "cuEventCreate");
        }
    }

    /** Device address of the first {@code count} values; valid for the operations issued next. */
    long place(int[] values, int count) {
        MemorySegment at = reserve(4L * count);
        MemorySegment.copy(values, 0, at, JAVA_INT, 0, count);
        return send(at);
    }

    /** Device address of the first {@code count} values of the one and then of the other. */
    long place(int[] values, float[] others, int count) {
        MemorySegment at = reserve(8L * count);
        MemorySegment.copy(values, 0, at, JAVA_INT, 0, count);
        MemorySegment.copy(others, 0, at, JAVA_FLOAT, 4L * count, count);
        return send(at);
    }

    /** Device address of values. */
    long place(float[] values) {
        MemorySegment at = reserve(4L * values.length);
        MemorySegment.copy(values, 0, at, JAVA_FLOAT, 0, values.length);
        return send(at);
    }

    /** Copies values to a place of their own. */
    void copy(long[] values, int count, long address) {
        MemorySegment at = reserve(8L * count);
        MemorySegment.copy(values, 0, at, JAVA_LONG, 0, count);
        send(at, address);
    }

    private MemorySegment reserve(long bytes) {
        CudaHostMemory memory = host;
        if (memory == null || bytes > segmentBytes) {
            memory = grow(bytes);
        }
        if (used + bytes > segmentBytes) {
            context.makeCurrent();
            context.check(JCudaDriver.cuEventRecord(copied[segment], stream), "cuEventRecord");
            segment = (segment + 1) % SEGMENTS;
            used = 0;
            context.check(JCudaDriver.cuEventSynchronize(copied[segment]), "cuEventSynchronize");
        }
        MemorySegment at = memory.memory().asSlice(segment * segmentBytes + used, bytes);
        used += Math.ceilDiv(bytes, ALIGNMENT) * ALIGNMENT;
        return at;
    }

    private static long segmentBytes(long bytes) {
        return Math.max(SMALLEST_SEGMENT_BYTES, Long.highestOneBit(Math.max(1, bytes - 1)) * 2);
    }

    /** Device memory for arrays of at most two words for each of {@code rows} rows. */
    static long deviceBytes(int rows) {
        return SEGMENTS * segmentBytes(8L * rows);
    }

    private CudaHostMemory grow(long bytes) {
        release();
        segmentBytes = segmentBytes(bytes);
        segment = 0;
        used = 0;
        CudaHostMemory memory = device.allocateHost(SEGMENTS * segmentBytes, "arguments of kernels");
        host = memory;
        target = device.allocate(SEGMENTS * segmentBytes, "arguments of kernels");
        return memory;
    }

    private long send(MemorySegment at) {
        CudaHostMemory from = host;
        CudaBuffer to = target;
        if (from == null || to == null) {
            throw new IllegalStateException("the ring is closed");
        }
        long address = to.address() + (at.address() - from.memory().address());
        send(at, address);
        return address;
    }

    private void send(MemorySegment at, long address) {
        if (at.byteSize() == 0) {
            return;
        }
        context.makeCurrent();
        context.check(
                JCudaDriver.cuMemcpyHtoDAsync(
                        new NativePointer.InDevice(address), new NativePointer(at.address()), at.byteSize(), stream),
                "cuMemcpyHtoDAsync");
    }

    private void release() {
        if (host != null) {
            context.finish(stream);
            host.close();
            host = null;
        }
        if (target != null) {
            target.close();
            target = null;
        }
    }

    void close() {
        release();
        for (CUevent event : copied) {
            context.release(JCudaDriver.cuEventDestroy(event), "cuEventDestroy");
        }
    }
}
