package dev.prefetch.template;

import dev.prefetch.template.Statement.Signature;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** A macro, or the body of a {@code call} block, with the scope it was defined in. */
record Macro(Renderer renderer, Signature signature, List<Statement> body, Scope definedIn) implements CallableValue {

    @Override
    public String name() {
        return signature.name();
    }

    @Override
    public Object call(Evaluator evaluator, Arguments arguments) {
        Scope scope = new Scope(definedIn);
        Map<String, Object> named = new HashMap<>(arguments.named());
        bindParameters(evaluator, arguments.positional(), named, scope);
        bindSurplus(arguments.positional(), named, scope);
        return renderer.capture(body, scope);
    }

    private void bindParameters(Evaluator evaluator, List<Object> positional, Map<String, Object> named, Scope scope) {
        List<String> parameters = signature.parameters();
        int firstDefault = parameters.size() - signature.defaults().size();
        for (int i = 0; i < parameters.size(); i++) {
            String parameter = parameters.get(i);
            Object value = i < positional.size() ? positional.get(i) : named.remove(parameter);
            if (value == null) {
                // Defaults see the parameters before them.
                value = i >= firstDefault
                        ? evaluator.evaluate(signature.defaults().get(i - firstDefault), scope)
                        : new Undefined("parameter '" + parameter + "' was not provided");
            }
            scope.set(parameter, value);
        }
    }

    private void bindSurplus(List<Object> positional, Map<String, Object> named, Scope scope) {
        int parameters = signature.parameters().size();
        if (signature.usesCaller() && !signature.parameters().contains("caller")) {
            @Nullable Object caller = named.remove("caller");
            scope.set("caller", caller == null ? new Undefined("no caller is defined") : caller);
        }
        if (signature.usesVarargs()) {
            List<Object> surplus =
                    positional.size() > parameters ? positional.subList(parameters, positional.size()) : List.of();
            scope.set("varargs", new ListValue(surplus, true));
        } else if (positional.size() > parameters) {
            throw TemplateFault.evaluation(
                    "macro '" + name() + "' takes at most " + parameters + " argument(s), got " + positional.size());
        }
        if (signature.usesKwargs()) {
            DictValue kwargs = new DictValue();
            named.forEach((key, value) -> kwargs.put(Text.of(key), value));
            scope.set("kwargs", kwargs);
        } else if (!named.isEmpty()) {
            throw TemplateFault.evaluation("macro '" + name() + "' has no parameter '"
                    + named.keySet().iterator().next() + "'");
        }
    }

    // Identity: the generated methods would walk the syntax tree.
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
        return "macro " + name();
    }
}
