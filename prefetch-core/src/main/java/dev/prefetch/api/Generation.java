package dev.prefetch.api;

/** A running generation. Thread-safe. */
public interface Generation {

    /** Asks the engine to stop: compute ends within one token, and the result says {@link FinishReason#CANCELLED}. */
    void cancel();

    /** Whether the result or a failure is there. */
    boolean isDone();

    /**
     * Waits for the end.
     *
     * @throws InterruptedException when the waiting thread is interrupted; the generation goes on
     * @throws RuntimeException the failure, if the generation failed
     */
    GenerationResult await() throws InterruptedException;
}
