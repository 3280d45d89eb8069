package dev.prefetch.prefetch;

import org.jspecify.annotations.Nullable;

/** A block's bytes could not be read. The message names the file, the block and the cause. */
public final class WeightUnavailableException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    public WeightUnavailableException(String message, @Nullable Throwable cause) {
        super(message, cause);
    }
}
