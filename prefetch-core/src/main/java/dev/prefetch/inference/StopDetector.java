package dev.prefetch.inference;

import java.util.List;

/**
 * Finds stop sequences in text that arrives in pieces. Text that may be the beginning of a stop sequence is held back
 * until it is clear, so no part of one is ever emitted. Not thread-safe.
 */
final class StopDetector {

    private final List<String> stopSequences;
    private final StringBuilder held = new StringBuilder();
    private boolean stopped;

    StopDetector(List<String> stopSequences) {
        this.stopSequences = stopSequences;
    }

    /** Takes more text and returns what can be emitted now. */
    String accept(String text) {
        if (stopped) {
            return "";
        }
        held.append(text);
        int stop = firstStop();
        if (stop >= 0) {
            stopped = true;
            return take(stop);
        }
        return take(held.length() - unclearSuffix());
    }

    /** Whether a stop sequence was met. */
    boolean stopped() {
        return stopped;
    }

    /** Returns the text held back; called when the generation ended for another reason. */
    String flush() {
        return stopped ? "" : take(held.length());
    }

    private int firstStop() {
        int first = -1;
        for (String stop : stopSequences) {
            int at = held.indexOf(stop);
            if (at >= 0 && (first < 0 || at < first)) {
                first = at;
            }
        }
        return first;
    }

    private int unclearSuffix() {
        int longest = 0;
        for (String stop : stopSequences) {
            for (int length = Math.min(stop.length() - 1, held.length()); length > longest; length--) {
                if (held.substring(held.length() - length).equals(stop.substring(0, length))) {
                    longest = length;
                }
            }
        }
        return longest;
    }

    private String take(int length) {
        String text = held.substring(0, length);
        held.delete(0, length);
        return text;
    }
}
