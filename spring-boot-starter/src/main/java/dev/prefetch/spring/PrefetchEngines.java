package dev.prefetch.spring;

import dev.prefetch.api.PrefetchEngine;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The engines of an application by name.
 *
 * @param byName at least one; in the order in which they are shown
 * @param primary name of the one that is meant where none is named
 */
public record PrefetchEngines(Map<String, PrefetchEngine> byName, String primary) {

    /** Name of the engine whose properties stand directly under {@code spring.ai.prefetch}. */
    public static final String DEFAULT_NAME = "prefetch";

    public PrefetchEngines {
        byName = Collections.unmodifiableMap(new LinkedHashMap<>(byName));
        if (!byName.containsKey(primary)) {
            throw new IllegalArgumentException("the primary engine '" + primary + "' is none of " + byName.keySet());
        }
    }

    /** One engine, under the default name. */
    public static PrefetchEngines of(PrefetchEngine engine) {
        return new PrefetchEngines(Map.of(DEFAULT_NAME, engine), DEFAULT_NAME);
    }

    /** The primary engine. */
    public PrefetchEngine engine() {
        return byName.get(primary);
    }

    /** The engine of a name, or null. */
    public @Nullable PrefetchEngine engine(String name) {
        return byName.get(name);
    }

    /** The name of an engine; the default name for one that is none of these. */
    public String nameOf(PrefetchEngine engine) {
        return byName.entrySet().stream()
                .filter(entry -> entry.getValue() == engine)
                .map(Map.Entry::getKey)
                .findFirst()
                .orElse(DEFAULT_NAME);
    }
}
