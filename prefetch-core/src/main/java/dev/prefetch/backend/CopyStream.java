package dev.prefetch.backend;

import java.lang.foreign.MemorySegment;

/** An in-order queue of copies from host memory into a device's buffers, running beside compute. */
public interface CopyStream extends AutoCloseable {

    /**
     * Queues a copy. The source must stay valid until an event recorded afterwards has completed. From memory that is not
     * page-locked the copy may be slow and may not run beside compute.
     *
     * @throws IndexOutOfBoundsException when the range leaves the target
     */
    void copy(MemorySegment source, DeviceBuffer target, long targetOffset);

    /** An event that completes when everything queued so far has been copied. */
    Event record();

    /** {@link #record()} with {@link Event#timeNanos()}; not for a device that computes in host memory. */
    default Event recordTimed() {
        throw new UnsupportedOperationException("this stream has no clock of its own");
    }

    /** Copies queued from now on start only after the event has completed; the caller does not wait. */
    void await(Event event);

    /** Waits for the queued copies and closes the stream. */
    @Override
    void close();
}
