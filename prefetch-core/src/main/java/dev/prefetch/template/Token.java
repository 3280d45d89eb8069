package dev.prefetch.template;

/**
 * A token of the template source.
 *
 * @param text the characters of a name, operator or data; the unescaped characters of a string; empty for delimiters
 * @param value what a literal stands for ({@link Text}, {@link Long} or {@link Double}), otherwise the text
 */
record Token(Kind kind, String text, Object value, Position at) {

    enum Kind {
        DATA,
        OUTPUT_BEGIN,
        OUTPUT_END,
        BLOCK_BEGIN,
        BLOCK_END,
        NAME,
        STRING,
        INTEGER,
        FLOAT,
        OPERATOR,
        END
    }

    Token(Kind kind, String text, Position at) {
        this(kind, text, text, at);
    }

    boolean isName(String name) {
        return kind == Kind.NAME && text.equals(name);
    }

    boolean isOperator(String operator) {
        return kind == Kind.OPERATOR && text.equals(operator);
    }

    /** For error messages. */
    String describe() {
        return switch (kind) {
            case DATA -> "template text";
            case OUTPUT_BEGIN -> "'{{'";
            case OUTPUT_END -> "'}}'";
            case BLOCK_BEGIN -> "'{%'";
            case BLOCK_END -> "'%}'";
            case STRING -> "a string";
            case INTEGER, FLOAT -> "the number " + text;
            case NAME, OPERATOR -> "'" + text + "'";
            case END -> "the end of the template";
        };
    }
}
