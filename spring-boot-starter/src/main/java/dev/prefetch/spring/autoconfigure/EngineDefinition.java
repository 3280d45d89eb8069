package dev.prefetch.spring.autoconfigure;

import dev.prefetch.spring.PrefetchEngines;
import org.jspecify.annotations.Nullable;
import org.springframework.boot.diagnostics.FailureAnalyzedException;

/**
 * An engine as the properties describe it.
 *
 * @param name its name
 * @param prefix where its properties are, with a dot at the end
 * @param properties what they say
 */
record EngineDefinition(String name, String prefix, PrefetchProperties.Model properties) {

    /** The one whose properties stand directly under the starter's prefix. */
    static EngineDefinition root(PrefetchProperties properties) {
        return new EngineDefinition(
                PrefetchEngines.DEFAULT_NAME, PrefetchProperties.PREFIX + ".", properties.rootModel());
    }

    /** A named one. */
    static EngineDefinition named(String name, PrefetchProperties.Model properties) {
        return new EngineDefinition(name, PrefetchProperties.PREFIX + ".models." + name + ".", properties);
    }

    /** Full name of one of its properties. */
    String property(String property) {
        return prefix + property;
    }

    FailureAnalyzedException invalid(String property, @Nullable Object value, String range) {
        return StartupFailure.invalidProperty(property(property), value, range);
    }
}
