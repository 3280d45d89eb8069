package dev.prefetch.spring;

import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Rewrites an answer in OpenAI's harmony format (gpt-oss), which consists of messages with headers, to the form that most
 * models write: reasoning in {@code <think>} tags, calls in {@code <tool_call>} tags, the rest as it is. The answer begins
 * inside a header, because the prompt ends with the role. Not thread-safe.
 *
 * @see <a href="https://cookbook.openai.com/articles/openai-harmony">OpenAI Harmony Response Format</a>
 */
final class HarmonyFilter {

    private static final String MESSAGE = "<|message|>";
    private static final List<String> ENDS = List.of("<|end|>", "<|call|>", "<|return|>", "<|start|>", "<|channel|>");
    private static final Pattern CHANNEL = Pattern.compile("<\\|channel\\|>(\\w+)");
    private static final Pattern RECIPIENT = Pattern.compile("to=(?:functions\\.)?([\\w.-]+)");

    private final StringBuilder held = new StringBuilder();
    private Part part = Part.HEADER;
    private boolean first = true;
    private boolean thinking;

    private enum Part {
        HEADER,
        THINKING,
        CALL,
        TEXT
    }

    /** Takes more of the answer and returns what is clear now. */
    String accept(String text) {
        held.append(text);
        return advance(false);
    }

    /** Returns what was held back; nothing follows. */
    String finish() {
        return advance(true);
    }

    private String advance(boolean end) {
        StringBuilder out = new StringBuilder();
        boolean more = true;
        while (more) {
            more = part == Part.HEADER ? header(out, end) : body(out, end);
        }
        if (end) {
            close(out);
        }
        return out.toString();
    }

    /** Reads a header; false when more text is needed. */
    private boolean header(StringBuilder out, boolean end) {
        String text = held.toString();
        if (first && !text.isEmpty() && !"<|".startsWith(text) && !text.startsWith("<|") && !text.startsWith(" to=")) {
            // No header at all: a plain answer.
            begin(Part.TEXT, out);
            return true;
        }
        int at = text.indexOf(MESSAGE);
        if (at < 0) {
            if (end) {
                out.append(text);
                held.setLength(0);
            }
            return false;
        }
        held.delete(0, at + MESSAGE.length());
        String header = text.substring(0, at);
        Matcher recipient = RECIPIENT.matcher(header);
        Matcher channel = CHANNEL.matcher(header);
        if (recipient.find()) {
            begin(Part.CALL, out);
            out.append("<tool_call>{\"name\": ")
                    .append(JsonText.string(recipient.group(1)))
                    .append(", \"arguments\": ");
        } else if (channel.find() && channel.group(1).equals("analysis")) {
            begin(Part.THINKING, out);
        } else {
            begin(Part.TEXT, out);
        }
        return true;
    }

    private void begin(Part next, StringBuilder out) {
        first = false;
        part = next;
        if (next == Part.THINKING) {
            out.append(thinking ? "\n" : "<think>");
            thinking = true;
        } else {
            close(out);
        }
    }

    private void close(StringBuilder out) {
        if (thinking) {
            out.append("</think>");
            thinking = false;
        }
    }

    /** Passes a body on; false when more text is needed. */
    private boolean body(StringBuilder out, boolean end) {
        int stop = -1;
        int length = 0;
        for (String marker : ENDS) {
            int at = held.indexOf(marker);
            if (at >= 0 && (stop < 0 || at < stop)) {
                stop = at;
                // The others begin the next header, which is read with them.
                length = marker.equals("<|start|>") || marker.equals("<|channel|>") ? 0 : marker.length();
            }
        }
        if (stop < 0) {
            int clear = end ? held.length() : held.length() - unclear();
            out.append(held, 0, clear);
            held.delete(0, clear);
            if (end && part == Part.CALL) {
                out.append("}</tool_call>");
            }
            return false;
        }
        out.append(held, 0, stop);
        held.delete(0, stop + length);
        if (part == Part.CALL) {
            out.append("}</tool_call>");
        }
        part = Part.HEADER;
        return true;
    }

    /** Characters at the end that may be the beginning of a marker. */
    private int unclear() {
        int longest = 0;
        for (String marker : ENDS) {
            for (int length = Math.min(marker.length() - 1, held.length()); length > longest; length--) {
                if (marker.startsWith(held.substring(held.length() - length))) {
                    longest = length;
                }
            }
        }
        return longest;
    }
}
