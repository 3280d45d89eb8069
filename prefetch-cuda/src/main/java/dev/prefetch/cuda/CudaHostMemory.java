package dev.prefetch.cuda;

import dev.prefetch.backend.HostMemory;
import java.lang.foreign.MemorySegment;
import jcuda.driver.JCudaDriver;

/** Page-locked memory: allocated by the driver, or the user's own, locked in place. */
final class CudaHostMemory implements HostMemory {

    private final CudaDevice device;
    private final MemorySegment memory;
    private final boolean allocated;
    private boolean closed;

    CudaHostMemory(CudaDevice device, MemorySegment memory, boolean allocated) {
        this.device = device;
        this.memory = memory;
        this.allocated = allocated;
    }

    @Override
    public MemorySegment memory() {
        if (closed) {
            throw new IllegalStateException("page-locked memory of " + memory.byteSize() + " bytes is closed");
        }
        return memory;
    }

    @Override
    public synchronized void close() {
        if (!closed) {
            closed = true;
            device.release(this);
        }
    }

    /** Gives the memory, or the lock on it, back to the driver. */
    void release(CudaContext context) {
        NativePointer pointer = new NativePointer(memory.address());
        if (allocated) {
            context.release(JCudaDriver.cuMemFreeHost(pointer), "cuMemFreeHost");
        } else {
            context.release(JCudaDriver.cuMemHostUnregister(pointer), "cuMemHostUnregister");
        }
    }
}
