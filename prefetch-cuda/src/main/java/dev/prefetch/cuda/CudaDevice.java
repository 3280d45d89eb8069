package dev.prefetch.cuda;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.BackendProvider.Availability;
import dev.prefetch.backend.ComputeStream;
import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.HostMemory;
import dev.prefetch.backend.Tier;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import jcuda.driver.CUdevice_attribute;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** An NVIDIA card. */
final class CudaDevice implements Device {

    private static final Logger log = LoggerFactory.getLogger(CudaDevice.class);

    private final CudaContext context;
    private final KernelModules kernels;
    private final EventClock clock;
    private final CudaComputeStream compute;
    private final Transfers transfers;
    private final boolean locksReadOnlyMemory;
    private final Set<CudaBuffer> openBuffers = ConcurrentHashMap.newKeySet();
    private final Set<CudaHostMemory> openHostMemory = ConcurrentHashMap.newKeySet();
    private final Set<CudaCopyStream> openCopyStreams = ConcurrentHashMap.newKeySet();
    private boolean closed;

    private CudaDevice(CudaContext context) {
        this.context = context;
        locksReadOnlyMemory =
                context.attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED) != 0;
        kernels = new KernelModules(context);
        clock = new EventClock(context);
        compute = new CudaComputeStream(this, clock);
        transfers = new Transfers(this, compute.stream());
    }

    /** Opens the device of that ordinal, which has been found available. */
    static CudaDevice open(int ordinal) {
        String description = CudaProbe.probe(ordinal) instanceof Availability.Available(String what)
                ? what
                : "CUDA device " + ordinal;
        CudaContext context = CudaContext.create(ordinal, description);
        try {
            return new CudaDevice(context);
        } catch (RuntimeException | Error e) {
            context.close();
            throw e;
        }
    }

    CudaContext context() {
        return context;
    }

    KernelModules kernels() {
        return kernels;
    }

    Transfers transfers() {
        return transfers;
    }

    @Override
    public String backend() {
        return "cuda";
    }

    @Override
    public String description() {
        return context.description();
    }

    @Override
    public Tier tier() {
        return Tier.DEVICE;
    }

    @Override
    public Set<GgmlType> weightTypes() {
        return WeightFormat.TYPES;
    }

    @Override
    public Set<GgmlType> kvTypes() {
        return AttentionLauncher.KV_TYPES;
    }

    @Override
    public boolean supportsAttention(AttentionShape shape) {
        return compute.ops().supportsAttention(shape);
    }

    @Override
    public List<SlowPath> slowPaths() {
        return List.of();
    }

    @Override
    public CudaBuffer allocate(long bytes, String purpose) {
        if (bytes < 1) {
            throw new IllegalArgumentException("bytes must be positive but was " + bytes + " for " + purpose);
        }
        context.makeCurrent();
        NativePointer.InDevice pointer = new NativePointer.InDevice();
        int result = JCudaDriver.cuMemAlloc(pointer, bytes);
        if (result == CUresult.CUDA_ERROR_OUT_OF_MEMORY) {
            throw context.outOfMemory(
                    "cuMemAlloc",
                    bytes,
                    purpose,
                    "device memory",
                    "lower the budget of device memory, the context length or the number of concurrent sequences, or free"
                            + " memory that other processes hold on the card");
        }
        context.check(result, "cuMemAlloc");
        CudaBuffer buffer = new CudaBuffer(this, pointer.address(), bytes);
        openBuffers.add(buffer);
        try {
            transfers.clear(pointer.address(), bytes);
        } catch (RuntimeException e) {
            buffer.close();
            throw e;
        }
        return buffer;
    }

    void free(CudaBuffer buffer, long address) {
        if (openBuffers.remove(buffer) && !context.isClosed()) {
            context.enterToRelease();
            context.release(JCudaDriver.cuMemFree(new NativePointer.InDevice(address)), "cuMemFree");
        }
    }

    /**
     * A buffer of this device.
     *
     * @throws IllegalArgumentException when it belongs to another
     */
    CudaBuffer own(DeviceBuffer buffer, String what) {
        if (buffer instanceof CudaBuffer cudaBuffer && cudaBuffer.device() == this) {
            return cudaBuffer;
        }
        throw new IllegalArgumentException(what + " is not a buffer of this CUDA device: " + buffer);
    }

    @Override
    public DeviceBuffer wrap(MemorySegment hostMemory) {
        throw new UnsupportedOperationException("a CUDA device computes in its own memory, not in the host's");
    }

    @Override
    public OptionalLong availableBytes() {
        return OptionalLong.of(context.freeBytes());
    }

    @Override
    public long scratchBytes(int rows, long widestInput) {
        return compute.scratchBytes(rows, widestInput);
    }

    @Override
    @SuppressWarnings("restricted")
    public CudaHostMemory allocateHost(long bytes, String purpose) {
        if (bytes < 1) {
            throw new IllegalArgumentException("bytes must be positive but was " + bytes + " for " + purpose);
        }
        context.makeCurrent();
        NativePointer pointer = new NativePointer();
        int result = JCudaDriver.cuMemHostAlloc(pointer, bytes, JCudaDriver.CU_MEMHOSTALLOC_PORTABLE);
        if (result == CUresult.CUDA_ERROR_OUT_OF_MEMORY) {
            throw context.outOfMemory(
                    "cuMemHostAlloc",
                    bytes,
                    purpose,
                    "page-locked host memory",
                    "lower the budget of page-locked memory, or free memory of the host");
        }
        context.check(result, "cuMemHostAlloc");
        MemorySegment memory = MemorySegment.ofAddress(pointer.address()).reinterpret(bytes);
        CudaHostMemory allocated = new CudaHostMemory(this, memory, true);
        openHostMemory.add(allocated);
        return allocated;
    }

    @Override
    public Optional<HostMemory> pageLock(MemorySegment memory) {
        if (!memory.isNative() || memory.byteSize() == 0) {
            throw new IllegalArgumentException(
                    "only memory outside the heap can be page-locked, but this is " + memory);
        }
        context.makeCurrent();
        int flags = memory.isReadOnly() && locksReadOnlyMemory ? JCudaDriver.CU_MEMHOSTREGISTER_READ_ONLY : 0;
        int result = JCudaDriver.cuMemHostRegister(
                new NativePointer(memory.address()),
                memory.byteSize(),
                flags | JCudaDriver.CU_MEMHOSTREGISTER_PORTABLE);
        switch (result) {
            case CUresult.CUDA_SUCCESS -> {
                CudaHostMemory locked = new CudaHostMemory(this, memory, false);
                openHostMemory.add(locked);
                return Optional.of(locked);
            }
            case CUresult.CUDA_ERROR_OUT_OF_MEMORY,
                    CUresult.CUDA_ERROR_INVALID_VALUE,
                    CUresult.CUDA_ERROR_NOT_PERMITTED,
                    CUresult.CUDA_ERROR_NOT_SUPPORTED,
                    CUresult.CUDA_ERROR_OPERATING_SYSTEM,
                    CUresult.CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED -> {
                log.info(
                        "The system refuses to page-lock {} bytes in place ({}{}); copies go through page-locked staging"
                                + " buffers instead",
                        memory.byteSize(),
                        CudaContext.name(result),
                        memory.isReadOnly() && !locksReadOnlyMemory
                                ? ", this card cannot read memory that is mapped read-only"
                                : "");
                return Optional.empty();
            }
            default -> throw context.fail(result, "cuMemHostRegister");
        }
    }

    void release(CudaHostMemory memory) {
        if (openHostMemory.remove(memory) && !context.isClosed()) {
            context.enterToRelease();
            memory.release(context);
        }
    }

    @Override
    public ComputeStream compute() {
        return compute;
    }

    @Override
    public CopyStream openCopyStream() {
        CudaCopyStream stream = new CudaCopyStream(this, clock);
        openCopyStreams.add(stream);
        return stream;
    }

    void closed(CudaCopyStream stream) {
        openCopyStreams.remove(stream);
    }

    /** Closes in the order of use: streams end before the memory they use goes. The context takes what is left. */
    @Override
    public synchronized void close() {
        if (closed) {
            return;
        }
        closed = true;
        context.finish(compute.stream());
        List.copyOf(openCopyStreams).forEach(CudaCopyStream::close);
        transfers.close();
        compute.close();
        clock.close();
        List.copyOf(openBuffers).forEach(CudaBuffer::close);
        List.copyOf(openHostMemory).forEach(CudaHostMemory::close);
        kernels.close();
        context.close();
    }
}
