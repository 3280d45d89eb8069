package dev.prefetch.cuda;

import dev.prefetch.backend.ComputeStream;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Event;
import java.lang.foreign.MemorySegment;
import jcuda.driver.CUstream;
import jcuda.driver.CUstream_flags;
import jcuda.driver.JCudaDriver;

/** The stream the kernels run on. */
final class CudaComputeStream implements ComputeStream {

    private final CudaDevice device;
    private final CudaContext context;
    private final CUstream stream = new CUstream();
    private final EventPool events;
    private final CudaOps ops;

    CudaComputeStream(CudaDevice device, EventClock clock) {
        this.device = device;
        context = device.context();
        context.check(JCudaDriver.cuStreamCreate(stream, CUstream_flags.CU_STREAM_NON_BLOCKING), "cuStreamCreate");
        events = new EventPool(context, stream, clock);
        ops = new CudaOps(device, stream);
    }

    CUstream stream() {
        return stream;
    }

    @Override
    public CudaOps ops() {
        return ops;
    }

    long scratchBytes(int rows, long widestInput) {
        return ops.scratchBytes(rows, widestInput);
    }

    @Override
    public Event record() {
        return events.record(false);
    }

    @Override
    public Event recordTimed() {
        return events.record(true);
    }

    @Override
    public void upload(MemorySegment source, DeviceBuffer target, long targetOffset) {
        long address = device.own(target, "target").range(targetOffset, source.byteSize());
        device.transfers().send(source, address);
    }

    @Override
    public void await(Event event) {
        await(context, event, stream);
    }

    /** Makes a stream wait for an event; one of another device is waited for here. */
    static void await(CudaContext context, Event event, CUstream stream) {
        if (event instanceof CudaEvent own) {
            context.makeCurrent();
            own.awaitOn(stream);
        } else {
            event.await();
        }
    }

    @Override
    public void synchronize() {
        context.makeCurrent();
        context.check(JCudaDriver.cuStreamSynchronize(stream), "cuStreamSynchronize");
    }

    void close() {
        ops.close();
        events.close();
        context.release(JCudaDriver.cuStreamDestroy(stream), "cuStreamDestroy");
    }
}
