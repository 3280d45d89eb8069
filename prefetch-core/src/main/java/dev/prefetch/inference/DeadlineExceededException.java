package dev.prefetch.inference;

/** A generation was not done when its time was up. The message says how far it came, and the remedy. */
public final class DeadlineExceededException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    DeadlineExceededException(String message) {
        super(message);
    }
}
