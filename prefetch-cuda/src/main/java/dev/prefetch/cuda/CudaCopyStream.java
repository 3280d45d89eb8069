package dev.prefetch.cuda;

import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Event;
import java.lang.foreign.MemorySegment;
import jcuda.driver.CUstream;
import jcuda.driver.CUstream_flags;
import jcuda.driver.JCudaDriver;

/** A stream of copies to the device. They are issued by the calling thread and run on the card's copy engine. */
final class CudaCopyStream implements CopyStream {

    private final CudaDevice device;
    private final CudaContext context;
    private final CUstream stream = new CUstream();
    private final EventPool events;
    private boolean closed;

    CudaCopyStream(CudaDevice device, EventClock clock) {
        this.device = device;
        context = device.context();
        context.makeCurrent();
        context.check(JCudaDriver.cuStreamCreate(stream, CUstream_flags.CU_STREAM_NON_BLOCKING), "cuStreamCreate");
        events = new EventPool(context, stream, clock);
    }

    /**
     * {@inheritDoc}
     *
     * @throws IllegalArgumentException when the source lies in the heap, where it may move while it is copied
     */
    @Override
    public void copy(MemorySegment source, DeviceBuffer target, long targetOffset) {
        if (!source.isNative()) {
            throw new IllegalArgumentException("a copy stream needs a source outside the heap, but this is " + source);
        }
        long address = device.own(target, "target").range(targetOffset, source.byteSize());
        if (source.byteSize() == 0) {
            return;
        }
        enter();
        context.check(
                JCudaDriver.cuMemcpyHtoDAsync(
                        new NativePointer.InDevice(address),
                        new NativePointer(source.address()),
                        source.byteSize(),
                        stream),
                "cuMemcpyHtoDAsync");
    }

    private void enter() {
        if (closed) {
            throw new IllegalStateException("copy stream is closed");
        }
        context.makeCurrent();
    }

    @Override
    public Event record() {
        enter();
        return events.record(false);
    }

    @Override
    public Event recordTimed() {
        enter();
        return events.record(true);
    }

    @Override
    public void await(Event event) {
        enter();
        CudaComputeStream.await(context, event, stream);
    }

    @Override
    public synchronized void close() {
        if (closed) {
            return;
        }
        closed = true;
        if (context.isClosed()) {
            return;
        }
        // If the device has failed, its copies are lost; whoever waits for one of them is told by its event.
        context.finish(stream);
        events.close();
        context.release(JCudaDriver.cuStreamDestroy(stream), "cuStreamDestroy");
        device.closed(this);
    }
}
