package dev.prefetch.template;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** The statements of the language: text, output and blocks. */
sealed interface Statement {

    Position at();

    record Data(Position at, Text text) implements Statement {}

    record Output(Position at, Expression value) implements Statement {}

    record If(Position at, List<Branch> branches, List<Statement> otherwise) implements Statement {}

    record Branch(Expression test, List<Statement> body) {}

    record For(
            Position at,
            Target target,
            Expression iterable,
            @Nullable Expression filter,
            boolean recursive,
            List<Statement> body,
            List<Statement> otherwise)
            implements Statement {}

    record Assign(Position at, Target target, Expression value) implements Statement {}

    /** {@code {% set x | filter %}...{% endset %}}. */
    record AssignBlock(Position at, Target target, List<Expression.FilterCall> filters, List<Statement> body)
            implements Statement {}

    record With(Position at, List<Target> targets, List<Expression> values, List<Statement> body)
            implements Statement {}

    record MacroDefinition(Position at, Signature signature, List<Statement> body) implements Statement {}

    /** {@code {% call(x) f() %}...{% endcall %}}: f gets the body as the macro {@code caller}. */
    record CallBlock(Position at, Signature signature, Expression.Call call, List<Statement> body)
            implements Statement {}

    record FilterBlock(Position at, List<Expression.FilterCall> filters, List<Statement> body) implements Statement {}

    record Break(Position at) implements Statement {}

    record Continue(Position at) implements Statement {}

    /** What can be assigned to. */
    sealed interface Target {

        Position at();

        record Variable(Position at, String name) implements Target {}

        /** An attribute of a {@code namespace()}. */
        record Member(Position at, String namespace, String attribute) implements Target {}

        record Unpacking(Position at, List<Target> targets) implements Target {}
    }

    /**
     * A macro's parameters; the last {@code defaults.size()} have defaults. The flags say which of the special names
     * {@code varargs}, {@code kwargs} and {@code caller} the body uses: a macro accepts surplus arguments only then.
     */
    record Signature(
            String name,
            List<String> parameters,
            List<Expression> defaults,
            boolean usesVarargs,
            boolean usesKwargs,
            boolean usesCaller) {}
}
