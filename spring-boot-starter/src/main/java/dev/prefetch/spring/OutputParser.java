package dev.prefetch.spring;

import dev.prefetch.spring.OutputSyntax.ThinkingTags;
import dev.prefetch.spring.ToolSyntax.OfferedTools;
import dev.prefetch.spring.ToolSyntax.WrittenCall;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Takes an answer apart as it arrives: reasoning, content, tool calls. Text that may be the beginning of a tag is held
 * back until that is clear; everything from the first tool call on is held back until the end, so that calls come whole.
 * Not thread-safe.
 */
final class OutputParser {

    private final OutputSyntax syntax;
    private final OfferedTools tools;
    private final @Nullable HarmonyFilter harmony;
    private final boolean keepThinking;
    private final StringBuilder held = new StringBuilder();
    private final StringBuilder thinking = new StringBuilder();
    private final StringBuilder content = new StringBuilder();
    private State state;
    private List<WrittenCall> calls = List.of();

    private enum State {
        /** Nothing but space yet: reasoning may begin. */
        BEGINNING,
        THINKING,
        /** Space between reasoning and content. */
        AFTER_THINKING,
        CONTENT,
        CALLS
    }

    /**
     * @param tools offered tools; calls are looked for only when there are some
     * @param insideThinking whether the prompt ends with the tag that opens reasoning
     * @param keepThinking whether reasoning, with its tags, stays part of the content, too
     */
    OutputParser(OutputSyntax syntax, OfferedTools tools, boolean insideThinking, boolean keepThinking) {
        this.syntax = syntax;
        this.tools = tools;
        this.harmony = syntax.harmony() ? new HarmonyFilter() : null;
        this.keepThinking = keepThinking;
        this.state = insideThinking ? State.THINKING : syntax.thinking() != null ? State.BEGINNING : State.CONTENT;
    }

    /**
     * A part of an answer.
     *
     * @param content text of the answer, possibly empty
     * @param thinking text of the reasoning, possibly empty
     */
    record Part(String content, String thinking) {

        boolean isEmpty() {
            return content.isEmpty() && thinking.isEmpty();
        }
    }

    /** Takes more text and returns what is clear now. */
    Part accept(String text) {
        held.append(harmony == null ? text : harmony.accept(text));
        return advance(false);
    }

    /** Returns what was held back; nothing follows. */
    Part finish() {
        if (harmony != null) {
            held.append(harmony.finish());
        }
        return advance(true);
    }

    /** All content so far. */
    String content() {
        return content.toString();
    }

    /** All reasoning so far. */
    String thinking() {
        return thinking.toString();
    }

    /** The calls, once {@link #finish() finished}. */
    List<WrittenCall> calls() {
        return calls;
    }

    private Part advance(boolean end) {
        int contentBefore = content.length();
        int thinkingBefore = thinking.length();
        State before;
        do {
            before = state;
            switch (state) {
                case BEGINNING -> beginning(tags(), end);
                case THINKING -> thinking(tags(), end);
                case AFTER_THINKING -> afterThinking();
                case CONTENT -> content(end);
                case CALLS -> calls(end);
            }
        } while (state != before);
        return new Part(content.substring(contentBefore), thinking.substring(thinkingBefore));
    }

    private ThinkingTags tags() {
        if (syntax.thinking() == null) {
            throw new IllegalStateException("reasoning without tags");
        }
        return syntax.thinking();
    }

    private void beginning(ThinkingTags tags, boolean end) {
        String text = held.toString().stripLeading();
        if (text.startsWith(tags.open())) {
            int length = held.length() - text.length() + tags.open().length();
            String opening = take(length);
            keep(opening);
            state = State.THINKING;
        } else if (end || !tags.open().startsWith(text)) {
            state = State.CONTENT;
        }
    }

    private void thinking(ThinkingTags tags, boolean end) {
        int close = held.indexOf(tags.close());
        if (close >= 0) {
            think(take(close));
            keep(take(tags.close().length()));
            trimThinking();
            state = State.AFTER_THINKING;
        } else {
            think(take(end ? held.length() : clear(List.of(tags.close()))));
            if (end) {
                trimThinking();
            }
        }
    }

    private void think(String text) {
        keep(text);
        thinking.append(thinking.isEmpty() ? text.stripLeading() : text);
    }

    /** Trailing space is held back, so there is none that was given out already. */
    private void trimThinking() {
        thinking.setLength(thinking.toString().stripTrailing().length());
    }

    private void keep(String text) {
        if (keepThinking) {
            content.append(text);
        }
    }

    private void afterThinking() {
        if (keepThinking) {
            state = State.CONTENT;
            return;
        }
        String text = held.toString();
        take(text.length() - text.stripLeading().length());
        if (!held.isEmpty()) {
            state = State.CONTENT;
        }
    }

    private void content(boolean end) {
        List<String> openings = openings();
        int opening = -1;
        for (String candidate : openings) {
            int at = held.indexOf(candidate);
            if (at >= 0 && (opening < 0 || at < opening) && mayOpenAt(at)) {
                opening = at;
            }
        }
        if (opening >= 0) {
            state = State.CALLS;
            content.append(take(held.substring(0, opening).stripTrailing().length()));
        } else {
            content.append(take(end ? held.length() : clear(openings)));
        }
    }

    private List<String> openings() {
        ToolSyntax toolSyntax = syntax.tools();
        return toolSyntax == null || tools.isEmpty() ? List.of() : toolSyntax.openings();
    }

    private boolean mayOpenAt(int at) {
        return !requireTools().wholeAnswer()
                || content.toString().isBlank() && held.substring(0, at).isBlank();
    }

    private ToolSyntax requireTools() {
        if (syntax.tools() == null) {
            throw new IllegalStateException("calls without syntax");
        }
        return syntax.tools();
    }

    private void calls(boolean end) {
        if (!end) {
            return;
        }
        String text = take(held.length());
        String space = text.substring(0, text.length() - text.stripLeading().length());
        ToolSyntax.Reading reading = requireTools().read(text.substring(space.length()), tools);
        calls = reading.calls();
        if (calls.isEmpty()) {
            content.append(text);
        } else if (!reading.text().isEmpty()) {
            content.append(space).append(reading.text());
        }
    }

    /** How much of the held text is certainly not part of a marker, nor space in front of one. */
    private int clear(List<String> markers) {
        if (markers.isEmpty()) {
            return held.length();
        }
        int unclear = 0;
        for (String marker : markers) {
            for (int length = Math.min(marker.length() - 1, held.length()); length > unclear; length--) {
                if (marker.startsWith(held.substring(held.length() - length))) {
                    unclear = length;
                }
            }
        }
        return held.substring(0, held.length() - unclear).stripTrailing().length();
    }

    private String take(int length) {
        String text = held.substring(0, length);
        held.delete(0, length);
        return text;
    }
}
