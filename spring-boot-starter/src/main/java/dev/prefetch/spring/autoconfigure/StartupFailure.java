package dev.prefetch.spring.autoconfigure;

import org.jspecify.annotations.Nullable;
import org.springframework.boot.diagnostics.FailureAnalyzedException;

/** The failures a start can end with, each with what happened and what to do; Spring Boot prints both. */
final class StartupFailure {

    private StartupFailure() {}

    static String property(String name) {
        return PrefetchProperties.PREFIX + "." + name;
    }

    static FailureAnalyzedException of(String description, String action) {
        return new FailureAnalyzedException(description, action);
    }

    static FailureAnalyzedException of(String description, String action, Throwable cause) {
        return new FailureAnalyzedException(description, action, cause);
    }

    /**
     * @param name full name of the property
     */
    static FailureAnalyzedException invalidProperty(String name, @Nullable Object value, String range) {
        return of(
                "The property " + name + " must be " + range + " but was '" + value + "'.",
                "Correct " + name + ", or remove it to use the default.");
    }
}
