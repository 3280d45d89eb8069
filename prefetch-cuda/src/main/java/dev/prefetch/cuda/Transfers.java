package dev.prefetch.cuda;

import java.lang.foreign.MemorySegment;
import jcuda.driver.CUevent;
import jcuda.driver.CUevent_flags;
import jcuda.driver.CUstream;
import jcuda.driver.CUstream_flags;
import jcuda.driver.JCudaDriver;
import org.jspecify.annotations.Nullable;

/**
 * Copies that the caller waits for, through a page-locked area in two halves: while one half crosses the link the other is
 * filled. The driver would do the same with pageable memory, but not from the heap, and not on a stream of our choice.
 */
final class Transfers {

    private static final int HALF_BYTES = 4 << 20;

    private final CudaDevice device;
    private final CudaContext context;
    private final CUstream compute;
    private final CUstream stream = new CUstream();
    private final CUevent issued = new CUevent();
    private final CUevent[] copied = {new CUevent(), new CUevent()};
    private @Nullable CudaHostMemory area;

    Transfers(CudaDevice device, CUstream compute) {
        this.device = device;
        this.context = device.context();
        this.compute = compute;
        context.check(JCudaDriver.cuStreamCreate(stream, CUstream_flags.CU_STREAM_NON_BLOCKING), "cuStreamCreate");
        for (CUevent event : new CUevent[] {issued, copied[0], copied[1]}) {
            context.check(JCudaDriver.cuEventCreate(event, CUevent_flags.CU_EVENT_DISABLE_TIMING), "cuEventCreate");
        }
    }

    private MemorySegment area() {
        CudaHostMemory existing = area;
        if (existing == null) {
            existing = device.allocateHost(2L * HALF_BYTES, "transfers");
            area = existing;
        }
        return existing.memory();
    }

    /** Fills new memory with zeros. */
    synchronized void clear(long address, long bytes) {
        context.makeCurrent();
        context.check(
                JCudaDriver.cuMemsetD8Async(new NativePointer.InDevice(address), (byte) 0, bytes, stream),
                "cuMemsetD8Async");
        context.check(JCudaDriver.cuStreamSynchronize(stream), "cuStreamSynchronize");
    }

    /** Copies to the device, behind everything issued on the compute stream, and returns when the bytes are there. */
    synchronized void upload(MemorySegment source, long target) {
        context.makeCurrent();
        MemorySegment halves = area();
        context.check(JCudaDriver.cuEventRecord(issued, compute), "cuEventRecord");
        context.check(JCudaDriver.cuStreamWaitEvent(stream, issued, 0), "cuStreamWaitEvent");
        int chunk = 0;
        for (long done = 0; done < source.byteSize(); done += HALF_BYTES, chunk++) {
            int half = chunk % 2;
            long bytes = Math.min(HALF_BYTES, source.byteSize() - done);
            if (chunk >= 2) {
                context.check(JCudaDriver.cuEventSynchronize(copied[half]), "cuEventSynchronize");
            }
            MemorySegment staged = halves.asSlice((long) half * HALF_BYTES, bytes);
            MemorySegment.copy(source, done, staged, 0, bytes);
            context.check(
                    JCudaDriver.cuMemcpyHtoDAsync(
                            new NativePointer.InDevice(target + done),
                            new NativePointer(staged.address()),
                            bytes,
                            stream),
                    "cuMemcpyHtoDAsync");
            context.check(JCudaDriver.cuEventRecord(copied[half], stream), "cuEventRecord");
        }
        context.check(JCudaDriver.cuStreamSynchronize(stream), "cuStreamSynchronize");
    }

    /** Copies from the device, behind everything issued on the compute stream. */
    synchronized void download(long source, MemorySegment target) {
        context.makeCurrent();
        MemorySegment halves = area();
        for (long done = 0; done < target.byteSize(); done += halves.byteSize()) {
            long bytes = Math.min(halves.byteSize(), target.byteSize() - done);
            context.check(
                    JCudaDriver.cuMemcpyDtoHAsync(
                            new NativePointer(halves.address()),
                            new NativePointer.InDevice(source + done),
                            bytes,
                            compute),
                    "cuMemcpyDtoHAsync");
            context.check(JCudaDriver.cuStreamSynchronize(compute), "cuStreamSynchronize");
            MemorySegment.copy(halves, 0, target, done, bytes);
        }
    }

    synchronized void close() {
        for (CUevent event : new CUevent[] {issued, copied[0], copied[1]}) {
            context.release(JCudaDriver.cuEventDestroy(event), "cuEventDestroy");
        }
        context.release(JCudaDriver.cuStreamDestroy(stream), "cuStreamDestroy");
        if (area != null) {
            area.close();
        }
    }
}
