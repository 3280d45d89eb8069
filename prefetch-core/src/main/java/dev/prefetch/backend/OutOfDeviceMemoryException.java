package dev.prefetch.backend;

/** A device could not allocate. The message names the purpose, the bytes asked for and the remedy. */
public final class OutOfDeviceMemoryException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    public OutOfDeviceMemoryException(String message, Throwable cause) {
        super(message, cause);
    }
}
