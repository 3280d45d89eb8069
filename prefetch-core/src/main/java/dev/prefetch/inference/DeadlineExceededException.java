package dev.prefetch.inference;

/** A generation, or a request for vectors, was not done when its time was up. The message says how far it came, and the remedy. */
public final class DeadlineExceededException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    public DeadlineExceededException(String message) {
        super(message);
    }
}
