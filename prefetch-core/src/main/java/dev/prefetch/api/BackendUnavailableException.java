package dev.prefetch.api;

/** The backend asked for does not exist or cannot be used here. The message gives the reason and the remedy. */
public final class BackendUnavailableException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    public BackendUnavailableException(String message) {
        super(message);
    }
}
