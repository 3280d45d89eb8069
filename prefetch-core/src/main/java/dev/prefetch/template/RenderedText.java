package dev.prefetch.template;

import java.util.List;

/** What a template rendered, and which of its characters came from {@link InputText}. Immutable. */
public final class RenderedText {

    private final String text;
    private final List<Span> spans;

    RenderedText(Text rendered) {
        this.text = rendered.string();
        this.spans = rendered.spans();
    }

    /** The whole text. */
    public String text() {
        return text;
    }

    /**
     * The text in order, cut where the origin changes: no span is empty, neighbours differ in {@link Span#fromInput()},
     * and their texts joined are {@link #text()}. Empty for an empty text.
     */
    public List<Span> spans() {
        return spans;
    }

    @Override
    public String toString() {
        return text;
    }

    /**
     * A run of characters of one origin.
     *
     * @param text the characters, at least one
     * @param fromInput whether they came from {@link InputText}; otherwise the template wrote them
     */
    public record Span(String text, boolean fromInput) {}
}
