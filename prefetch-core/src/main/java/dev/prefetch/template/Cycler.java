package dev.prefetch.template;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** The global {@code cycler(a, b)}: {@code next()} returns its values in turn. */
final class Cycler {

    private final List<Object> values;
    private int index;

    Cycler(List<Object> values) {
        if (values.isEmpty()) {
            throw TemplateFault.evaluation("cycler() needs at least one value");
        }
        this.values = values;
    }

    @Nullable
    Object attribute(String name) {
        return switch (name) {
            case "current" -> values.get(index);
            case "next" -> new BuiltIn("next", (evaluator, arguments) -> next());
            case "reset" ->
                new BuiltIn("reset", (evaluator, arguments) -> {
                    index = 0;
                    return None.NONE;
                });
            default -> null;
        };
    }

    private Object next() {
        Object value = values.get(index);
        index = (index + 1) % values.size();
        return value;
    }
}
