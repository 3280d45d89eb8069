package dev.prefetch.sample.cli;

import org.jspecify.annotations.Nullable;

/** A command cannot do what it was asked to. The message is shown to the user as it stands. */
final class CommandFailedException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    CommandFailedException(String message) {
        this(message, null);
    }

    CommandFailedException(String message, @Nullable Throwable cause) {
        super(message, cause);
    }
}
