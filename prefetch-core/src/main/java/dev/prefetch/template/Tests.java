package dev.prefetch.template;

import dev.prefetch.template.Expression.BinaryOperator;
import dev.prefetch.template.Expression.ComparisonOperator;
import java.math.BigInteger;
import java.util.Map;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/** The tests by name: {@code value is name(arguments)}. */
final class Tests {

    private interface Test {
        boolean apply(Evaluator evaluator, Object value, Arguments arguments);
    }

    private static final Map<String, Test> ALL = Map.ofEntries(
            simple("defined", v -> !(v instanceof Undefined)),
            simple("undefined", v -> v instanceof Undefined),
            simple("none", v -> v == None.NONE),
            simple("boolean", v -> v instanceof Boolean),
            simple("true", v -> v.equals(true)),
            simple("false", v -> v.equals(false)),
            simple("string", v -> v instanceof Text),
            simple("mapping", v -> v instanceof DictValue),
            simple("iterable", Values::isIterable),
            simple("sequence", Tests::isSequence),
            simple("callable", v -> v instanceof CallableValue),
            simple("number", v -> v instanceof Number || v instanceof Boolean),
            simple("integer", v -> v instanceof Long || v instanceof BigInteger),
            simple("float", v -> v instanceof Double),
            simple("escaped", v -> v instanceof Text text && text.isMarkup()),
            Map.entry("lower", (e, v, a) -> none("lower", a, StringMethods.isCased(e.print(v), false))),
            Map.entry("upper", (e, v, a) -> none("upper", a, StringMethods.isCased(e.print(v), true))),
            Map.entry("odd", (e, v, a) -> none("odd", a, remainder(e, v, 2L).equals(1L))),
            Map.entry("even", (e, v, a) -> none("even", a, remainder(e, v, 2L).equals(0L))),
            Map.entry(
                    "divisibleby",
                    (e, v, a) -> !Values.truth(
                            remainder(e, v, a.bind("divisibleby", "num").required(0)))),
            Map.entry("sameas", (e, v, a) -> isSame(v, a.bind("sameas", "other").required(0))),
            Map.entry("filter", (e, v, a) -> none("filter", a, v instanceof Text t && Filters.exists(t.string()))),
            Map.entry("test", (e, v, a) -> none("test", a, v instanceof Text t && exists(t.string()))),
            comparison("in", ComparisonOperator.IN),
            comparison("==", ComparisonOperator.EQUAL),
            comparison("eq", ComparisonOperator.EQUAL),
            comparison("equalto", ComparisonOperator.EQUAL),
            comparison("!=", ComparisonOperator.NOT_EQUAL),
            comparison("ne", ComparisonOperator.NOT_EQUAL),
            comparison("<", ComparisonOperator.LESS),
            comparison("lt", ComparisonOperator.LESS),
            comparison("lessthan", ComparisonOperator.LESS),
            comparison("<=", ComparisonOperator.LESS_OR_EQUAL),
            comparison("le", ComparisonOperator.LESS_OR_EQUAL),
            comparison(">", ComparisonOperator.GREATER),
            comparison("gt", ComparisonOperator.GREATER),
            comparison("greaterthan", ComparisonOperator.GREATER),
            comparison(">=", ComparisonOperator.GREATER_OR_EQUAL),
            comparison("ge", ComparisonOperator.GREATER_OR_EQUAL));

    private Tests() {}

    static boolean apply(Evaluator evaluator, String name, Object value, Arguments arguments) {
        @Nullable Test test = ALL.get(name);
        if (test == null) {
            throw TemplateFault.evaluation("there is no test '" + name + "'");
        }
        evaluator.budget().step();
        return test.apply(evaluator, value, arguments);
    }

    private static boolean exists(String name) {
        return ALL.containsKey(name);
    }

    private static Map.Entry<String, Test> simple(String name, Predicate<Object> predicate) {
        return Map.entry(name, (evaluator, value, arguments) -> none(name, arguments, predicate.test(value)));
    }

    private static Map.Entry<String, Test> comparison(String name, ComparisonOperator operator) {
        return Map.entry(
                name,
                (evaluator, value, arguments) -> Operators.compare(
                        evaluator.budget(),
                        operator,
                        value,
                        arguments.bind(name, "other").required(0)));
    }

    private static boolean none(String name, Arguments arguments, boolean result) {
        arguments.bind(name);
        return result;
    }

    private static Object remainder(Evaluator evaluator, Object value, Object divisor) {
        Object remainder =
                value instanceof Text ? None.NONE : Operators.binary(evaluator, BinaryOperator.MODULO, value, divisor);
        if (remainder == None.NONE) {
            throw TemplateFault.evaluation("the test needs a number, got a " + Values.typeName(value));
        }
        // 2.0 is even too.
        return remainder instanceof Double d && d == Math.rint(d) ? (Object) d.longValue() : remainder;
    }

    /** Sized and indexable, in Python's sense; that includes mappings, and undefined. */
    private static boolean isSequence(Object value) {
        return value instanceof ListValue
                || value instanceof Text
                || value instanceof DictValue
                || value instanceof RangeValue
                || value instanceof Undefined;
    }

    private static boolean isSame(Object value, Object other) {
        return value == other
                || (value instanceof Boolean && value.equals(other))
                || (value instanceof Long && value.equals(other));
    }
}
