package dev.prefetch.prefetch;

/** A model cannot run within its budget, or the wishes contradict each other. The message has the numbers and the remedy. */
public final class PlanException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    public PlanException(String message) {
        super(message);
    }
}
