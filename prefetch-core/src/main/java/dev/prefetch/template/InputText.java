package dev.prefetch.template;

import java.util.Objects;

/**
 * A string that came from outside: a message, a tool result, a tool's argument.
 *
 * <p>In a template it behaves as any string does. Its characters stay marked through every string operation, and
 * {@link RenderedText#spans()} tells them from the template's own text, so that {@code <|im_end|>} in a user's message
 * can be told from the control token that the template wrote.
 *
 * @param text the characters
 */
public record InputText(String text) {

    public InputText {
        Objects.requireNonNull(text, "text");
    }

    @Override
    public String toString() {
        return text;
    }
}
