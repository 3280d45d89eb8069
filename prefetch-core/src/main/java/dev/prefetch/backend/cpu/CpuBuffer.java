package dev.prefetch.backend.cpu;

import dev.prefetch.backend.DeviceBuffer;
import java.lang.foreign.MemorySegment;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** Host memory: either owned, or a view of memory that belongs to somebody else. */
final class CpuBuffer implements DeviceBuffer {

    private final long address;
    private final long byteSize;
    private final boolean readOnly;
    private final @Nullable NativeMemory owned;
    /** Kept so that memory of an automatic arena lives as long as this buffer. */
    private final @Nullable MemorySegment wrapped;

    private final Consumer<CpuBuffer> onClose;
    private volatile boolean closed;

    private CpuBuffer(
            long address,
            long byteSize,
            boolean readOnly,
            @Nullable NativeMemory owned,
            @Nullable MemorySegment wrapped,
            Consumer<CpuBuffer> onClose) {
        this.address = address;
        this.byteSize = byteSize;
        this.readOnly = readOnly;
        this.owned = owned;
        this.wrapped = wrapped;
        this.onClose = onClose;
    }

    static CpuBuffer owning(NativeMemory memory, long byteSize, Consumer<CpuBuffer> onClose) {
        return new CpuBuffer(memory.address(), byteSize, false, memory, null, onClose);
    }

    static CpuBuffer wrapping(MemorySegment memory) {
        if (!memory.isNative()) {
            throw new IllegalArgumentException("only memory outside the heap can be wrapped, but this is " + memory);
        }
        return new CpuBuffer(memory.address(), memory.byteSize(), memory.isReadOnly(), null, memory, buffer -> {});
    }

    @Override
    public long byteSize() {
        return byteSize;
    }

    boolean isReadOnly() {
        return readOnly;
    }

    /**
     * Where the memory starts.
     *
     * @throws IllegalStateException when the memory is gone
     */
    long address() {
        if (closed || (wrapped != null && !wrapped.scope().isAlive())) {
            throw new IllegalStateException("buffer of " + byteSize + " bytes is closed");
        }
        return address;
    }

    /** Address of a range to be written. */
    long writable(long offset, long bytes) {
        Objects.checkFromIndexSize(offset, bytes, byteSize);
        if (readOnly) {
            throw new IllegalArgumentException("buffer of " + byteSize + " bytes is read-only");
        }
        return address() + offset;
    }

    @Override
    public void upload(MemorySegment source, long targetOffset) {
        long target = writable(targetOffset, source.byteSize());
        MemorySegment.copy(source, 0, Memory.ALL, target, source.byteSize());
    }

    @Override
    public void download(long sourceOffset, MemorySegment target) {
        Objects.checkFromIndexSize(sourceOffset, target.byteSize(), byteSize);
        MemorySegment.copy(Memory.ALL, address() + sourceOffset, target, 0, target.byteSize());
    }

    @Override
    public Optional<MemorySegment> hostMemory() {
        MemorySegment memory = Memory.ALL.asSlice(address(), byteSize);
        return Optional.of(readOnly ? memory.asReadOnly() : memory);
    }

    @Override
    public synchronized void close() {
        if (closed) {
            return;
        }
        closed = true;
        onClose.accept(this);
        if (owned != null) {
            owned.close();
        }
    }
}
