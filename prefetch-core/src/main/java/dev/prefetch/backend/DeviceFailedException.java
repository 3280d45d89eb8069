package dev.prefetch.backend;

/**
 * The device, not the caller, is at fault: a copy or a kernel failed, or the device was lost. Whatever lies in its memory is
 * worth nothing any more; the same work may succeed on another device, or on this one opened anew.
 */
public final class DeviceFailedException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    /** @param message names the operation, the device's own name of the fault, and the remedy */
    public DeviceFailedException(String message) {
        super(message);
    }

    public DeviceFailedException(String message, Throwable cause) {
        super(message, cause);
    }
}
