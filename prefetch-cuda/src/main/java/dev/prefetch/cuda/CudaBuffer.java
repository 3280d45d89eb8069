package dev.prefetch.cuda;

import dev.prefetch.backend.DeviceBuffer;
import java.lang.foreign.MemorySegment;
import java.util.Objects;

/** Memory of a card. {@link #upload} and {@link #download} are ordered behind everything issued on the compute stream. */
final class CudaBuffer implements DeviceBuffer {

    private final CudaDevice device;
    private final long address;
    private final long byteSize;
    private boolean closed;

    CudaBuffer(CudaDevice device, long address, long byteSize) {
        this.device = device;
        this.address = address;
        this.byteSize = byteSize;
    }

    @Override
    public long byteSize() {
        return byteSize;
    }

    CudaDevice device() {
        return device;
    }

    /**
     * Where the memory starts in the device's address space.
     *
     * @throws IllegalStateException when the buffer is closed
     */
    long address() {
        if (closed) {
            throw new IllegalStateException("buffer of " + byteSize + " bytes is closed");
        }
        return address;
    }

    /** Address of a range inside. */
    long range(long offset, long bytes) {
        Objects.checkFromIndexSize(offset, bytes, byteSize);
        return address() + offset;
    }

    @Override
    public void upload(MemorySegment source, long targetOffset) {
        device.transfers().upload(source, range(targetOffset, source.byteSize()));
    }

    @Override
    public void download(long sourceOffset, MemorySegment target) {
        device.transfers().download(range(sourceOffset, target.byteSize()), target);
    }

    @Override
    public synchronized void close() {
        if (!closed) {
            closed = true;
            device.free(this, address);
        }
    }
}
