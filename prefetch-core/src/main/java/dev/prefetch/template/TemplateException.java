package dev.prefetch.template;

/**
 * A chat template could not be parsed or rendered.
 *
 * <p>The message reads {@code WHAT (line L, column C of the chat template)}; {@link #plainMessage()} is the part before
 * the position, which for {@link Kind#RAISED} is exactly the text the template gave to {@code raise_exception}.
 */
public final class TemplateException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    /** Who is to blame, so that a caller can tell a bad conversation from a bad template. */
    public enum Kind {
        /** The template is not valid: {@link ChatTemplate#parse} refuses it. */
        SYNTAX,
        /** An operation of the template failed on the given variables. */
        EVALUATION,
        /** The template itself refused the conversation by calling {@code raise_exception}. */
        RAISED,
        /** The template needs more time, memory or nesting than {@link TemplateLimits} allow. */
        LIMIT
    }

    private final Kind kind;
    private final String plainMessage;
    private final int line;
    private final int column;

    TemplateException(Kind kind, String plainMessage, Position at) {
        super(plainMessage + " (line " + at.line() + ", column " + at.column() + " of the chat template)");
        this.kind = kind;
        this.plainMessage = plainMessage;
        this.line = at.line();
        this.column = at.column();
    }

    /** What went wrong in kind. */
    public Kind kind() {
        return kind;
    }

    /** The message without the position. */
    public String plainMessage() {
        return plainMessage;
    }

    /** The line of the template source the error belongs to, from 1. */
    public int line() {
        return line;
    }

    /** The column in {@link #line()}, from 1, in UTF-16 units. */
    public int column() {
        return column;
    }
}
