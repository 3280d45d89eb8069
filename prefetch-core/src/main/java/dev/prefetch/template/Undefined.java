package dev.prefetch.template;

/**
 * The value of a name or attribute that does not exist. It prints as nothing, is false and empty; every other use fails
 * with its message. All are equal.
 *
 * @param message why it is undefined
 */
record Undefined(String message) {

    static Undefined name(String name) {
        return new Undefined("'" + name + "' is undefined");
    }

    static Undefined attribute(Object owner, String name) {
        return new Undefined("'" + describe(owner) + "' has no attribute '" + name + "'");
    }

    static Undefined element(Object owner, Object index) {
        return index instanceof Text name
                ? attribute(owner, name.string())
                : new Undefined(describe(owner) + " has no element " + index);
    }

    TemplateFault fault() {
        return TemplateFault.evaluation(message);
    }

    private static String describe(Object owner) {
        return owner == None.NONE ? "None" : Values.typeName(owner) + " object";
    }
}
