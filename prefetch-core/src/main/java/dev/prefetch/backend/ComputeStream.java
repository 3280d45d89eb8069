package dev.prefetch.backend;

import java.lang.foreign.MemorySegment;

/** An in-order queue of operations. */
public interface ComputeStream {

    /** The operations of this stream. */
    Ops ops();

    /** An event that completes when everything issued so far has finished. */
    Event record();

    /** {@link #record()} with {@link Event#timeNanos()}; not for a device that computes in host memory. */
    default Event recordTimed() {
        throw new UnsupportedOperationException("this stream has no clock of its own");
    }

    /**
     * Copies host memory into a buffer of the device, in the order of the stream: operations issued before see what was
     * there, later ones what is copied. The source may be changed once this returns. Unless a backend can do it while the
     * caller goes on, everything issued so far is waited for.
     *
     * @throws IndexOutOfBoundsException when the range leaves the buffer
     */
    default void upload(MemorySegment source, DeviceBuffer target, long targetOffset) {
        synchronize();
        target.upload(source, targetOffset);
    }

    /** Operations issued from now on start only after the event has completed; the caller does not wait. */
    void await(Event event);

    /** Waits until everything issued so far has finished. */
    void synchronize();
}
