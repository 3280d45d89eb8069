package dev.prefetch.template;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.function.Function;

/** Filters that compare elements. Strings compare without regard to case unless {@code case_sensitive} is given. */
final class SortFilters {

    private SortFilters() {}

    static Object sort(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("sort", "reverse", "case_sensitive", "attribute");
        Function<Object, Object> key = sortKey(evaluator, bound.get(2, None.NONE), bound.truth(1, false));
        List<Object> items = Values.toList(value, evaluator.budget());
        return ListValue.list(sorted(evaluator, items, key, bound.truth(0, false)));
    }

    /** The key of {@code sort}: several attributes, separated by commas, compare one after the other. */
    private static Function<Object, Object> sortKey(Evaluator evaluator, Object attribute, boolean caseSensitive) {
        List<Function<Object, Object>> getters = new ArrayList<>();
        if (attribute instanceof Text text) {
            for (String part : text.string().split(",", -1)) {
                getters.add(SequenceFilters.attributeGetter(evaluator, Text.of(part), null));
            }
        } else {
            getters.add(SequenceFilters.attributeGetter(evaluator, attribute, null));
        }
        return item -> {
            List<Object> keys = new ArrayList<>(getters.size());
            for (Function<Object, Object> getter : getters) {
                keys.add(caseKey(evaluator, getter.apply(item), caseSensitive));
            }
            return ListValue.list(keys);
        };
    }

    static Object dictSort(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("dictsort", "case_sensitive", "by", "reverse");
        if (!(value instanceof DictValue dict)) {
            Operators.requireDefined(value);
            throw TemplateFault.evaluation("dictsort() needs a mapping, got a " + Values.typeName(value));
        }
        int position = switch (bound.text(1, Text.of("key")).string()) {
            case "key" -> 0;
            case "value" -> 1;
            default -> throw TemplateFault.evaluation("dictsort() sorts by 'key' or by 'value'");
        };
        boolean caseSensitive = bound.truth(0, false);
        Function<Object, Object> key =
                pair -> caseKey(evaluator, ((ListValue) pair).items().get(position), caseSensitive);
        List<Object> pairs = SequenceFilters.pairs(evaluator.budget(), dict);
        return ListValue.list(sorted(evaluator, pairs, key, bound.truth(2, false)));
    }

    static Object groupBy(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("groupby", "attribute", "default", "case_sensitive");
        Budget budget = evaluator.budget();
        Function<Object, Object> getter = SequenceFilters.attributeGetter(
                evaluator, bound.required(0), bound.hasValue(1) ? bound.required(1) : null);
        boolean caseSensitive = bound.truth(2, false);
        Function<Object, Object> key = item -> caseKey(evaluator, getter.apply(item), caseSensitive);
        List<Object> groups = new ArrayList<>();
        List<Object> group = new ArrayList<>();
        for (Object item : sorted(evaluator, Values.toList(value, budget), key, false)) {
            if (!group.isEmpty() && !Operators.equal(budget, key.apply(group.getFirst()), key.apply(item))) {
                groups.add(ListValue.pair(getter.apply(group.getFirst()), ListValue.list(group)));
                group = new ArrayList<>();
            }
            group.add(item);
        }
        if (!group.isEmpty()) {
            groups.add(ListValue.pair(getter.apply(group.getFirst()), ListValue.list(group)));
        }
        return ListValue.list(groups);
    }

    static Object unique(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("unique", "case_sensitive", "attribute");
        Function<Object, Object> attribute = SequenceFilters.attributeGetter(evaluator, bound.get(1, None.NONE), null);
        Set<Object> seen = new HashSet<>();
        List<Object> unique = new ArrayList<>();
        for (Iterator<Object> items = Values.iterate(value); items.hasNext(); ) {
            evaluator.budget().allocateElements(1);
            Object item = items.next();
            Object key = caseKey(evaluator, attribute.apply(item), bound.truth(0, false));
            if (seen.add(DictValue.canonical(key))) {
                unique.add(item);
            }
        }
        return new Generator(unique);
    }

    static Object min(Evaluator evaluator, Object value, Arguments arguments) {
        return extreme("min", evaluator, value, arguments, -1);
    }

    static Object max(Evaluator evaluator, Object value, Arguments arguments) {
        return extreme("max", evaluator, value, arguments, 1);
    }

    private static Object extreme(String filter, Evaluator evaluator, Object value, Arguments arguments, int wanted) {
        Arguments.Bound bound = arguments.bind(filter, "case_sensitive", "attribute");
        Function<Object, Object> attribute = SequenceFilters.attributeGetter(evaluator, bound.get(1, None.NONE), null);
        Iterator<Object> items = Values.iterate(value);
        if (!items.hasNext()) {
            return new Undefined(filter + "() has no result, the sequence is empty");
        }
        Object best = items.next();
        Object bestKey = caseKey(evaluator, attribute.apply(best), bound.truth(0, false));
        while (items.hasNext()) {
            Object item = items.next();
            Object key = caseKey(evaluator, attribute.apply(item), bound.truth(0, false));
            if (Integer.signum(Operators.order(evaluator.budget(), key, bestKey, "<")) == wanted) {
                best = item;
                bestKey = key;
            }
        }
        return best;
    }

    private static Object caseKey(Evaluator evaluator, Object value, boolean caseSensitive) {
        if (caseSensitive || !(value instanceof Text text)) {
            return value;
        }
        evaluator.budget().allocateString(text.units());
        return text.lower();
    }

    private record Keyed(Object key, Object item) {}

    private static List<Object> sorted(
            Evaluator evaluator, List<Object> items, Function<Object, Object> key, boolean reverse) {
        List<Keyed> keyed = new ArrayList<>(items.size());
        for (Object item : items) {
            keyed.add(new Keyed(key.apply(item), item));
        }
        Comparator<Keyed> order = (a, b) -> Operators.order(evaluator.budget(), a.key(), b.key(), "<");
        // Reversed, not read backwards: equal elements keep their order either way.
        keyed.sort(reverse ? order.reversed() : order);
        List<Object> sorted = new ArrayList<>(items.size());
        for (Keyed entry : keyed) {
            sorted.add(entry.item());
        }
        return sorted;
    }
}
