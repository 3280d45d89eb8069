package dev.prefetch.template;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/** Filters over sequences and mappings that keep the order. */
final class SequenceFilters {

    private SequenceFilters() {}

    static Object length(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("length");
        int length = Values.length(value);
        if (length < 0) {
            throw TemplateFault.evaluation("a " + Values.typeName(value) + " has no length"
                    + (value instanceof Generator ? "; use the filter 'list' first" : ""));
        }
        return (long) length;
    }

    static Object defaultValue(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("default", "default_value", "boolean");
        boolean replaced = value instanceof Undefined || (bound.truth(1, false) && !Values.truth(value));
        return replaced ? bound.get(0, Text.EMPTY) : value;
    }

    static Object first(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("first");
        Iterator<Object> items = Values.iterate(value);
        return items.hasNext() ? items.next() : new Undefined("there is no first item, the sequence is empty");
    }

    static Object last(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("last");
        if (value instanceof Generator) {
            throw TemplateFault.evaluation("a generator has no last item; use the filter 'list' first");
        }
        if (value instanceof Text || value instanceof ListValue || value instanceof RangeValue) {
            Object item = Attributes.subscript(value, -1L);
            return item instanceof Undefined ? new Undefined("there is no last item, the sequence is empty") : item;
        }
        List<Object> items = Values.toList(value, evaluator.budget());
        return items.isEmpty() ? new Undefined("there is no last item, the sequence is empty") : items.getLast();
    }

    static Object list(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("list");
        return ListValue.list(Values.toList(value, evaluator.budget()));
    }

    static Object items(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("items");
        if (value instanceof Undefined) {
            return new Generator(List.of());
        }
        if (value instanceof DictValue dict) {
            return new Generator(new DictView(DictView.Kind.ITEMS, dict));
        }
        throw TemplateFault.evaluation("items() needs a mapping, got a " + Values.typeName(value));
    }

    static Object reverse(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("reverse");
        if (value instanceof Text text) {
            return Attributes.slice(evaluator.budget(), text, None.NONE, None.NONE, -1L);
        }
        List<Object> items = Values.toList(value, evaluator.budget());
        Collections.reverse(items);
        return new Generator(items);
    }

    static Object join(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("join", "d", "attribute");
        Text separator = evaluator.print(bound.get(0, Text.EMPTY));
        Function<Object, Object> attribute = attributeGetter(evaluator, bound.get(1, None.NONE), null);
        TextBuilder out = new TextBuilder(evaluator.budget());
        boolean first = true;
        for (Iterator<Object> items = Values.iterate(value); items.hasNext(); ) {
            evaluator.budget().step();
            if (!first) {
                out.append(separator);
            }
            out.append(evaluator.print(attribute.apply(items.next())));
            first = false;
        }
        return out.toText();
    }

    static Object map(Evaluator evaluator, Object value, Arguments arguments) {
        Function<Object, Object> function;
        if (arguments.positional().isEmpty()) {
            Arguments.Bound bound = arguments.bind("map", "filter", "attribute", "default");
            if (!bound.has(1)) {
                throw TemplateFault.evaluation("map() needs the name of a filter, or 'attribute'");
            }
            function = attributeGetter(evaluator, bound.required(1), bound.hasValue(2) ? bound.required(2) : null);
        } else {
            String filter = name("map", arguments.positional().getFirst());
            Arguments rest = arguments.withoutFirst();
            function = item -> Filters.apply(evaluator, filter, item, rest);
        }
        List<Object> mapped = new ArrayList<>();
        for (Iterator<Object> items = iterateUnlessFalse(value); items.hasNext(); ) {
            evaluator.budget().allocateElements(1);
            mapped.add(function.apply(items.next()));
        }
        return new Generator(mapped);
    }

    /** The four filters {@code select}, {@code reject}, {@code selectattr} and {@code rejectattr}. */
    static Object select(
            String filter, Evaluator evaluator, Object value, Arguments arguments, boolean byAttribute, boolean keep) {
        Arguments rest = arguments;
        Function<Object, Object> tested = Function.identity();
        if (byAttribute) {
            if (rest.positional().isEmpty()) {
                throw TemplateFault.evaluation(filter + "() needs the name of an attribute");
            }
            tested = attributeGetter(evaluator, rest.positional().getFirst(), null);
            rest = rest.withoutFirst();
        }
        Predicate<Object> test = Values::truth;
        if (!rest.positional().isEmpty()) {
            String name = name(filter, rest.positional().getFirst());
            Arguments testArguments = rest.withoutFirst();
            test = item -> Tests.apply(evaluator, name, item, testArguments);
        }
        List<Object> selected = new ArrayList<>();
        for (Iterator<Object> items = iterateUnlessFalse(value); items.hasNext(); ) {
            evaluator.budget().allocateElements(1);
            Object item = items.next();
            if (test.test(tested.apply(item)) == keep) {
                selected.add(item);
            }
        }
        return new Generator(selected);
    }

