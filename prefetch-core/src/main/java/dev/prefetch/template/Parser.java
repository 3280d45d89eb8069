package dev.prefetch.template;

import dev.prefetch.template.Expression.Call;
import dev.prefetch.template.Expression.FilterCall;
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
import dev.prefetch.template.Statement.Signature;
import dev.prefetch.template.Statement.Target;
import dev.prefetch.template.Statement.With;
import dev.prefetch.template.Token.Kind;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** Recursive descent over statements; {@link ExpressionParser} does the expressions. */
final class Parser {

    private static final Set<String> NOT_FOR_CHAT =
            Set.of("include", "import", "from", "extends", "block", "autoescape", "do", "trans");

    private final TokenStream stream;
    private final ExpressionParser expressions;
    /** The blocks the cursor is in, innermost first, for the message about a block that is not closed. */
    private final Deque<Token> openBlocks = new ArrayDeque<>();
    /** Loops around the cursor within the same macro: where {@code break} may stand. */
    private int loops;

    Parser(List<Token> tokens) {
        this.stream = new TokenStream(tokens);
        this.expressions = new ExpressionParser(stream);
    }

    List<Statement> parseTemplate() {
        return parseBody(Set.of());
    }

    /** Statements up to a block tag of one of these names, whose name is then under the cursor. */
    private List<Statement> parseBody(Set<String> ends) {
        stream.enter();
        List<Statement> body = new ArrayList<>();
        while (true) {
            Token token = stream.next();
            switch (token.kind()) {
                case DATA -> body.add(new Data(token.at(), Text.of(token.text())));
                case OUTPUT_BEGIN -> {
                    body.add(new Output(token.at(), expressions.parseTuple()));
                    stream.expect(Kind.OUTPUT_END, "'}}'");
                }
                case BLOCK_BEGIN -> {
                    if (stream.current().kind() == Kind.NAME
                            && ends.contains(stream.current().text())) {
                        stream.leave();
                        return List.copyOf(body);
                    }
                    parseBlock(body);
                }
                default -> {
                    if (!ends.isEmpty()) {
                        throw notClosed();
                    }
                    stream.leave();
                    return List.copyOf(body);
                }
            }
        }
    }

    private TemplateException notClosed() {
        Token block = openBlocks.getFirst();
        return stream.error("'{% " + block.text() + " %}' is never closed", block.at());
    }

    private void parseBlock(List<Statement> body) {
        Token tag = stream.expect(Kind.NAME, "the name of a block");
        openBlocks.push(tag);
        switch (tag.text()) {
            case "if" -> body.add(parseIf(tag.at()));
            case "for" -> body.add(parseFor(tag.at()));
            case "set" -> body.add(parseSet(tag.at()));
            case "macro" -> body.add(parseMacro(tag.at()));
            case "call" -> body.add(parseCallBlock(tag.at()));
            case "filter" -> body.add(parseFilterBlock(tag.at()));
            case "with" -> body.add(parseWith(tag.at()));
            case "print" -> parsePrint(body, tag.at());
            case "break", "continue" -> body.add(parseLoopControl(tag));
            default -> throw unknownTag(tag);
        }
        openBlocks.pop();
        stream.expect(Kind.BLOCK_END, "'%}'");
    }

    private TemplateException unknownTag(Token tag) {
        openBlocks.pop();
        String name = tag.text();
        if (NOT_FOR_CHAT.contains(name)) {
            return stream.error("'{% " + name + " %}' is not supported in chat templates", tag.at());
        }
        if (openBlocks.isEmpty()) {
            return stream.error("unknown block '" + name + "'", tag.at());
        }
        Token open = openBlocks.getFirst();
        return stream.error(
                "unknown or misplaced block '" + name + "' within '" + open.text() + "' of line "
                        + open.at().line(),
                tag.at());
    }

    /** The body behind a block's head, and its end tag. */
    private List<Statement> parseBodyTo(String end) {
        List<Statement> body = parseBodyTo(Set.of(end));
        stream.next();
        return body;
    }

    private List<Statement> parseBodyTo(Set<String> ends) {
        stream.skipOperator(":");
        stream.expect(Kind.BLOCK_END, "'%}'");
        return parseBody(ends);
    }

    /** A body that becomes a function of its own, so that {@code break} cannot reach a loop around it. */
    private List<Statement> parseOutsideLoops(String end) {
        int outer = loops;
        loops = 0;
        List<Statement> body = parseBodyTo(end);
        loops = outer;
        return body;
    }

    private Statement parseIf(Position at) {
        List<Branch> branches = new ArrayList<>();
        List<Statement> otherwise = List.of();
        while (true) {
            Expression test = expressions.parseTupleWithoutCondition();
            branches.add(new Branch(test, parseBodyTo(Set.of("elif", "else", "endif"))));
            Token end = stream.next();
            if (end.isName("else")) {
                otherwise = parseBodyTo("endif");
            }
            if (!end.isName("elif")) {
                return new If(at, List.copyOf(branches), otherwise);
            }
        }
    }

    private Statement parseFor(Position at) {
        Target target = parseTarget(false);
        if (!stream.skipName("in")) {
            throw stream.error("expected 'in', got " + stream.current().describe());
        }
        Expression iterable = expressions.parseTupleWithoutCondition();
        Expression filter = stream.skipName("if") ? expressions.parse() : null;
        boolean recursive = stream.skipName("recursive");
        loops++;
        List<Statement> body = parseBodyTo(Set.of("else", "endfor"));
        loops--;
        List<Statement> otherwise = stream.next().isName("else") ? parseBodyTo("endfor") : List.of();
        return new For(at, target, iterable, filter, recursive, body, otherwise);
    }

