package dev.prefetch.inference;

/** As many generations, or requests for vectors, wait as may. The message states how many, and the remedy. */
public final class QueueFullException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    /**
     * @param what what waits, in the plural
     * @param limit most of it that may wait
     * @param running how many are being computed
     */
    public QueueFullException(String what, int limit, int running) {
        super(limit + " " + what + " wait already, which is the queue limit, and " + running
                + " run: try again later, or raise the queue limit (spring.ai.prefetch.queue-limit) or the number that run"
                + " at the same time (spring.ai.prefetch.max-concurrency)");
    }
}
