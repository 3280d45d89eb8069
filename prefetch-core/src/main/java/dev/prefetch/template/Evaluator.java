package dev.prefetch.template;

import dev.prefetch.template.Expression.And;
import dev.prefetch.template.Expression.ArgumentList;
import dev.prefetch.template.Expression.Attribute;
import dev.prefetch.template.Expression.Binary;
import dev.prefetch.template.Expression.BinaryOperator;
import dev.prefetch.template.Expression.Call;
import dev.prefetch.template.Expression.Comparison;
import dev.prefetch.template.Expression.Concat;
import dev.prefetch.template.Expression.Conditional;
import dev.prefetch.template.Expression.DictLiteral;
import dev.prefetch.template.Expression.Filter;
import dev.prefetch.template.Expression.FilterCall;
import dev.prefetch.template.Expression.Keyword;
import dev.prefetch.template.Expression.Link;
import dev.prefetch.template.Expression.ListLiteral;
import dev.prefetch.template.Expression.Literal;
import dev.prefetch.template.Expression.Name;
import dev.prefetch.template.Expression.Not;
import dev.prefetch.template.Expression.Or;
import dev.prefetch.template.Expression.Sign;
import dev.prefetch.template.Expression.Slice;
import dev.prefetch.template.Expression.Subscript;
import dev.prefetch.template.Expression.Test;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/**
 * Evaluates the expressions of one rendering, and knows where it is: {@link #position()} is the operation that is
 * running, so that whatever fails in it can be reported with its place in the template.
 */
final class Evaluator {

    private final Budget budget;
    private final UnaryOperator<String> currentTime;
    private Position position = Position.START;

    /** @param currentTime the present, formatted by a {@code strftime} pattern */
    Evaluator(Budget budget, UnaryOperator<String> currentTime) {
        this.budget = budget;
        this.currentTime = currentTime;
    }

    Budget budget() {
        return budget;
    }

    UnaryOperator<String> currentTime() {
        return currentTime;
    }

    Position position() {
        return position;
    }

    void moveTo(Position at) {
        position = at;
    }

    Object evaluate(Expression expression, Scope scope) {
        budget.step();
        budget.enter();
        Object value = switch (expression) {
            case Literal literal -> literal.value();
            case Name name -> variable(name, scope);
            case Attribute node -> {
                Object target = evaluate(node.target(), scope);
                position = node.at();
                yield Attributes.attribute(target, node.name());
            }
            case Subscript node -> {
                Object target = evaluate(node.target(), scope);
                Object index = evaluate(node.index(), scope);
                position = node.at();
                yield Attributes.subscript(target, index);
            }
            case Slice node -> slice(node, scope);
            case Filter node -> filter(evaluate(node.input(), scope), node.call(), scope);
            case Test node -> test(node, scope);
            case Call node -> call(node, scope, null);
            case Binary node -> binary(node, scope);
            case Concat node -> concat(node, scope);
            case Comparison node -> comparison(node, scope);
            case Not node -> !Values.truth(evaluate(node.operand(), scope));
            case And node -> firstOf(node.operands(), false, scope);
            case Or node -> firstOf(node.operands(), true, scope);
            case Conditional node -> conditional(node, scope);
            case Sign node -> {
                Object operand = evaluate(node.operand(), scope);
                position = node.at();
                yield Operators.sign(operand, node.negative());
            }
            case ListLiteral node -> new ListValue(evaluateAll(node.items(), scope), node.tuple());
            case DictLiteral node -> dict(node, scope);
        };
        budget.leave();
        return value;
    }

    boolean test(Expression expression, Scope scope) {
        return Values.truth(evaluate(expression, scope));
    }

    /** The value as the text that {@code {{ }}} prints. */
    Text print(Object value) {
        return PythonText.print(budget, value);
    }

    private Object variable(Name name, Scope scope) {
        Object value = scope.get(name.id());
        if (value == null) {
            value = Globals.ALL.get(name.id());
        }
        return value == null ? Undefined.name(name.id()) : value;
    }

    /** The first operand of that truth, or the last: {@code and} and {@code or} return operands, not booleans. */
    private Object firstOf(List<Expression> operands, boolean truth, Scope scope) {
        Object value = None.NONE;
        for (Expression operand : operands) {
            value = evaluate(operand, scope);
            if (Values.truth(value) == truth) {
                break;
            }
        }
        return value;
    }

    private Object conditional(Conditional node, Scope scope) {
        if (test(node.test(), scope)) {
            return evaluate(node.then(), scope);
        }
        Expression otherwise = node.otherwise();
        return otherwise == null
                ? new Undefined("the inline if at line " + node.at().line()
                        + " was false and has no 'else', so its value is undefined")
                : evaluate(otherwise, scope);
    }

