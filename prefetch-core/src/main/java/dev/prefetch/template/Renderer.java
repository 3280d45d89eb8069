package dev.prefetch.template;

import dev.prefetch.template.Expression.FilterCall;
import dev.prefetch.template.Statement.Assign;
import dev.prefetch.template.Statement.AssignBlock;
import dev.prefetch.template.Statement.Branch;
import dev.prefetch.template.Statement.Break;
import dev.prefetch.template.Statement.CallBlock;
import dev.prefetch.template.Statement.Continue;
import dev.prefetch.template.Statement.Data;
import dev.prefetch.template.Statement.FilterBlock;
import dev.prefetch.template.Statement.For;
import dev.prefetch.template.Statement.If;
import dev.prefetch.template.Statement.MacroDefinition;
import dev.prefetch.template.Statement.Output;
import dev.prefetch.template.Statement.Target;
import dev.prefetch.template.Statement.With;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.function.Function;

/** Executes the statements of one rendering. */
final class Renderer {

    private enum Flow {
        NORMAL,
        BREAK,
        CONTINUE
    }

    private final Evaluator evaluator;
    private final Budget budget;

    Renderer(Evaluator evaluator) {
        this.evaluator = evaluator;
        this.budget = evaluator.budget();
    }

    /** What the statements print. */
    Text capture(List<Statement> body, Scope scope) {
        TextBuilder out = new TextBuilder(budget);
        execute(body, scope, out);
        return out.toText();
    }

    private Flow execute(List<Statement> body, Scope scope, TextBuilder out) {
        budget.enter();
        Flow flow = Flow.NORMAL;
        for (Statement statement : body) {
            flow = execute(statement, scope, out);
            if (flow != Flow.NORMAL) {
                break;
            }
        }
        budget.leave();
        return flow;
    }

    private Flow execute(Statement statement, Scope scope, TextBuilder out) {
        budget.step();
        switch (statement) {
            case Data data -> out.append(data.text());
            case Output output -> {
                Object value = evaluator.evaluate(output.value(), scope);
                evaluator.moveTo(output.at());
                out.append(evaluator.print(value));
            }
            case If node -> {
                return executeIf(node, scope, out);
            }
            case For node -> executeFor(node, scope, out);
            case Assign node -> assign(node.target(), evaluator.evaluate(node.value(), scope), scope);
            case AssignBlock node -> {
                Object value = applyFilters(capture(node.body(), new Scope(scope)), node.filters(), scope);
                assign(node.target(), value, scope);
            }
            case MacroDefinition node ->
                scope.set(node.signature().name(), new Macro(this, node.signature(), node.body(), scope));
            case CallBlock node -> {
                Macro caller = new Macro(this, node.signature(), node.body(), scope);
                Object value = evaluator.call(node.call(), scope, caller);
                out.append(evaluator.print(value));
            }
            case FilterBlock node -> {
                Object value = applyFilters(capture(node.body(), new Scope(scope)), node.filters(), scope);
                out.append(evaluator.print(value));
            }
            case With node -> {
                return executeWith(node, scope, out);
            }
            case Break _ -> {
                return Flow.BREAK;
            }
            case Continue _ -> {
                return Flow.CONTINUE;
            }
        }
        return Flow.NORMAL;
    }

    private Flow executeIf(If node, Scope scope, TextBuilder out) {
        for (Branch branch : node.branches()) {
            if (evaluator.test(branch.test(), scope)) {
                return execute(branch.body(), scope, out);
            }
        }
        return execute(node.otherwise(), scope, out);
    }

    private Flow executeWith(With node, Scope scope, TextBuilder out) {
        // All values are evaluated outside: {% with a = 1, b = a %} reads the outer a.
        List<Object> values = new ArrayList<>(node.values().size());
        for (Expression value : node.values()) {
            values.add(evaluator.evaluate(value, scope));
        }
        Scope inner = new Scope(scope);
        for (int i = 0; i < values.size(); i++) {
            assign(node.targets().get(i), values.get(i), inner);
        }
        return execute(node.body(), inner, out);
    }

    private void executeFor(For node, Scope scope, TextBuilder out) {
        Object iterable = evaluator.evaluate(node.iterable(), scope);
        evaluator.moveTo(node.at());
        runLoop(node, iterable, scope, 0, out);
    }

    private void runLoop(For node, Object iterable, Scope scope, int depth0, TextBuilder out) {
        List<Object> items = loopItems(node, iterable, scope);
        Function<Object, Text> recursion = inner -> {
            TextBuilder nested = new TextBuilder(budget);
            budget.enter();
            runLoop(node, inner, scope, depth0 + 1, nested);
            budget.leave();
            return nested.toText();
        };
        LoopState loop = new LoopState(items, depth0, node.recursive() ? recursion : null);
        boolean completedOne = false;
        for (Object item : items) {
            budget.step();
            loop.advance();
            Scope inner = new Scope(scope);
            inner.set("loop", loop);
            assign(node.target(), item, inner);
            Flow flow = execute(node.body(), inner, out);
            if (flow == Flow.BREAK) {
                break;
            }
            completedOne |= flow == Flow.NORMAL;
        }
        if (!completedOne) {
            // Jinja runs 'else' unless one pass reached the end of the body, not only when there are no items.
            execute(node.otherwise(), new Scope(scope), out);
        }
    }

    private List<Object> loopItems(For node, Object iterable, Scope scope) {
        if (node.filter() == null) {
            return switch (iterable) {
                case ListValue list -> list.items();
                case RangeValue range -> range.asList();
                default -> Values.toList(iterable, budget);
            };
        }
        List<Object> items = new ArrayList<>();
        for (Iterator<Object> all = Values.iterate(iterable); all.hasNext(); ) {
            Object item = all.next();
            budget.allocateElements(1);
            Scope inner = new Scope(scope);
            assign(node.target(), item, inner);
            if (evaluator.test(node.filter(), inner)) {
                items.add(item);
            }
        }
        return items;
    }

    private Object applyFilters(Text text, List<FilterCall> filters, Scope scope) {
        Object value = text;
        for (FilterCall filter : filters) {
            value = evaluator.filter(value, filter, scope);
        }
        return value;
    }

    private void assign(Target target, Object value, Scope scope) {
        switch (target) {
            case Target.Variable variable -> scope.set(variable.name(), value);
            case Target.Member member -> {
                evaluator.moveTo(member.at());
                if (!(scope.get(member.namespace()) instanceof Namespace namespace)) {
                    throw TemplateFault.evaluation(
                            "cannot set an attribute of '" + member.namespace() + "', which is not a namespace()");
                }
                namespace.attributes().put(member.attribute(), value);
            }
            case Target.Unpacking unpacking -> {
                evaluator.moveTo(unpacking.at());
                List<Target> targets = unpacking.targets();
                List<Object> values = Values.toList(value, budget);
                if (values.size() != targets.size()) {
                    throw TemplateFault.evaluation(
                            "cannot unpack " + values.size() + " value(s) into " + targets.size() + " variables");
                }
                for (int i = 0; i < targets.size(); i++) {
                    assign(targets.get(i), values.get(i), scope);
                }
            }
        }
    }
}
