package dev.prefetch.backend;

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

    /** Operations issued from now on start only after the event has completed; the caller does not wait. */
    void await(Event event);

    /** Waits until everything issued so far has finished. */
    void synchronize();
}
