package dev.prefetch.inference;

/** As many generations wait as may. The message states how many, and the remedy. */
public final class QueueFullException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    QueueFullException(int limit, int running) {
        super(limit + " generations wait already, which is the queue limit, and " + running
                + " run: try again later, or raise the queue limit or the number that run at the same time");
    }
}