    /** {@code none | select(...)} is empty: these filters look at the truth of their input first. */
    private static Iterator<Object> iterateUnlessFalse(Object value) {
        return Values.truth(value) ? Values.iterate(value) : Collections.emptyIterator();
    }

    private static String name(String filter, Object value) {
        if (value instanceof Text text) {
            return text.string();
        }
        throw TemplateFault.evaluation(filter + "() needs a name, got a " + Values.typeName(value));
    }

    /**
     * Reads an attribute path such as {@code function.name} or {@code 0} from its argument; the identity for none.
     *
     * @param fallback what stands for an undefined part
     */
    static Function<Object, Object> attributeGetter(Evaluator evaluator, Object attribute, @Nullable Object fallback) {
        if (attribute == None.NONE) {
            return Function.identity();
        }
        List<Object> path = new ArrayList<>();
        if (attribute instanceof Text text) {
            for (String part : text.string().split("\\.", -1)) {
                boolean number =
                        !part.isEmpty() && part.length() < 10 && part.chars().allMatch(c -> c >= '0' && c <= '9');
                path.add(number ? (Object) Long.valueOf(part) : Text.of(part));
            }
        } else {
            path.add(attribute);
        }
        return item -> {
            Object value = item;
            for (Object part : path) {
                evaluator.budget().step();
                value = Attributes.subscript(value, part);
                if (fallback != null && value instanceof Undefined) {
                    value = fallback;
                }
            }
            return value;
        };
    }

    static Object attr(Evaluator evaluator, Object value, Arguments arguments) {
        String name = arguments.bind("attr", "name").text(0).string();
        // Unlike a dot, this filter does not look at the keys of a mapping.
        return value instanceof DictValue ? Undefined.attribute(value, name) : Attributes.attribute(value, name);
    }

    static Object sum(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("sum", "attribute", "start");
        Function<Object, Object> attribute = attributeGetter(evaluator, bound.get(0, None.NONE), null);
        Object sum = bound.get(1, 0L);
        for (Iterator<Object> items = Values.iterate(value); items.hasNext(); ) {
            evaluator.budget().step();
            Object item = attribute.apply(items.next());
            sum = Operators.binary(evaluator, Expression.BinaryOperator.ADD, sum, item);
        }
        return sum;
    }

    static Object batch(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("batch", "linecount", "fill_with");
        long size = bound.integer(0, 0);
        if (size < 1) {
            throw TemplateFault.evaluation("batch() needs a size of at least 1");
        }
        List<Object> batches = new ArrayList<>();
        List<Object> batch = new ArrayList<>();
        for (Object item : Values.toList(value, evaluator.budget())) {
            if (batch.size() == size) {
                batches.add(ListValue.list(batch));
                batch = new ArrayList<>();
            }
            batch.add(item);
        }
        if (!batch.isEmpty()) {
            if (bound.hasValue(1)) {
                fill(evaluator.budget(), batch, size - batch.size(), bound.required(1));
            }
            batches.add(ListValue.list(batch));
        }
        return new Generator(batches);
    }

    static Object slice(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("slice", "slices", "fill_with");
        long count = bound.integer(0, 0);
        if (count < 1) {
            throw TemplateFault.evaluation("slice() needs at least 1 slice");
        }
        Budget budget = evaluator.budget();
        budget.allocateElements(count);
        List<Object> items = Values.toList(value, budget);
        int perSlice = (int) (items.size() / count);
        long withExtra = items.size() % count;
        List<Object> slices = new ArrayList<>();
        int from = 0;
        for (long i = 0; i < count; i++) {
            int to = from + perSlice + (i < withExtra ? 1 : 0);
            List<Object> slice = new ArrayList<>(items.subList(from, to));
            if (bound.hasValue(1) && i >= withExtra) {
                slice.add(bound.required(1));
            }
            slices.add(ListValue.list(slice));
            from = to;
        }
        return new Generator(slices);
    }

    private static void fill(Budget budget, List<Object> list, long count, Object value) {
        budget.allocateElements(count);
        for (long i = 0; i < count; i++) {
            list.add(value);
        }
    }

    /** Entries as pairs, for the filters that sort mappings. */
    static List<Object> pairs(Budget budget, DictValue dict) {
        budget.allocateElements(dict.size());
        List<Object> pairs = new ArrayList<>(dict.size());
        for (Map.Entry<Object, Object> entry : dict.entries()) {
            pairs.add(ListValue.pair(entry.getKey(), entry.getValue()));
        }
        return pairs;
    }
}
