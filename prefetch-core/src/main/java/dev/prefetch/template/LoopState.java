package dev.prefetch.template;

import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** The variable {@code loop} inside a {@code for}. */
final class LoopState implements CallableValue {

    private final List<Object> items;
    private final int depth0;
    private final @Nullable Function<Object, Text> recursion;
    private int index0 = -1;
    private @Nullable List<Object> lastChanged;

    /**
     * @param depth0 how many recursive loops are around this one
     * @param recursion renders the loop's body over other items, when the loop is {@code recursive}
     */
    LoopState(List<Object> items, int depth0, @Nullable Function<Object, Text> recursion) {
        this.items = items;
        this.depth0 = depth0;
        this.recursion = recursion;
    }

    void advance() {
        index0++;
    }

    int length() {
        return items.size();
    }

    /** An attribute, or {@code null} if there is none of that name. */
    @Nullable
    Object attribute(String name) {
        return switch (name) {
            case "index" -> index0 + 1L;
            case "index0" -> (long) index0;
            case "revindex" -> (long) items.size() - index0;
            case "revindex0" -> items.size() - index0 - 1L;
            case "first" -> index0 == 0;
            case "last" -> index0 == items.size() - 1;
            case "length" -> (long) items.size();
            case "depth" -> depth0 + 1L;
            case "depth0" -> (long) depth0;
            case "previtem" ->
                index0 > 0 ? items.get(index0 - 1) : new Undefined("there is no previous item in this loop");
            case "nextitem" ->
                index0 + 1 < items.size() ? items.get(index0 + 1) : new Undefined("there is no next item in this loop");
            case "cycle" -> new BuiltIn("cycle", (evaluator, arguments) -> cycle(arguments));
            case "changed" -> new BuiltIn("changed", this::changed);
            default -> null;
        };
    }

    private Object cycle(Arguments arguments) {
        List<Object> values = arguments.positional();
        if (values.isEmpty()) {
            throw TemplateFault.evaluation("loop.cycle() needs at least one value");
        }
        return values.get(index0 % values.size());
    }

    private Object changed(Evaluator evaluator, Arguments arguments) {
        List<Object> before = lastChanged;
        lastChanged = arguments.positional();
        return before == null
                || !Operators.equal(evaluator.budget(), ListValue.list(before), ListValue.list(arguments.positional()));
    }

    @Override
    public String name() {
        return "loop";
    }

    @Override
    public Object call(Evaluator evaluator, Arguments arguments) {
        if (recursion == null) {
            throw TemplateFault.evaluation("loop() can only be called in a loop marked 'recursive'");
        }
        return recursion.apply(arguments.bind("loop", "items").required(0));
    }
}
