package dev.prefetch.template;

import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The variables of a block. Loops, macros and most blocks open a scope, {@code if} does not; assignments go to the
 * innermost scope and end with it, which is why templates carry state in a {@code namespace()}.
 */
final class Scope {

    private final @Nullable Scope parent;
    private final Map<String, Object> variables;

    Scope(Scope parent) {
        this.parent = parent;
        this.variables = HashMap.newHashMap(4);
    }

    /** The outermost scope, over the variables of the rendering. */
    Scope(Map<String, Object> variables) {
        this.parent = null;
        this.variables = variables;
    }

    @Nullable
    Object get(String name) {
        for (Scope scope = this; scope != null; scope = scope.parent) {
            Object value = scope.variables.get(name);
            if (value != null) {
                return value;
            }
        }
        return null;
    }

    void set(String name, Object value) {
        variables.put(name, value);
    }
}
