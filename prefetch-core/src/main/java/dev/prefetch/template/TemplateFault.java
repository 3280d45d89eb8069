package dev.prefetch.template;

import dev.prefetch.template.TemplateException.Kind;

/**
 * A failure inside an operator, filter or method, which does not know where in the template it was called from.
 * {@link ChatTemplate#render} turns it into a {@link TemplateException} with the position of the running expression.
 */
final class TemplateFault extends RuntimeException {

    private static final long serialVersionUID = 1L;

    private final Kind kind;

    private TemplateFault(Kind kind, String message) {
        // Never leaves this package, and a stack trace would cost more than the rendering.
        super(message, null, false, false);
        this.kind = kind;
    }

    static TemplateFault evaluation(String message) {
        return new TemplateFault(Kind.EVALUATION, message);
    }

    static TemplateFault raised(String message) {
        return new TemplateFault(Kind.RAISED, message);
    }

    static TemplateFault limit(String message) {
        return new TemplateFault(Kind.LIMIT, message);
    }

    TemplateException at(Position position) {
        String message = getMessage();
        return new TemplateException(kind, message == null ? "" : message, position);
    }
}
