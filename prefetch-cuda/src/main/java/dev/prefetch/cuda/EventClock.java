package dev.prefetch.cuda;

import jcuda.driver.CUevent;
import jcuda.driver.CUstream;
import jcuda.driver.CUstream_flags;
import jcuda.driver.JCudaDriver;
import org.jspecify.annotations.Nullable;

/**
 * One clock for the timed events of all streams of a device.
 *
 * <p>The driver gives the time between two events as float milliseconds, which after a minute no longer tell a microsecond
 * from the next. So times are measured from an epoch, an event on a stream on which nothing else runs, and the epoch is
 * renewed before an event is recorded more than {@link #EPOCH_NANOS} after it. An event keeps the epoch it was recorded
 * under; an old epoch goes when its last event has been read.
 */
final class EventClock {

    private static final long EPOCH_NANOS = 2_000_000_000L;

    private final CudaContext context;
    private final CUstream stream = new CUstream();
    private @Nullable Epoch current;

    EventClock(CudaContext context) {
        this.context = context;
        context.check(JCudaDriver.cuStreamCreate(stream, CUstream_flags.CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    }

    /** The epoch for an event about to be recorded; handed back by {@link #release}. */
    synchronized Epoch acquire() {
        Epoch epoch = current;
        if (epoch == null || System.nanoTime() - epoch.startedNanos > EPOCH_NANOS) {
            epoch = renew(epoch);
        }
        epoch.users++;
        return epoch;
    }

    private Epoch renew(@Nullable Epoch before) {
        CUevent event = new CUevent();
        context.check(JCudaDriver.cuEventCreate(event, 0), "cuEventCreate");
        context.check(JCudaDriver.cuEventRecord(event, stream), "cuEventRecord");
        context.check(JCudaDriver.cuEventSynchronize(event), "cuEventSynchronize");
        Epoch epoch = new Epoch(event, before == null ? 0 : nanos(before, event));
        current = epoch;
        if (before != null && before.users == 0) {
            destroy(before);
        }
        return epoch;
    }

    /** When a complete event was reached. */
    long nanos(Epoch epoch, CUevent event) {
        float[] milliseconds = new float[1];
        context.check(JCudaDriver.cuEventElapsedTime(milliseconds, epoch.event, event), "cuEventElapsedTime");
        return epoch.baseNanos + Math.round(milliseconds[0] * 1e6);
    }

    synchronized void release(Epoch epoch) {
        epoch.users--;
        if (epoch.users == 0 && epoch != current) {
            destroy(epoch);
        }
    }

    private void destroy(Epoch epoch) {
        context.release(JCudaDriver.cuEventDestroy(epoch.event), "cuEventDestroy");
    }

    /** Releases what the clock holds; all events have been read or given up. */
    synchronized void close() {
        if (current != null) {
            destroy(current);
            current = null;
        }
        context.release(JCudaDriver.cuStreamDestroy(stream), "cuStreamDestroy");
    }

    /** A point from which times are measured. */
    static final class Epoch {
        private final CUevent event;
        private final long baseNanos;
        private final long startedNanos = System.nanoTime();
        /** Guarded by the clock. */
        private int users;

        private Epoch(CUevent event, long baseNanos) {
            this.event = event;
            this.baseNanos = baseNanos;
        }
    }
}
