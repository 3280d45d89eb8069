package dev.prefetch.template;

/** A value that can be called: a macro, a method bound to its string or mapping, a global function. */
interface CallableValue {

    /** For error messages. */
    String name();

    Object call(Evaluator evaluator, Arguments arguments);
}