    private Statement parseSet(Position at) {
        Target target = parseTarget(true);
        if (stream.skipOperator("=")) {
            return new Statement.Assign(at, target, expressions.parseTuple());
        }
        List<FilterCall> filters = stream.skipOperator("|") ? parseFilterChain() : List.of();
        return new AssignBlock(at, target, filters, parseOutsideLoops("endset"));
    }

    private List<FilterCall> parseFilterChain() {
        List<FilterCall> filters = new ArrayList<>();
        do {
            filters.add(expressions.parseFilterCall());
        } while (stream.skipOperator("|"));
        return List.copyOf(filters);
    }

    private Statement parseFilterBlock(Position at) {
        List<FilterCall> filters = parseFilterChain();
        return new FilterBlock(at, filters, parseOutsideLoops("endfilter"));
    }

    private Statement parseWith(Position at) {
        List<Target> targets = new ArrayList<>();
        List<Expression> values = new ArrayList<>();
        while (stream.current().kind() != Kind.BLOCK_END) {
            if (!targets.isEmpty()) {
                stream.expectOperator(",");
            }
            targets.add(parseSingleTarget(false));
            stream.expectOperator("=");
            values.add(expressions.parse());
        }
        return new With(at, List.copyOf(targets), List.copyOf(values), parseBodyTo("endwith"));
    }

    private void parsePrint(List<Statement> body, Position at) {
        do {
            body.add(new Output(at, expressions.parse()));
        } while (stream.skipOperator(","));
    }

    private Statement parseLoopControl(Token tag) {
        if (loops == 0) {
            throw stream.error("'{% " + tag.text() + " %}' outside a loop", tag.at());
        }
        return tag.isName("break") ? new Break(tag.at()) : new Continue(tag.at());
    }

    private Statement parseMacro(Position at) {
        Token name = stream.expect(Kind.NAME, "the name of the macro");
        Set<String> outerNames = expressions.exchangeNamesRead(new HashSet<>());
        Parameters parameters = parseParameters();
        List<Statement> body = parseOutsideLoops("endmacro");
        return new MacroDefinition(at, signature(name.text(), parameters, outerNames), body);
    }

    private Statement parseCallBlock(Position at) {
        Set<String> outerNames = expressions.exchangeNamesRead(new HashSet<>());
        Parameters parameters =
                stream.current().isOperator("(") ? parseParameters() : new Parameters(List.of(), List.of());
        Expression callee = expressions.parse();
        if (!(callee instanceof Call call)) {
            throw stream.error("'{% call %}' needs a call, such as '{% call f() %}'", at);
        }
        List<Statement> body = parseOutsideLoops("endcall");
        return new CallBlock(at, signature("caller", parameters, outerNames), call, body);
    }

    private record Parameters(List<String> names, List<Expression> defaults) {}

    private Parameters parseParameters() {
        stream.expectOperator("(");
        List<String> names = new ArrayList<>();
        List<Expression> defaults = new ArrayList<>();
        while (!stream.current().isOperator(")")) {
            names.add(stream.expect(Kind.NAME, "the name of a parameter").text());
            if (stream.skipOperator("=")) {
                defaults.add(expressions.parse());
            } else if (!defaults.isEmpty()) {
                throw stream.error("a parameter without a default follows one with a default");
            }
            if (!stream.skipOperator(",")) {
                break;
            }
        }
        stream.expectOperator(")");
        return new Parameters(List.copyOf(names), List.copyOf(defaults));
    }

    private Signature signature(String name, Parameters parameters, Set<String> outerNames) {
        Set<String> read = expressions.exchangeNamesRead(outerNames);
        // A macro within a macro reads on behalf of the outer one too.
        outerNames.addAll(read);
        return new Signature(
                name,
                parameters.names(),
                parameters.defaults(),
                read.contains("varargs"),
                read.contains("kwargs"),
                read.contains("caller"));
    }

    /** One target, or several with commas between, which unpack the value. */
    private Target parseTarget(boolean members) {
        Position at = stream.current().at();
        List<Target> targets = new ArrayList<>();
        boolean unpacking = false;
        do {
            if (unpacking
                    && stream.current().kind() != Kind.NAME
                    && !stream.current().isOperator("(")) {
                break;
            }
            targets.add(parseSingleTarget(members));
            unpacking |= stream.current().isOperator(",");
        } while (stream.skipOperator(","));
        return unpacking ? new Target.Unpacking(at, List.copyOf(targets)) : targets.getFirst();
    }

    private Target parseSingleTarget(boolean members) {
        Token token = stream.current();
        if (stream.skipOperator("(")) {
            stream.enter();
            Target inner = parseTarget(members);
            stream.leave();
            stream.expectOperator(")");
            return inner;
        }
        stream.expect(Kind.NAME, "the name of a variable");
        if (members && stream.skipOperator(".")) {
            return new Target.Member(
                    token.at(),
                    token.text(),
                    stream.expect(Kind.NAME, "the name of an attribute").text());
        }
        switch (token.text()) {
            case "true", "True", "false", "False", "none", "None" ->
                throw stream.error("cannot assign to '" + token.text() + "'", token.at());
            default -> {
                return new Target.Variable(token.at(), token.text());
            }
        }
    }
}
