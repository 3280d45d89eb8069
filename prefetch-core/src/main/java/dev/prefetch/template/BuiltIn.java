package dev.prefetch.template;

/** A built-in function, or a method bound to its object. */
record BuiltIn(String name, Body body) implements CallableValue {

    /** What the function does. */
    interface Body {
        Object call(Evaluator evaluator, Arguments arguments);
    }

    @Override
    public Object call(Evaluator evaluator, Arguments arguments) {
        return body.call(evaluator, arguments);
    }
}
