package dev.prefetch.template;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** The expressions of the language. {@link #at()} is where errors are reported: the operator, not the operand. */
sealed interface Expression {

    Position at();

    /** A constant; the value is never changed. */
    record Literal(Position at, Object value) implements Expression {}

    record Name(Position at, String id) implements Expression {}

    record ListLiteral(Position at, List<Expression> items, boolean tuple) implements Expression {}

    record DictLiteral(Position at, List<Expression> keys, List<Expression> values) implements Expression {}

    record Not(Position at, Expression operand) implements Expression {}

    record Sign(Position at, boolean negative, Expression operand) implements Expression {}

    record Binary(Position at, BinaryOperator operator, Expression left, Expression right) implements Expression {}

    /** {@code a ~ b ~ c}: the operands as text, joined. */
    record Concat(Position at, List<Expression> parts) implements Expression {}

    record And(Position at, List<Expression> operands) implements Expression {}

    record Or(Position at, List<Expression> operands) implements Expression {}

    /** {@code a < b <= c}: true if each neighbour pair compares so; evaluation stops at the first that does not. */
    record Comparison(Position at, Expression first, List<Link> links) implements Expression {}

    record Link(Position at, ComparisonOperator operator, Expression operand) {}

    record Conditional(
            Position at,
            Expression test,
            Expression then,
            @Nullable Expression otherwise) implements Expression {}

    record Attribute(Position at, Expression target, String name) implements Expression {}

    record Subscript(Position at, Expression target, Expression index) implements Expression {}

    record Slice(
            Position at,
            Expression target,
            @Nullable Expression start,
            @Nullable Expression stop,
            @Nullable Expression step)
            implements Expression {}

    record Call(Position at, Expression callee, ArgumentList arguments) implements Expression {}

    record Filter(Position at, Expression input, FilterCall call) implements Expression {}

    record Test(Position at, Expression input, String name, ArgumentList arguments) implements Expression {}

    /** A filter without its input, as blocks use it. */
    record FilterCall(Position at, String name, ArgumentList arguments) {}

    record ArgumentList(
            List<Expression> positional,
            List<Keyword> named,
            @Nullable Expression unpackedList,
            @Nullable Expression unpackedDict) {

        static final ArgumentList EMPTY = new ArgumentList(List.of(), List.of(), null, null);
    }

    record Keyword(String name, Expression value) {}

    enum BinaryOperator {
        ADD("+"),
        SUBTRACT("-"),
        MULTIPLY("*"),
        DIVIDE("/"),
        FLOOR_DIVIDE("//"),
        MODULO("%"),
        POWER("**");

        final String symbol;

        BinaryOperator(String symbol) {
            this.symbol = symbol;
        }
    }

    enum ComparisonOperator {
        EQUAL("=="),
        NOT_EQUAL("!="),
        LESS("<"),
        LESS_OR_EQUAL("<="),
        GREATER(">"),
        GREATER_OR_EQUAL(">="),
        IN("in"),
        NOT_IN("not in");

        final String symbol;

        ComparisonOperator(String symbol) {
            this.symbol = symbol;
        }
    }
}
