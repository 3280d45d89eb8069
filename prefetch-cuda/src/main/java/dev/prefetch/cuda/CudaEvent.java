package dev.prefetch.cuda;

import dev.prefetch.backend.Event;
import jcuda.driver.CUevent;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;
import org.jspecify.annotations.Nullable;

/** A point in a stream; holds an event of the driver until it is known to be complete (see {@link EventPool}). */
final class CudaEvent implements Event {

    private final CudaContext context;
    private final EventClock clock;
    private final boolean timed;
    /** Null once complete. Guarded by this. */
    private @Nullable CUevent event;
    /** Null once complete, or without a time. Guarded by this. */
    private EventClock.@Nullable Epoch epoch;

    private long nanos;

    CudaEvent(CudaContext context, EventClock clock, CUevent event, EventClock.@Nullable Epoch epoch) {
        this.context = context;
        this.clock = clock;
        this.event = event;
        this.epoch = epoch;
        this.timed = epoch != null;
    }

    @Override
    public synchronized boolean isComplete() {
        if (event == null) {
            return true;
        }
        context.makeCurrent();
        int result = JCudaDriver.cuEventQuery(event);
        if (result == CUresult.CUDA_ERROR_NOT_READY) {
            return false;
        }
        context.check(result, "cuEventQuery");
        completed();
        return true;
    }

    @Override
    public void await() {
        CUevent waitedFor;
        synchronized (this) {
            waitedFor = event;
        }
        if (waitedFor == null) {
            return;
        }
        // Not under the lock: whoever records next needs it. Should the driver's event be recorded anew meanwhile, this
        // waits longer than it must, for something that has been issued already.
        context.makeCurrent();
        context.check(JCudaDriver.cuEventSynchronize(waitedFor), "cuEventSynchronize");
        completed();
    }

    /** Makes a stream wait for the point. */
    synchronized void awaitOn(CUstream stream) {
        if (event != null) {
            context.check(JCudaDriver.cuStreamWaitEvent(stream, event, 0), "cuStreamWaitEvent");
        }
    }

    @Override
    public synchronized long timeNanos() {
        if (!timed) {
            throw new UnsupportedOperationException("the event is not timed");
        }
        if (!isComplete()) {
            throw new IllegalStateException("the event is not complete");
        }
        return nanos;
    }

    /** Lets go of the driver's event, which is complete. */
    synchronized void completed() {
        CUevent reached = event;
        EventClock.Epoch since = epoch;
        event = null;
        epoch = null;
        if (reached != null && since != null) {
            try {
                nanos = clock.nanos(since, reached);
            } finally {
                clock.release(since);
            }
        }
    }
}
