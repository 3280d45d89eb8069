package dev.prefetch.backend;

/** A point in a stream. Complete once everything issued before it has finished; stays complete. */
public interface Event {

    /** Whether the point has been reached; never blocks. */
    boolean isComplete();

    /** Blocks until the point is reached. */
    void await();
}
