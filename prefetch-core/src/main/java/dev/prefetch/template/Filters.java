package dev.prefetch.template;

import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The filters by name: {@code value | name(arguments)}. */
final class Filters {

    interface Filter {
        Object apply(Evaluator evaluator, Object value, Arguments arguments);
    }

    private static final Map<String, Filter> ALL = Map.ofEntries(
            // text
            Map.entry("capitalize", StringFilters::capitalize),
            Map.entry("center", StringFilters::center),
            Map.entry("e", StringFilters::escape),
            Map.entry("escape", StringFilters::escape),
            Map.entry("format", StringFilters::format),
            Map.entry("indent", StringFilters::indent),
            Map.entry("lower", StringFilters::lower),
            Map.entry("replace", StringFilters::replace),
            Map.entry("safe", StringFilters::safe),
            Map.entry("string", StringFilters::string),
            Map.entry("title", StringFilters::title),
            Map.entry("tojson", JsonWriter::filter),
            Map.entry("trim", StringFilters::trim),
            Map.entry("truncate", StringFilters::truncate),
            Map.entry("upper", StringFilters::upper),
            Map.entry("wordcount", StringFilters::wordCount),
            // numbers
            Map.entry("abs", NumberFilters::abs),
            Map.entry("float", NumberFilters::toFloat),
            Map.entry("int", NumberFilters::toInt),
            Map.entry("round", NumberFilters::round),
            // sequences and mappings
            Map.entry("attr", SequenceFilters::attr),
            Map.entry("batch", SequenceFilters::batch),
            Map.entry("count", SequenceFilters::length),
            Map.entry("d", SequenceFilters::defaultValue),
            Map.entry("default", SequenceFilters::defaultValue),
            Map.entry("dictsort", SortFilters::dictSort),
            Map.entry("first", SequenceFilters::first),
            Map.entry("groupby", SortFilters::groupBy),
            Map.entry("items", SequenceFilters::items),
            Map.entry("join", SequenceFilters::join),
            Map.entry("last", SequenceFilters::last),
            Map.entry("length", SequenceFilters::length),
            Map.entry("list", SequenceFilters::list),
            Map.entry("map", SequenceFilters::map),
            Map.entry("max", SortFilters::max),
            Map.entry("min", SortFilters::min),
            Map.entry("reject", (e, v, a) -> SequenceFilters.select("reject", e, v, a, false, false)),
            Map.entry("rejectattr", (e, v, a) -> SequenceFilters.select("rejectattr", e, v, a, true, false)),
            Map.entry("reverse", SequenceFilters::reverse),
            Map.entry("select", (e, v, a) -> SequenceFilters.select("select", e, v, a, false, true)),
            Map.entry("selectattr", (e, v, a) -> SequenceFilters.select("selectattr", e, v, a, true, true)),
            Map.entry("slice", SequenceFilters::slice),
            Map.entry("sort", SortFilters::sort),
            Map.entry("sum", SequenceFilters::sum),
            Map.entry("unique", SortFilters::unique));

    private Filters() {}

    static Object apply(Evaluator evaluator, String name, Object value, Arguments arguments) {
        @Nullable Filter filter = ALL.get(name);
        if (filter == null) {
            throw TemplateFault.evaluation("there is no filter '" + name + "'");
        }
        Budget budget = evaluator.budget();
        budget.step();
        budget.enter();
        if (value instanceof Text text) {
            budget.scan(text.units());
        }
        Object result = filter.apply(evaluator, value, arguments);
        if (result instanceof Text text && text != value) {
            budget.allocateString(text.units());
        }
        budget.leave();
        return result;
    }

    static boolean exists(String name) {
        return ALL.containsKey(name);
    }
}
