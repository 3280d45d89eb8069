package dev.prefetch.backend;

import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Set;

/** An opened device: allocates buffers, computes, copies. Thread-safe except where a method says otherwise. */
public interface Device extends AutoCloseable {

    /** Identifier of the backend, as {@link BackendProvider#id()}. */
    String backend();

    /** The device in words: processor or card, threads, kernels in use. */
    String description();

    /** The tier whose memory this device computes in. */
    Tier tier();

    /** Weight formats {@link Ops#matmul} accepts. */
    Set<GgmlType> weightTypes();

    /** Slow paths this device is on, each with its remedy; empty when none. */
    List<SlowPath> slowPaths();

    /**
     * Allocates zeroed memory in {@link #tier()}, aligned to at least 64 bytes.
     *
     * @param bytes size, positive
     * @param purpose what it is for, used in error messages
     * @throws OutOfDeviceMemoryException when the tier cannot give that much
     */
    DeviceBuffer allocate(long bytes, String purpose);

    /**
     * Makes host memory usable by this device without copying it. The memory must outlive the buffer; closing the buffer
     * does not release it.
     *
     * @throws UnsupportedOperationException when {@link #tier()} is not {@link Tier#HOST}
     */
    DeviceBuffer wrap(MemorySegment hostMemory);

    /** The one stream on which operations run in the order in which they were issued. Used by one thread at a time. */
    ComputeStream compute();

    /** Opens a stream for copies from host memory that run beside compute. The caller closes it. */
    CopyStream openCopyStream();

    /** Releases everything. Buffers of this device must not be used afterwards. */
    @Override
    void close();

    /**
     * A slow path in use.
     *
     * @param what what is slow and why
     * @param remedy what the user can do
     */
    record SlowPath(String what, String remedy) {}
}
