package dev.prefetch.template;

import dev.prefetch.template.Expression.And;
import dev.prefetch.template.Expression.ArgumentList;
import dev.prefetch.template.Expression.Attribute;
import dev.prefetch.template.Expression.Binary;
import dev.prefetch.template.Expression.BinaryOperator;
import dev.prefetch.template.Expression.Call;
import dev.prefetch.template.Expression.Comparison;
import dev.prefetch.template.Expression.ComparisonOperator;
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
import dev.prefetch.template.Token.Kind;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Recursive descent over expressions. The levels, from loosest to tightest, are Jinja's, which are not quite Python's:
 * {@code if else}; {@code or}; {@code and}; {@code not}; comparisons and {@code in}; {@code + -}; {@code ~};
 * {@code * / // %}; {@code **} (from the left); signs; postfixes, filters and tests. So {@code not x is defined} is
 * {@code not (x is defined)}, {@code a + b | length} is {@code a + (b | length)}, and {@code -2 ** 2} is 4.
 */
final class ExpressionParser {

    private final TokenStream stream;
    /** Names read since the parser of a macro last looked, which tells whether its body uses {@code varargs}. */
    private Set<String> namesRead = new HashSet<>();

    ExpressionParser(TokenStream stream) {
        this.stream = stream;
    }

    /** Starts collecting names anew and returns those collected so far. */
    Set<String> exchangeNamesRead(Set<String> names) {
        Set<String> before = namesRead;
        namesRead = names;
        return before;
    }

    Expression parse() {
        stream.enter();
        Expression then = parseOr();
        while (stream.current().isName("if")) {
            Position at = stream.next().at();
            Expression test = parseOr();
            Expression otherwise = stream.skipName("else") ? parse() : null;
            then = new Conditional(at, test, then, otherwise);
        }
        stream.leave();
        return then;
    }

    /** One expression, or several with commas between, which make a tuple. */
    Expression parseTuple() {
        return parseTuple(true, false);
    }

    /** As {@link #parseTuple()}, for the heads of {@code if} and {@code for}, where {@code if} ends the expression. */
    Expression parseTupleWithoutCondition() {
        return parseTuple(false, false);
    }

    private Expression parseTuple(boolean conditional, boolean parenthesized) {
        Position at = stream.current().at();
        List<Expression> items = new ArrayList<>();
        boolean tuple = false;
        while (!atTupleEnd(conditional)) {
            items.add(conditional ? parse() : parseOr());
            if (!stream.skipOperator(",")) {
                break;
            }
            tuple = true;
        }
        if (!tuple && !items.isEmpty()) {
            return items.getFirst();
        }
        if (!tuple && !parenthesized) {
            throw stream.error("expected an expression, got " + stream.current().describe());
        }
        return new ListLiteral(at, List.copyOf(items), true);
    }

    private boolean atTupleEnd(boolean conditional) {
        Token token = stream.current();
        return token.kind() == Kind.OUTPUT_END
                || token.kind() == Kind.BLOCK_END
                || token.isOperator(")")
                || (!conditional && token.isName("recursive"));
    }

    Expression parseOr() {
        Position at = stream.current().at();
        Expression first = parseAnd();
        if (!stream.current().isName("or")) {
            return first;
        }
        List<Expression> operands = new ArrayList<>(List.of(first));
        while (stream.skipName("or")) {
            operands.add(parseAnd());
        }
        return new Or(at, List.copyOf(operands));
    }

    private Expression parseAnd() {
        Position at = stream.current().at();
        Expression first = parseNot();
        if (!stream.current().isName("and")) {
            return first;
        }
        List<Expression> operands = new ArrayList<>(List.of(first));
        while (stream.skipName("and")) {
            operands.add(parseNot());
        }
        return new And(at, List.copyOf(operands));
    }

    private Expression parseNot() {
        if (!stream.current().isName("not")) {
            return parseComparison();
        }
        Position at = stream.next().at();
        stream.enter();
        Expression operand = parseNot();
        stream.leave();
        return new Not(at, operand);
    }

    private Expression parseComparison() {
        Expression first = parseSum();
        List<Link> links = new ArrayList<>();
        while (true) {
            Position at = stream.current().at();
            ComparisonOperator operator = comparisonOperator();
            if (operator == null) {
                break;
            }
            links.add(new Link(at, operator, parseSum()));
        }
        return links.isEmpty() ? first : new Comparison(first.at(), first, List.copyOf(links));
    }

    /** Takes the comparison operator under the cursor, if there is one. */
    private @Nullable ComparisonOperator comparisonOperator() {
        Token token = stream.current();
        if (token.kind() == Kind.NAME) {
            if (stream.skipName("in")) {
                return ComparisonOperator.IN;
            }
            if (token.isName("not") && stream.lookAhead().isName("in")) {
                stream.next();
                stream.next();
                return ComparisonOperator.NOT_IN;
            }
            return null;
        }
        if (token.kind() != Kind.OPERATOR) {
            return null;
        }
        ComparisonOperator operator = switch (token.text()) {
            case "==" -> ComparisonOperator.EQUAL;
            case "!=" -> ComparisonOperator.NOT_EQUAL;
            case "<" -> ComparisonOperator.LESS;
            case "<=" -> ComparisonOperator.LESS_OR_EQUAL;
            case ">" -> ComparisonOperator.GREATER;
            case ">=" -> ComparisonOperator.GREATER_OR_EQUAL;
            default -> null;
        };
        if (operator != null) {
            stream.next();
        }
        return operator;
    }

    private Expression parseSum() {
        Expression left = parseConcat();
        while (true) {
            Position at = stream.current().at();
            if (stream.skipOperator("+")) {
                left = new Binary(at, BinaryOperator.ADD, left, parseConcat());
            } else if (stream.skipOperator("-")) {
                left = new Binary(at, BinaryOperator.SUBTRACT, left, parseConcat());
            } else {
                return left;
            }
        }
    }

    private Expression parseConcat() {
        Expression first = parseProduct();
        if (!stream.current().isOperator("~")) {
            return first;
        }
        Position at = stream.current().at();
        List<Expression> parts = new ArrayList<>(List.of(first));
        while (stream.skipOperator("~")) {
            parts.add(parseProduct());
        }
        return new Concat(at, List.copyOf(parts));
    }

    private Expression parseProduct() {
        Expression left = parsePower();
        while (stream.current().kind() == Kind.OPERATOR) {
            BinaryOperator operator = switch (stream.current().text()) {
                case "*" -> BinaryOperator.MULTIPLY;
                case "/" -> BinaryOperator.DIVIDE;
                case "//" -> BinaryOperator.FLOOR_DIVIDE;
                case "%" -> BinaryOperator.MODULO;
                default -> null;
            };
            if (operator == null) {
                break;
            }
            Position at = stream.next().at();
            left = new Binary(at, operator, left, parsePower());
        }
        return left;
    }

    private Expression parsePower() {
        Expression left = parseUnary(true);
        while (stream.current().isOperator("**")) {
            Position at = stream.next().at();
            left = new Binary(at, BinaryOperator.POWER, left, parseUnary(true));
        }
        return left;
    }

    private Expression parseUnary(boolean withFilters) {
        Token token = stream.current();
        Expression node;
        if (token.isOperator("-") || token.isOperator("+")) {
            stream.next();
            stream.enter();
            node = new Sign(token.at(), token.isOperator("-"), parseUnary(false));
            stream.leave();
        } else {
            node = parsePrimary();
        }
        node = parsePostfix(node);
        return withFilters ? parseFiltersAndTests(node) : node;
    }

    private Expression parsePrimary() {
        Token token = stream.current();
        switch (token.kind()) {
            case NAME -> {
                stream.next();
                return parseName(token);
            }
            case STRING -> {
                return parseString();
            }
            case INTEGER, FLOAT -> {
                stream.next();
                return new Literal(token.at(), token.value());
            }
            default -> {
                if (token.isOperator("(")) {
                    stream.next();
                    Expression inner = parseTuple(true, true);
                    stream.expectOperator(")");
                    return inner;
                }
                if (token.isOperator("[")) {
                    return parseList();
                }
                if (token.isOperator("{")) {
                    return parseDict();
                }
                throw stream.error("expected an expression, got " + token.describe());
            }
        }
    }

    private Expression parseName(Token token) {
        return switch (token.text()) {
            case "true", "True" -> new Literal(token.at(), true);
            case "false", "False" -> new Literal(token.at(), false);
            case "none", "None" -> new Literal(token.at(), None.NONE);
            default -> {
                namesRead.add(token.text());
                yield new Name(token.at(), token.text());
            }
        };
    }

    /** Neighbouring string literals join, as in Python. */
    private Expression parseString() {
        Token first = stream.next();
        if (stream.current().kind() != Kind.STRING) {
            return new Literal(first.at(), first.value());
        }
        StringBuilder joined = new StringBuilder(first.text());
        while (stream.current().kind() == Kind.STRING) {
            joined.append(stream.next().text());
        }
        return new Literal(first.at(), Text.of(joined.toString()));
    }

    private Expression parseList() {
        Position at = stream.next().at();
        List<Expression> items = new ArrayList<>();
        while (!stream.current().isOperator("]")) {
            items.add(parse());
            if (!stream.skipOperator(",")) {
                break;
            }
        }
        stream.expectOperator("]");
        return new ListLiteral(at, List.copyOf(items), false);
    }

    private Expression parseDict() {
        Position at = stream.next().at();
        List<Expression> keys = new ArrayList<>();
        List<Expression> values = new ArrayList<>();
        while (!stream.current().isOperator("}")) {
            keys.add(parse());
            stream.expectOperator(":");
            values.add(parse());
            if (!stream.skipOperator(",")) {
                break;
            }
        }
        stream.expectOperator("}");
        return new DictLiteral(at, List.copyOf(keys), List.copyOf(values));
    }

    private Expression parsePostfix(Expression start) {
        Expression node = start;
        while (stream.current().kind() == Kind.OPERATOR) {
            Token token = stream.current();
            switch (token.text()) {
                case "." -> node = parseAttribute(node);
                case "[" -> node = parseSubscript(node);
                case "(" -> node = new Call(token.at(), node, parseArguments());
                default -> {
                    return node;
                }
            }
        }
        return node;
    }

    private Expression parseAttribute(Expression target) {
        stream.next();
        Token token = stream.current();
        if (token.kind() == Kind.NAME) {
            stream.next();
            return new Attribute(token.at(), target, token.text());
        }
        if (token.kind() == Kind.INTEGER) {
            stream.next();
            return new Subscript(token.at(), target, new Literal(token.at(), token.value()));
        }
        throw stream.error("expected a name or a number after '.', got " + token.describe());
    }

    private Expression parseSubscript(Expression target) {
        Position at = stream.next().at();
        Expression start = stream.current().isOperator(":") ? null : parse();
        if (start != null && !stream.current().isOperator(":")) {
            return new Subscript(at, target, parseIndexTuple(start));
        }
        stream.expectOperator(":");
        Expression stop = parseSlicePart();
        Expression step = stream.skipOperator(":") ? parseSlicePart() : null;
        stream.expectOperator("]");
        return new Slice(at, target, start, stop, step);
    }

    /** {@code d[a, b]}: the index is a tuple. */
    private Expression parseIndexTuple(Expression first) {
        List<Expression> items = new ArrayList<>(List.of(first));
        while (stream.skipOperator(",")) {
            items.add(parse());
        }
        stream.expectOperator("]");
        return items.size() == 1 ? first : new ListLiteral(first.at(), List.copyOf(items), true);
    }

    private @Nullable Expression parseSlicePart() {
        Token token = stream.current();
        return token.isOperator(":") || token.isOperator("]") ? null : parse();
    }

    ArgumentList parseArguments() {
        stream.expectOperator("(");
        List<Expression> positional = new ArrayList<>();
        List<Keyword> named = new ArrayList<>();
        Expression unpackedList = null;
        Expression unpackedDict = null;
        while (!stream.current().isOperator(")")) {
            Token token = stream.current();
            if (token.isOperator("*") && unpackedList == null && unpackedDict == null) {
                stream.next();
                unpackedList = parse();
            } else if (token.isOperator("**") && unpackedDict == null) {
                stream.next();
                unpackedDict = parse();
            } else if (token.kind() == Kind.NAME && stream.lookAhead().isOperator("=") && unpackedDict == null) {
                stream.next();
                stream.next();
                named.add(new Keyword(token.text(), parse()));
            } else if (named.isEmpty() && unpackedList == null && unpackedDict == null) {
                positional.add(parse());
            } else {
                throw stream.error("a positional argument cannot follow a named or unpacked one");
            }
            if (!stream.skipOperator(",")) {
                break;
            }
        }
        stream.expectOperator(")");
        return new ArgumentList(List.copyOf(positional), List.copyOf(named), unpackedList, unpackedDict);
    }

    private Expression parseFiltersAndTests(Expression start) {
        Expression node = start;
        while (true) {
            Token token = stream.current();
            if (token.isOperator("|")) {
                stream.next();
                FilterCall call = parseFilterCall();
                node = new Filter(call.at(), node, call);
            } else if (token.isName("is")) {
                node = parseTest(node);
            } else if (token.isOperator("(")) {
                node = new Call(token.at(), node, parseArguments());
            } else {
                return node;
            }
        }
    }

    /** A filter's name and arguments; the cursor is behind the {@code |}. */
    FilterCall parseFilterCall() {
        Token name = stream.expect(Kind.NAME, "the name of a filter");
        boolean arguments = stream.current().isOperator("(");
        return new FilterCall(name.at(), name.text(), arguments ? parseArguments() : ArgumentList.EMPTY);
    }

    private Expression parseTest(Expression input) {
        Position at = stream.next().at();
        boolean negated = stream.skipName("not");
        Token name = stream.expect(Kind.NAME, "the name of a test");
        ArgumentList arguments = ArgumentList.EMPTY;
        if (stream.current().isOperator("(")) {
            arguments = parseArguments();
        } else if (startsTestArgument(stream.current())) {
            if (stream.current().isName("is")) {
                throw stream.error("tests cannot be chained with 'is'");
            }
            arguments = new ArgumentList(List.of(parsePostfix(parsePrimary())), List.of(), null, null);
        }
        Expression test = new Test(name.at(), input, name.text(), arguments);
        return negated ? new Not(at, test) : test;
    }

    private static boolean startsTestArgument(Token token) {
        return switch (token.kind()) {
            case STRING, INTEGER, FLOAT -> true;
            case NAME -> !token.isName("else") && !token.isName("or") && !token.isName("and");
            case OPERATOR -> token.isOperator("[") || token.isOperator("{");
            default -> false;
        };
    }
}