    /** Walks down the left operands in a loop: a sum of a thousand terms is long, not deep. */
    private Object binary(Binary node, Scope scope) {
        Deque<Binary> chain = new ArrayDeque<>(4);
        Expression first = node;
        while (first instanceof Binary inner) {
            chain.push(inner);
            first = inner.left();
        }
        Object value = evaluate(first, scope);
        TextBuilder sum = null;
        for (Binary step : chain) {
            Object right = evaluate(step.right(), scope);
            position = step.at();
            boolean texts =
                    step.operator() == BinaryOperator.ADD && isPlainText(right) && (sum != null || isPlainText(value));
            if (texts) {
                // Templates add up long texts; one builder for the whole sum instead of a copy for every '+'.
                sum = sum == null ? new TextBuilder(budget).append((Text) value) : sum;
                sum.append((Text) right);
            } else {
                value = Operators.binary(this, step.operator(), sum == null ? value : sum.toText(), right);
                sum = null;
            }
        }
        return sum == null ? value : sum.toText();
    }

    private static boolean isPlainText(Object value) {
        return value instanceof Text text && !text.isMarkup();
    }

    private Object concat(Concat node, Scope scope) {
        TextBuilder joined = new TextBuilder(budget);
        for (Expression part : node.parts()) {
            Object value = evaluate(part, scope);
            position = node.at();
            joined.append(print(value));
        }
        return joined.toText();
    }

    private Object comparison(Comparison node, Scope scope) {
        Object left = evaluate(node.first(), scope);
        for (Link link : node.links()) {
            Object right = evaluate(link.operand(), scope);
            position = link.at();
            if (!Operators.compare(budget, link.operator(), left, right)) {
                return false;
            }
            left = right;
        }
        return true;
    }

    private Object slice(Slice node, Scope scope) {
        Object target = evaluate(node.target(), scope);
        Object start = optional(node.start(), scope);
        Object stop = optional(node.stop(), scope);
        Object step = optional(node.step(), scope);
        position = node.at();
        return Attributes.slice(budget, target, start, stop, step);
    }

    private Object optional(@Nullable Expression expression, Scope scope) {
        return expression == null ? None.NONE : evaluate(expression, scope);
    }

    private Object dict(DictLiteral node, Scope scope) {
        budget.allocateElements(node.keys().size());
        DictValue dict = new DictValue();
        for (int i = 0; i < node.keys().size(); i++) {
            Object key = evaluate(node.keys().get(i), scope);
            Object value = evaluate(node.values().get(i), scope);
            position = node.at();
            dict.put(key, value);
        }
        return dict;
    }

    private List<Object> evaluateAll(List<Expression> expressions, Scope scope) {
        budget.allocateElements(expressions.size());
        List<Object> values = new ArrayList<>(expressions.size());
        for (Expression expression : expressions) {
            values.add(evaluate(expression, scope));
        }
        return values;
    }

    /** @param caller the body of a {@code call} block, passed as the argument of that name */
    Object call(Call node, Scope scope, @Nullable Macro caller) {
        Object callee = evaluate(node.callee(), scope);
        Arguments arguments = arguments(node.arguments(), scope);
        if (caller != null) {
            Map<String, Object> named = new LinkedHashMap<>(arguments.named());
            named.put("caller", caller);
            arguments = new Arguments(arguments.positional(), named);
        }
        position = node.at();
        return switch (callee) {
            case CallableValue callable -> callable.call(this, arguments);
            case Undefined undefined -> throw undefined.fault();
            default -> throw TemplateFault.evaluation("a " + Values.typeName(callee) + " cannot be called");
        };
    }

    Object filter(Object input, FilterCall call, Scope scope) {
        Arguments arguments = arguments(call.arguments(), scope);
        position = call.at();
        return Filters.apply(this, call.name(), input, arguments);
    }

    private Object test(Test node, Scope scope) {
        Object input = evaluate(node.input(), scope);
        Arguments arguments = arguments(node.arguments(), scope);
        position = node.at();
        return Tests.apply(this, node.name(), input, arguments);
    }

    private Arguments arguments(ArgumentList list, Scope scope) {
        if (list == ArgumentList.EMPTY) {
            return Arguments.NONE;
        }
        List<Object> positional = evaluateAll(list.positional(), scope);
        if (list.unpackedList() != null) {
            positional.addAll(Values.toList(evaluate(list.unpackedList(), scope), budget));
        }
        if (list.named().isEmpty() && list.unpackedDict() == null) {
            return new Arguments(positional, Map.of());
        }
        Map<String, Object> named = new LinkedHashMap<>();
        for (Keyword keyword : list.named()) {
            named.put(keyword.name(), evaluate(keyword.value(), scope));
        }
        if (list.unpackedDict() != null) {
            unpackDict(evaluate(list.unpackedDict(), scope), named);
        }
        return new Arguments(positional, named);
    }

    private static void unpackDict(Object value, Map<String, Object> named) {
        if (!(value instanceof DictValue dict)) {
            throw TemplateFault.evaluation("'**' needs a mapping, got " + Values.typeName(value));
        }
        for (Map.Entry<Object, Object> entry : dict.entries()) {
            if (!(entry.getKey() instanceof Text name)) {
                throw TemplateFault.evaluation("'**' needs a mapping whose keys are strings");
            }
            named.put(name.string(), entry.getValue());
        }
    }
}
