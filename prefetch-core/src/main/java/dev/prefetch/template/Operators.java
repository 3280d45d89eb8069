package dev.prefetch.template;

import dev.prefetch.template.Expression.BinaryOperator;
import dev.prefetch.template.Expression.ComparisonOperator;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The operators, with Python's rules. Marks of strings are kept by arithmetic and ignored by comparisons. */
final class Operators {

    private Operators() {}

    static Object binary(Evaluator evaluator, BinaryOperator operator, Object left, Object right) {
        requireDefined(left);
        requireDefined(right);
        Number a = number(left);
        Number b = number(right);
        if (a != null && b != null) {
            return Arithmetic.apply(operator, a, b);
        }
        Object result = switch (operator) {
            case ADD -> add(evaluator.budget(), left, right);
            case MULTIPLY -> multiply(evaluator.budget(), left, right);
            case MODULO -> left instanceof Text format ? PercentFormat.format(evaluator, format, right) : null;
            default -> null;
        };
        if (result == null) {
            throw TemplateFault.evaluation("'" + operator.symbol + "' is not defined for " + Values.typeName(left)
                    + " and " + Values.typeName(right)
                    + (operator == BinaryOperator.ADD && (left instanceof Text || right instanceof Text)
                            ? "; use '~' or the filter 'string' to join text with other values"
                            : ""));
        }
        return result;
    }

    private static @Nullable Object add(Budget budget, Object left, Object right) {
        if (left instanceof Text a && right instanceof Text b) {
            return concat(budget, a, b);
        }
        if (left instanceof ListValue a && right instanceof ListValue b && a.tuple() == b.tuple()) {
            budget.allocateElements((long) a.size() + b.size());
            List<Object> items = new ArrayList<>(a.size() + b.size());
            items.addAll(a.items());
            items.addAll(b.items());
            return new ListValue(items, a.tuple());
        }
        return null;
    }

    private static Text concat(Budget budget, Text a, Text b) {
        boolean markup = a.isMarkup() || b.isMarkup();
        Text left = markup && !a.isMarkup() ? StringFilters.escape(budget, a) : a;
        Text right = markup && !b.isMarkup() ? StringFilters.escape(budget, b) : b;
        if (left.isEmpty() || right.isEmpty()) {
            return (left.isEmpty() ? right : left).withMarkup(markup);
        }
        return new TextBuilder(budget).append(left).append(right).toText().withMarkup(markup);
    }

    private static @Nullable Object multiply(Budget budget, Object left, Object right) {
        if (number(right) instanceof Long times) {
            return repeat(budget, left, times);
        }
        return number(left) instanceof Long times ? repeat(budget, right, times) : null;
    }

    private static @Nullable Object repeat(Budget budget, Object value, long times) {
        if (value instanceof Text text) {
            return new TextBuilder(budget).repeat(text, times).toText().withMarkup(text.isMarkup());
        }
        if (value instanceof ListValue list) {
            long size = Math.max(0, times) * (double) list.size() > Integer.MAX_VALUE
                    ? Integer.MAX_VALUE
                    : Math.max(0, times) * list.size();
            budget.allocateElements(size);
            List<Object> items = new ArrayList<>((int) size);
            for (long i = 0; i < times && list.size() > 0; i++) {
                items.addAll(list.items());
            }
            return new ListValue(items, list.tuple());
        }
        return null;
    }

    static Object sign(Object value, boolean negative) {
        requireDefined(value);
        Number number = number(value);
        if (number == null) {
            throw TemplateFault.evaluation("a " + Values.typeName(value) + " has no sign");
        }
        if (!negative) {
            return number;
        }
        return number instanceof Double d ? (Object) (-d) : Arithmetic.apply(BinaryOperator.SUBTRACT, 0L, number);
    }

    static boolean compare(Budget budget, ComparisonOperator operator, Object left, Object right) {
        return switch (operator) {
            case EQUAL -> equal(budget, left, right);
            case NOT_EQUAL -> !equal(budget, left, right);
            case IN -> contains(budget, right, left);
            case NOT_IN -> !contains(budget, right, left);
            case LESS, LESS_OR_EQUAL, GREATER, GREATER_OR_EQUAL -> {
                if (left instanceof Double || right instanceof Double) {
                    Boolean ordered = compareDoubles(operator, left, right);
                    if (ordered != null) {
                        yield ordered;
                    }
                }
                int order = order(budget, left, right, operator.symbol);
                yield switch (operator) {
                    case LESS -> order < 0;
                    case LESS_OR_EQUAL -> order <= 0;
                    case GREATER -> order > 0;
                    default -> order >= 0;
                };
            }
        };
    }

