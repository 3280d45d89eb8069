package dev.prefetch.sample.cli;

import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.NoSuchFileException;
import org.jspecify.annotations.Nullable;

/** Failures in one line. */
final class Errors {

    private Errors() {}

    /** What went wrong, for the person at the terminal. */
    static String describe(Throwable failure) {
        return oneLine(
                switch (failure) {
                    case UncheckedIOException e when e.getCause() != null -> describe(e.getCause());
                    case NoSuchFileException e -> "no such file: " + e.getFile();
                    case AccessDeniedException e -> "no permission to open " + e.getFile();
                    case Throwable e
                    when e.getMessage() == null || e.getMessage().isBlank() ->
                        e.getClass().getSimpleName();
                    case Throwable e -> e.getMessage();
                });
    }

    /** Line breaks become blanks. */
    static String oneLine(@Nullable String message) {
        return message == null ? "" : message.strip().replaceAll("\\s*\\R\\s*", " ");
    }
}
