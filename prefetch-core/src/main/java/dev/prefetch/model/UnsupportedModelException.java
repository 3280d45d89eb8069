package dev.prefetch.model;

/** A valid file needs something that is not supported, or lacks something a model needs. The message names it. */
public final class UnsupportedModelException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    public UnsupportedModelException(String message) {
        super(message);
    }
}
