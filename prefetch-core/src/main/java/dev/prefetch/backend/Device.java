package dev.prefetch.backend;

import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;

/** An opened device: allocates buffers, computes, copies. Thread-safe except where a method says otherwise. */
public interface Device extends AutoCloseable {

    /** Identifier of the backend, as {@link BackendProvider#id()}. */
    String backend();

    /** The device in words: processor or card, threads, kernels in use. */
    String description();

    /** The tier whose memory this device computes in. */
    Tier tier();

    /** What decides the bits of results, in words: two devices that say the same compute the same. */
    default String numerics() {
        return backend() + ": " + description();
    }

    /** Weight formats {@link Ops#matmul} accepts. */
    Set<GgmlType> weightTypes();

    /**
     * Whether products with a matrix of that shape are faster once {@link #pack} has been called. A packed matrix can only be
     * multiplied as a whole.
     */
    default boolean packs(GgmlType type, long rows, long cols) {
        return false;
    }

    /**
     * Brings the rows of a matrix in this device's memory into the order in which products are fastest, in place and without a
     * change of size; no operation may be using it. The results of products keep every bit.
     *
     * @return the same matrix as {@link Weight#packed()}, which no other device understands
     * @throws UnsupportedOperationException when {@link #packs} says no
     */
    default Weight pack(Weight weight) {
        throw new UnsupportedOperationException("backend " + backend() + " packs no weights");
    }

    /** What {@link Ops#storeKv} and {@link Ops#attention} can keep keys and values as. */
    default Set<GgmlType> kvTypes() {
        return Set.of(GgmlType.F32);
    }

    /** Whether {@link Ops#attention} computes heads of that shape. */
    default boolean supportsAttention(AttentionShape shape) {
        return true;
    }

    /** Whether it has {@link Ops#gatedDeltaRule} and what goes with it, for models with layers of linear attention. */
    default boolean supportsDeltaRule() {
        return false;
    }

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

    /**
     * Memory of {@link #tier()} that can be allocated now, in bytes. Empty for a device that computes in the host's memory,
     * of which it does not know how much it may use.
     */
    default OptionalLong availableBytes() {
        return OptionalLong.empty();
    }

    /**
     * Memory of {@link #tier()} that operations may take for intermediate results beside the buffers they are given, in
     * bytes: an upper bound, for who plans with {@link #availableBytes()}.
     *
     * @param rows most rows of activations of an operation
     * @param widestInput most columns of the input of a product
     */
    default long scratchBytes(int rows, long widestInput) {
        return 0;
    }

    /**
     * Allocates host memory from which copies to this device run at the full speed of the link and beside compute:
     * page-locked where the device knows such a thing.
     *
     * @param bytes size, positive
     * @param purpose what it is for, used in error messages
     * @throws UnsupportedOperationException when {@link #tier()} is {@link Tier#HOST}: there is no link to cross
     * @throws OutOfDeviceMemoryException when the host cannot give that much
     */
    default HostMemory allocateHost(long bytes, String purpose) {
        throw new UnsupportedOperationException("backend " + backend() + " computes in host memory");
    }

    /**
     * Page-locks host memory in place, so that copies from it are as from {@link #allocateHost}. A copy must not cross the
     * bounds of what was locked by one call.
     *
     * @param memory native memory, page-aligned, of a length that is a multiple of the page size; must outlive the lock
     * @return the locked memory, whose closing unlocks it; empty where the system refuses, with the reason in the log
     */
    default Optional<HostMemory> pageLock(MemorySegment memory) {
        return Optional.empty();
    }

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
