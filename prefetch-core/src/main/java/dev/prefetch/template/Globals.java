package dev.prefetch.template;

import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;

/** The global functions; variables of the same name come first. */
final class Globals {

    static final Map<String, Object> ALL = Map.of(
            "range", new BuiltIn("range", Globals::range),
            "dict", new BuiltIn("dict", Globals::dict),
            "namespace", new BuiltIn("namespace", Globals::namespace),
            "joiner", new BuiltIn("joiner", Globals::joiner),
            "cycler", new BuiltIn("cycler", (evaluator, arguments) -> new Cycler(arguments.positional())),
            "raise_exception", new BuiltIn("raise_exception", Globals::raiseException),
            "strftime_now", new BuiltIn("strftime_now", Globals::strftimeNow));

    private static final int MAX_TIME_FORMAT_CHARS = 1000;

    private Globals() {}

    private static Object range(Evaluator evaluator, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("range", "start", "stop", "step");
        bound.required(0);
        boolean onlyStop = !bound.has(1);
        return RangeValue.of(
                onlyStop ? 0 : bound.integer(0, 0),
                onlyStop ? bound.integer(0, 0) : bound.integer(1, 0),
                bound.integer(2, 1),
                evaluator.budget().limits().maxRangeItems());
    }

    private static Object dict(Evaluator evaluator, Arguments arguments) {
        Budget budget = evaluator.budget();
        DictValue dict = new DictValue();
        Arguments mapping = new Arguments(arguments.positional(), Map.of());
        Object source = mapping.bind("dict", "mapping").get(0, ListValue.list(List.of()));
        List<Object> entries = source instanceof DictValue other
                ? SequenceFilters.pairs(budget, other)
                : Values.toList(source, budget);
        for (Object entry : entries) {
            List<Object> pair = Values.toList(entry, budget);
            if (pair.size() != 2) {
                throw TemplateFault.evaluation("dict() needs a mapping or pairs");
            }
            dict.put(pair.get(0), pair.get(1));
        }
        arguments.named().forEach((name, value) -> dict.put(Text.of(name), value));
        return dict;
    }

    private static Object namespace(Evaluator evaluator, Arguments arguments) {
        Namespace namespace = new Namespace();
        DictValue attributes = (DictValue) dict(evaluator, arguments);
        for (Map.Entry<Object, Object> entry : attributes.entries()) {
            if (!(entry.getKey() instanceof Text name)) {
                throw TemplateFault.evaluation("the attributes of a namespace() need strings as names");
            }
            namespace.attributes().put(name.string(), entry.getValue());
        }
        return namespace;
    }

    private static Object joiner(Evaluator evaluator, Arguments arguments) {
        Text separator = evaluator.print(arguments.bind("joiner", "sep").get(0, Text.of(", ")));
        AtomicBoolean used = new AtomicBoolean();
        return new BuiltIn("joiner", (e, a) -> used.getAndSet(true) ? separator : Text.EMPTY);
    }

    private static Object raiseException(Evaluator evaluator, Arguments arguments) {
        Object message = arguments.bind("raise_exception", "message").required(0);
        throw TemplateFault.raised(evaluator.print(message).string());
    }

    private static Object strftimeNow(Evaluator evaluator, Arguments arguments) {
        Text format = arguments.bind("strftime_now", "format").text(0);
        if (format.units() > MAX_TIME_FORMAT_CHARS) {
            throw TemplateFault.limit(
                    "the format of strftime_now() exceeds the limit of " + MAX_TIME_FORMAT_CHARS + " characters");
        }
        return Text.of(evaluator.currentTime().apply(format.string()));
    }
}
