package dev.prefetch.template;

import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The methods of mappings and lists. Those that would change them are refused, as in the Jinja sandbox. */
final class CollectionMethods {

    private static final Set<String> CHANGES_DICT = Set.of("clear", "pop", "popitem", "setdefault", "update");
    private static final Set<String> CHANGES_LIST =
            Set.of("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort");

    private CollectionMethods() {}

    static @Nullable Object find(DictValue dict, String name) {
        return switch (name) {
            case "get" -> new BuiltIn(name, (evaluator, arguments) -> get(dict, arguments));
            case "items" -> view(name, DictView.Kind.ITEMS, dict);
            case "keys" -> view(name, DictView.Kind.KEYS, dict);
            case "values" -> view(name, DictView.Kind.VALUES, dict);
            case "copy" ->
                new BuiltIn(name, (evaluator, arguments) -> {
                    arguments.bind(name);
                    return dict;
                });
            default -> CHANGES_DICT.contains(name) ? forbidden("mapping", name) : null;
        };
    }

    private static Object get(DictValue dict, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("get", "key", "default");
        Object value = dict.get(bound.required(0));
        return value == null ? bound.get(1, None.NONE) : value;
    }

    private static BuiltIn view(String name, DictView.Kind kind, DictValue dict) {
        return new BuiltIn(name, (evaluator, arguments) -> {
            arguments.bind(name);
            return new DictView(kind, dict);
        });
    }

    static @Nullable Object find(ListValue list, String name) {
        return switch (name) {
            case "index" -> new BuiltIn(name, (evaluator, arguments) -> index(evaluator.budget(), list, arguments));
            case "count" -> new BuiltIn(name, (evaluator, arguments) -> count(evaluator.budget(), list, arguments));
            case "copy" ->
                list.tuple()
                        ? null
                        : new BuiltIn(name, (evaluator, arguments) -> {
                            arguments.bind(name);
                            return list;
                        });
            default -> !list.tuple() && CHANGES_LIST.contains(name) ? forbidden("list", name) : null;
        };
    }

    private static Object index(Budget budget, ListValue list, Arguments arguments) {
        Object wanted = arguments.bind("index", "value").required(0);
        List<Object> items = list.items();
        for (int i = 0; i < items.size(); i++) {
            if (Operators.equal(budget, items.get(i), wanted)) {
                return (long) i;
            }
        }
        throw TemplateFault.evaluation("index(): the value is not in the list");
    }

    private static Object count(Budget budget, ListValue list, Arguments arguments) {
        Object wanted = arguments.bind("count", "value").required(0);
        long count = 0;
        for (Object item : list) {
            if (Operators.equal(budget, item, wanted)) {
                count++;
            }
        }
        return count;
    }

    private static Undefined forbidden(String type, String name) {
        return new Undefined("'" + name + "' would change a " + type
                + ", which templates must not; build a new one, such as 'list + [item]'");
    }
}
