package dev.prefetch.template;

import dev.prefetch.template.Token.Kind;
import java.util.List;

/** The tokens under the parsers' cursor, and the limits that keep parsing itself bounded. */
final class TokenStream {

    /** A nested parenthesis takes a dozen Java frames; real templates stay below ten levels. */
    private static final int MAX_NESTING = 100;

    private final List<Token> tokens;
    private int index;
    private int nesting;

    TokenStream(List<Token> tokens) {
        this.tokens = tokens;
    }

    Token current() {
        return tokens.get(index);
    }

    Token lookAhead() {
        return tokens.get(Math.min(index + 1, tokens.size() - 1));
    }

    Token next() {
        Token token = tokens.get(index);
        if (token.kind() != Kind.END) {
            index++;
        }
        return token;
    }

    boolean skipName(String name) {
        if (current().isName(name)) {
            index++;
            return true;
        }
        return false;
    }

    boolean skipOperator(String operator) {
        if (current().isOperator(operator)) {
            index++;
            return true;
        }
        return false;
    }

    Token expect(Kind kind, String what) {
        Token token = current();
        if (token.kind() != kind) {
            throw error("expected " + what + ", got " + token.describe());
        }
        return next();
    }

    void expectOperator(String operator) {
        if (!skipOperator(operator)) {
            throw error("expected '" + operator + "', got " + current().describe());
        }
    }

    void enter() {
        if (++nesting > MAX_NESTING) {
            throw new TemplateException(
                    TemplateException.Kind.LIMIT,
                    "the template nests deeper than the limit of " + MAX_NESTING + " levels",
                    current().at());
        }
    }

    void leave() {
        nesting--;
    }

    TemplateException error(String message) {
        return error(message, current().at());
    }

    TemplateException error(String message, Position at) {
        return new TemplateException(TemplateException.Kind.SYNTAX, message, at);
    }
}
