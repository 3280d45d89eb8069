package dev.prefetch.inference;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/**
 * Guesses what follows in a sequence: what followed the last time the same few tokens stood there. Also keeps how often that
 * was right. Not thread-safe.
 */
final class DraftSource {

    /** Tokens that must have stood there before: the more, the likelier the guess. */
    private static final int[] LENGTHS = {3, 2};

    /** Weight of the latest guess in the share of right ones. */
    private static final double LATEST = 0.1;

    private final Map<NGram, Integer> ends = new HashMap<>();
    private int[] tokens;
    private int size;
    private double hitRate = 0.6;

    /** @param prompt what stands there already */
    DraftSource(int[] prompt) {
        tokens = new int[Math.max(16, prompt.length)];
        for (int token : prompt) {
            add(token);
        }
    }

    void add(int token) {
        if (size == tokens.length) {
            tokens = Arrays.copyOf(tokens, 2 * size);
        }
        tokens[size++] = token;
        // The tokens before the new one have a successor now.
        for (int length : LENGTHS) {
            if (size > length) {
                ends.put(nGram(size - 1, length), size - 1);
            }
        }
    }

    private NGram nGram(int end, int length) {
        return new NGram(length, tokens[end - length], tokens[end - length + 1], length < 3 ? -1 : tokens[end - 1]);
    }

    /** At most {@code most} tokens that may follow; none when nothing like the end stood there before. */
    int[] propose(int most) {
        for (int length : LENGTHS) {
            Integer end = size < length ? null : ends.get(nGram(size, length));
            if (end != null) {
                int[] draft = new int[most];
                for (int i = 0; i < most; i++) {
                    // Where it runs into the end it goes round: what repeats itself does so with the same period.
                    int at = end + i;
                    draft[i] = at < size ? tokens[at] : draft[at - size];
                }
                return draft;
            }
        }
        return new int[0];
    }

    /** Notes whether a guess was right. */
    void learn(boolean right) {
        hitRate += LATEST * ((right ? 1 : 0) - hitRate);
    }

    /** Share of guesses that were right, the latest counting most. */
    double hitRate() {
        return hitRate;
    }

    private record NGram(int length, int first, int second, int third) {}
}
