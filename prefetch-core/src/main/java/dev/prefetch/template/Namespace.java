package dev.prefetch.template;

import java.util.LinkedHashMap;
import java.util.Map;

/** A {@code namespace()}: the one value whose attributes a template can set. */
record Namespace(Map<String, Object> attributes) {

    Namespace() {
        this(new LinkedHashMap<>());
    }

    // Identity, as for any object of Python that defines no equality; a namespace may also contain itself.
    @Override
    public boolean equals(Object other) {
        return this == other;
    }

    @Override
    public int hashCode() {
        return System.identityHashCode(this);
    }

    @Override
    public String toString() {
        return "namespace";
    }
}
