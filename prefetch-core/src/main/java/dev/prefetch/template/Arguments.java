package dev.prefetch.template;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The evaluated arguments of a call. */
record Arguments(List<Object> positional, Map<String, Object> named) {

    static final Arguments NONE = new Arguments(List.of(), Map.of());

    /** Assigns the arguments to parameters; an argument that no parameter takes is an error. */
    Bound bind(String function, String... parameters) {
        if (positional.size() > parameters.length) {
            throw TemplateFault.evaluation(
                    function + "() takes at most " + parameters.length + " argument(s), got " + positional.size());
        }
        @Nullable Object[] values = new @Nullable Object[parameters.length];
        for (int i = 0; i < positional.size(); i++) {
            values[i] = positional.get(i);
        }
        if (!named.isEmpty()) {
            bindNamed(function, parameters, values);
        }
        return new Bound(function, parameters, values);
    }

    private void bindNamed(String function, String[] parameters, @Nullable Object[] values) {
        Map<String, Object> left = new HashMap<>(named);
        for (int i = 0; i < parameters.length; i++) {
            Object value = left.remove(parameters[i]);
            if (value != null) {
                if (values[i] != null) {
                    throw TemplateFault.evaluation(function + "() got the argument '" + parameters[i] + "' twice");
                }
                values[i] = value;
            }
        }
        if (!left.isEmpty()) {
            throw TemplateFault.evaluation(
                    function + "() has no argument '" + left.keySet().iterator().next() + "'");
        }
    }

    /** The same arguments without the first positional one. */
    Arguments withoutFirst() {
        return new Arguments(positional.subList(1, positional.size()), named);
    }

    /** Arguments by parameter, with the conversions that filters and methods need. */
    static final class Bound {

        private final String function;
        private final String[] parameters;
        private final @Nullable Object[] values;

        private Bound(String function, String[] parameters, @Nullable Object[] values) {
            this.function = function;
            this.parameters = parameters;
            this.values = values;
        }

        boolean has(int index) {
            return values[index] != null;
        }

        boolean hasValue(int index) {
            return values[index] != null && values[index] != None.NONE;
        }

        Object required(int index) {
            Object value = values[index];
            if (value == null) {
                throw TemplateFault.evaluation(function + "() is missing the argument '" + parameters[index] + "'");
            }
            return value;
        }

        Object get(int index, Object fallback) {
            Object value = values[index];
            return value == null ? fallback : value;
        }

        Text text(int index) {
            if (required(index) instanceof Text text) {
                return text;
            }
            throw wrongType(index, "a string");
        }

        Text text(int index, Text fallback) {
            return has(index) ? text(index) : fallback;
        }

        long integer(int index, long fallback) {
            Object value = values[index];
            return switch (value) {
                case null -> fallback;
                case Long number -> number;
                case Boolean flag -> flag ? 1 : 0;
                default -> throw wrongType(index, "an integer");
            };
        }

        boolean truth(int index, boolean fallback) {
            Object value = values[index];
            return value == null ? fallback : Values.truth(value);
        }

        TemplateFault wrongType(int index, String wanted) {
            Object value = required(index);
            if (value instanceof Undefined undefined) {
                return undefined.fault();
            }
            return TemplateFault.evaluation(
                    function + "() needs " + wanted + " as '" + parameters[index] + "', got " + Values.typeName(value));
        }
    }
}
