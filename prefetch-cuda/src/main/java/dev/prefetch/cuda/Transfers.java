package dev.prefetch.cuda;

import java.lang.foreign.MemorySegment;
import jcuda.driver.CUevent;
import jcuda.driver.CUevent_flags;
import jcuda.driver.CUstream;
import jcuda.driver.CUstream_flags;
import jcuda.driver.JCudaDriver;
import org.jspecify.annotations.Nullable;

/**
 * Copies through page-locked areas: two by turns to the device, so that while one crosses the link the other is filled, and
 * one back. The driver would do the same with pageable memory, but not from the heap, and not on a stream of our choice.
 */
final class Transfers {

    private static final int UP_BYTES = 2 << 20;
    private static final int DOWN_BYTES = 4 << 20;

    private final CudaDevice device;
    private final CudaContext context;
    private final CUstream compute;
    private final CUstream stream = new CUstream();
    private final CUevent issued = new CUevent();
    /** What was last copied out of each of the areas to the device. */
    private final CUevent[] copied = {new CUevent(), new CUevent()};

    private @Nullable CudaHostMemory areas;
    private int turn;

    Transfers(CudaDevice device, CUstream compute) {
        this.device = device;
        this.context = device.context();
        this.compute = compute;
        context.check(JCudaDriver.cuStreamCreate(stream, CUstream_flags.CU_STREAM_NON_BLOCKING), "cuStreamCreate");
        for (CUevent event : new CUevent[] {issued, copied[0], copied[1]}) {
            context.check(JCudaDriver.cuEventCreate(event, CUevent_flags.CU_EVENT_DISABLE_TIMING), "cuEventCreate");
        }
    }

    private MemorySegment area(long offset, long bytes) {
        CudaHostMemory existing = areas;
        if (existing == null) {
            existing = device.allocateHost(2L * UP_BYTES + DOWN_BYTES, "transfers");
            areas = existing;
        }
        return existing.memory().asSlice(offset, bytes);
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
        context.check(JCudaDriver.cuEventRecord(issued, compute), "cuEventRecord");
        context.check(JCudaDriver.cuStreamWaitEvent(stream, issued, 0), "cuStreamWaitEvent");
        stage(source, target, stream);
        context.check(JCudaDriver.cuStreamSynchronize(stream), "cuStreamSynchronize");
    }

    /**
     * Copies to the device on the compute stream. The caller waits only where more than the areas hold is on its way; the
     * source has been read when this returns.
     */
    synchronized void send(MemorySegment source, long target) {
        context.makeCurrent();
        stage(source, target, compute);
    }

    private void stage(MemorySegment source, long target, CUstream on) {
        for (long done = 0; done < source.byteSize(); done += UP_BYTES) {
            long bytes = Math.min(UP_BYTES, source.byteSize() - done);
            MemorySegment staged = area((long) turn * UP_BYTES, bytes);
            // Of an event that was never recorded, this does not wait.
            context.check(JCudaDriver.cuEventSynchronize(copied[turn]), "cuEventSynchronize");
            MemorySegment.copy(source, done, staged, 0, bytes);
            context.check(
                    JCudaDriver.cuMemcpyHtoDAsync(
                            new NativePointer.InDevice(target + done), new NativePointer(staged.address()), bytes, on),
                    "cuMemcpyHtoDAsync");
            context.check(JCudaDriver.cuEventRecord(copied[turn], on), "cuEventRecord");
            turn = 1 - turn;
        }
    }

    /** Copies from the device, behind everything issued on the compute stream. */
    synchronized void download(long source, MemorySegment target) {
        context.makeCurrent();
        for (long done = 0; done < target.byteSize(); done += DOWN_BYTES) {
            long bytes = Math.min(DOWN_BYTES, target.byteSize() - done);
            MemorySegment staged = area(2L * UP_BYTES, bytes);
            context.check(
                    JCudaDriver.cuMemcpyDtoHAsync(
                            new NativePointer(staged.address()),
                            new NativePointer.InDevice(source + done),
                            bytes,
                            compute),
                    "cuMemcpyDtoHAsync");
            context.check(JCudaDriver.cuStreamSynchronize(compute), "cuStreamSynchronize");
            MemorySegment.copy(staged, 0, target, done, bytes);
        }
    }

    synchronized void close() {
        for (CUevent event : new CUevent[] {issued, copied[0], copied[1]}) {
            context.release(JCudaDriver.cuEventDestroy(event), "cuEventDestroy");
        }
        context.release(JCudaDriver.cuStreamDestroy(stream), "cuStreamDestroy");
        if (areas != null) {
            areas.close();
        }
    }
}