    /** Apart from {@link #order}, because every comparison with NaN is false. */
    private static @Nullable Boolean compareDoubles(ComparisonOperator operator, Object left, Object right) {
        Number a = number(left);
        Number b = number(right);
        if (a == null || b == null) {
            return null;
        }
        double x = a.doubleValue();
        double y = b.doubleValue();
        return switch (operator) {
            case LESS -> x < y;
            case LESS_OR_EQUAL -> x <= y;
            case GREATER -> x > y;
            default -> x >= y;
        };
    }

    /** Order of two numbers, strings or lists. */
    static int order(Budget budget, Object left, Object right, String symbol) {
        budget.step();
        requireDefined(left);
        requireDefined(right);
        Number a = number(left);
        Number b = number(right);
        if (a != null && b != null) {
            return a instanceof Long x && b instanceof Long y
                    ? Long.compare(x, y)
                    : Double.compare(a.doubleValue(), b.doubleValue());
        }
        if (left instanceof Text x && right instanceof Text y) {
            budget.scan(Math.min(x.units(), y.units()));
            return TextSearch.compareCodePoints(x.string(), y.string());
        }
        if (left instanceof ListValue x && right instanceof ListValue y && x.tuple() == y.tuple()) {
            return orderLists(budget, x, y, symbol);
        }
        throw TemplateFault.evaluation(
                "'" + symbol + "' is not defined for " + Values.typeName(left) + " and " + Values.typeName(right));
    }

    private static int orderLists(Budget budget, ListValue left, ListValue right, String symbol) {
        budget.enter();
        int common = Math.min(left.size(), right.size());
        int order = Integer.compare(left.size(), right.size());
        for (int i = 0; i < common; i++) {
            Object a = left.items().get(i);
            Object b = right.items().get(i);
            if (!equal(budget, a, b)) {
                order = order(budget, a, b, symbol);
                break;
            }
        }
        budget.leave();
        return order;
    }

    static boolean equal(Budget budget, Object left, Object right) {
        if (left == right) {
            return !(left instanceof Double d && d.isNaN());
        }
        budget.step();
        if (left instanceof Text a && right instanceof Text b) {
            if (a.units() == b.units()) {
                budget.scan(a.units());
            }
            return a.equals(b);
        }
        Number a = number(left);
        Number b = number(right);
        if (a != null || b != null) {
            return a != null && b != null && Arithmetic.equal(a, b);
        }
        if (left instanceof ListValue x && right instanceof ListValue y) {
            return x.tuple() == y.tuple() && x.size() == y.size() && equalElements(budget, x, y);
        }
        if (left instanceof DictValue x && right instanceof DictValue y) {
            return x.size() == y.size() && equalEntries(budget, x, y);
        }
        if (left instanceof Undefined) {
            return right instanceof Undefined;
        }
        return left.equals(right);
    }

    private static boolean equalElements(Budget budget, ListValue left, ListValue right) {
        budget.enter();
        boolean equal = true;
        for (int i = 0; equal && i < left.size(); i++) {
            equal = equal(budget, left.items().get(i), right.items().get(i));
        }
        budget.leave();
        return equal;
    }

    private static boolean equalEntries(Budget budget, DictValue left, DictValue right) {
        budget.enter();
        boolean equal = true;
        for (Map.Entry<Object, Object> entry : left.entries()) {
            Object other = right.get(entry.getKey());
            equal = other != null && equal(budget, entry.getValue(), other);
            if (!equal) {
                break;
            }
        }
        budget.leave();
        return equal;
    }

    static boolean contains(Budget budget, Object container, Object value) {
        switch (container) {
            case Text text -> {
                if (value instanceof Text part) {
                    budget.scan(text.units());
                    return TextSearch.indexOf(text.string(), part.string(), 0) >= 0;
                }
                requireDefined(value);
                throw TemplateFault.evaluation(
                        "'in' needs a string on the left of a string, got " + Values.typeName(value));
            }
            case DictValue dict -> {
                return dict.get(value) != null;
            }
            case DictView view
            when view.kind() == DictView.Kind.KEYS -> {
                return view.dict().get(value) != null;
            }
            default -> {
                for (Iterator<Object> items = Values.iterate(container); items.hasNext(); ) {
                    if (equal(budget, items.next(), value)) {
                        return true;
                    }
                }
                return false;
            }
        }
    }

    /** Numbers, and booleans as 0 and 1; otherwise {@code null}. */
    static @Nullable Number number(Object value) {
        return switch (value) {
            case Long number -> number;
            case Double number -> number;
            case BigInteger number -> number;
            case Boolean flag -> flag ? 1L : 0L;
            default -> null;
        };
    }

    static void requireDefined(Object value) {
        if (value instanceof Undefined undefined) {
            throw undefined.fault();
        }
    }
}
