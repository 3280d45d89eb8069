package dev.prefetch.backend.cpu;

import dev.prefetch.backend.ComputeStream;
import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Tier;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/** The processor as a device. */
final class CpuDevice implements Device {

    private final KernelSelection selection;
    private final WorkerPool pool;
    private final CpuComputeStream compute;
    private final AtomicInteger copyStreams = new AtomicInteger();
    private final Set<CpuBuffer> openBuffers = ConcurrentHashMap.newKeySet();
    private final Set<CpuCopyStream> openCopyStreams = ConcurrentHashMap.newKeySet();
    private volatile boolean closed;

    CpuDevice(int threads, KernelSelection selection) {
        this.selection = selection;
        this.pool = new WorkerPool(threads, "prefetch-cpu-worker");
        this.compute = new CpuComputeStream(selection.kernels(), pool);
    }

    @Override
    public String backend() {
        return "cpu";
    }

    @Override
    public String description() {
        return "CPU (" + System.getProperty("os.arch") + "), " + pool.threads() + " threads, "
                + selection.kernels().name() + " kernels";
    }

    /** The number of threads changes no bit. */
    @Override
    public String numerics() {
        return backend() + ": " + System.getProperty("os.arch") + ", "
                + selection.kernels().name() + " kernels";
    }

    @Override
    public Tier tier() {
        return Tier.HOST;
    }

    @Override
    public Set<GgmlType> weightTypes() {
        return ScalarDequantizer.TYPES;
    }

    @Override
    public Set<GgmlType> kvTypes() {
        return KvPages.TYPES;
    }

    @Override
    public boolean supportsDeltaRule() {
        return true;
    }

    @Override
    public boolean packs(GgmlType type, long rows, long cols) {
        return selection.kernels().packs(type, rows, cols);
    }

    @Override
    public Weight pack(Weight weight) {
        CpuBuffer buffer = (CpuBuffer) weight.buffer();
        long bytes = weight.rows() * weight.type().byteSize(weight.cols());
        long address = buffer.writable(weight.offset(), bytes);
        selection.kernels().pack(weight.type(), address, weight.rows(), Math.toIntExact(weight.cols()));
        return new Weight(weight.type(), weight.rows(), weight.cols(), buffer, weight.offset(), true);
    }

    @Override
    public List<SlowPath> slowPaths() {
        return selection.slowPaths();
    }

    @Override
    public DeviceBuffer allocate(long bytes, String purpose) {
        checkOpen();
        CpuBuffer buffer = CpuBuffer.owning(NativeMemory.allocate(bytes, purpose), bytes, openBuffers::remove);
        openBuffers.add(buffer);
        return buffer;
    }

    @Override
    public DeviceBuffer wrap(MemorySegment hostMemory) {
        checkOpen();
        return CpuBuffer.wrapping(hostMemory);
    }

    @Override
    public ComputeStream compute() {
        return compute;
    }

    @Override
    public CopyStream openCopyStream() {
        checkOpen();
        CpuCopyStream stream =
                new CpuCopyStream("prefetch-cpu-copy-" + copyStreams.incrementAndGet(), openCopyStreams::remove);
        openCopyStreams.add(stream);
        return stream;
    }

    private void checkOpen() {
        if (closed) {
            throw new IllegalStateException("the CPU device is closed");
        }
    }

    /** Closes in the order of use: copies and threads end before the memory they use goes. */
    @Override
    public synchronized void close() {
        if (closed) {
            return;
        }
        closed = true;
        List.copyOf(openCopyStreams).forEach(CpuCopyStream::close);
        pool.close();
        compute.close();
        List.copyOf(openBuffers).forEach(CpuBuffer::close);
    }
}
