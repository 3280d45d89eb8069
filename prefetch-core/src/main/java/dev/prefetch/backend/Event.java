package dev.prefetch.backend;

/** A point in a stream. Complete once everything issued before it has finished; stays complete. */
public interface Event {

    /** Whether the point has been reached; never blocks. */
    boolean isComplete();

    /** Blocks until the point is reached. */
    void await();

    /**
     * When the point was reached, in nanoseconds of the device's own clock, which starts at an arbitrary time and is the
     * same for all streams of a device. Only of an event that was recorded as timed and is complete.
     *
     * @throws UnsupportedOperationException when the event was not recorded as timed
     * @throws IllegalStateException when it is not complete
     */
    default long timeNanos() {
        throw new UnsupportedOperationException("the event is not timed");
    }
}
