package dev.prefetch.inference;

import java.util.Arrays;
import java.util.SplittableRandom;

/**
 * Chooses tokens for one sequence. The steps and their order are those of {@link SamplingOptions}. Not thread-safe.
 */
final class Sampler {

    private final SamplingOptions options;
    private final int vocabularySize;
    private final SplittableRandom random;
    private final int[] generatedCounts;
    private final int windowLimit;
    private int[] window = new int[0];
    private int windowSize;
    private int windowNext;
    private long[] candidates = new long[0];
    private double[] weights = new double[0];

    Sampler(SamplingOptions options, int vocabularySize) {
        this.options = options;
        this.vocabularySize = vocabularySize;
        this.random = new SplittableRandom(options.seed());
        boolean countsMatter = options.presencePenalty() != 0 || options.frequencyPenalty() != 0;
        this.generatedCounts = countsMatter ? new int[vocabularySize] : new int[0];
        this.windowLimit = options.repetitionPenalty() == 1 ? 0 : options.penaltyWindow();
    }

    /** Tells the sampler about a prompt token. */
    void seePrompt(int token) {
        remember(token);
    }

    /** Tells the sampler about a generated token. */
    void seeGenerated(int token) {
        remember(token);
        if (generatedCounts.length > 0) {
            generatedCounts[token]++;
        }
    }

    private void remember(int token) {
        if (windowLimit > 0) {
            // Grows with what was seen: the limit is the caller's and may mean "everything".
            if (windowSize == window.length && windowSize < windowLimit) {
                window = Arrays.copyOf(window, (int) Math.min(windowLimit, Math.max(64, 2L * windowSize)));
                windowNext = windowSize;
            }
            window[windowNext] = token;
            windowNext = (windowNext + 1) % window.length;
            windowSize = Math.min(windowSize + 1, window.length);
        }
    }

    /** Whether the next token is the first of the most likely ones, whatever the logits of the others. */
    boolean takesBest() {
        return options.temperature() == 0 && windowLimit == 0 && generatedCounts.length == 0;
    }

    /**
     * Chooses the next token.
     *
     * @param logits one per token of the vocabulary, changed by the penalties; there may be more, since some models pad
     *     their output. Tokens at negative infinity are never chosen; at least one must be above
     * @throws IllegalStateException when a logit is NaN
     */
    int choose(float[] logits) {
        applyPenalties(logits);
        int best = mostLikely(logits);
        if (options.temperature() == 0) {
            return best;
        }
        int count = selectCandidates(logits, logits[best]);
        return draw(logits, logits[best], count);
    }

    private void applyPenalties(float[] logits) {
        if (windowSize > 0) {
            int[] seen = Arrays.copyOf(window, windowSize);
            Arrays.sort(seen);
            for (int i = 0; i < seen.length; i++) {
                if (i == 0 || seen[i] != seen[i - 1]) {
                    float logit = logits[seen[i]];
                    float penalty = options.repetitionPenalty();
                    logits[seen[i]] = logit > 0 ? logit / penalty : logit * penalty;
                }
            }
        }
        for (int token = 0; token < generatedCounts.length; token++) {
            if (generatedCounts[token] > 0) {
                logits[token] -= options.presencePenalty() + generatedCounts[token] * options.frequencyPenalty();
            }
        }
    }

    /** @throws IllegalStateException when the logit is NaN */
    static void requireNumber(int token, float logit) {
        if (Float.isNaN(logit)) {
            throw new IllegalStateException(
                    "logit of token " + token + " is not a number: the model or its file is broken");
        }
    }

    private int mostLikely(float[] logits) {
        int best = 0;
        for (int i = 0; i < vocabularySize; i++) {
            requireNumber(i, logits[i]);
            if (logits[i] > logits[best]) {
                best = i;
            }
        }
        return best;
    }

    /** Leaves the tokens that survive top-k, top-p and min-p at the front of {@link #candidates} and returns how many. */
    private int selectCandidates(float[] logits, float bestLogit) {
        int count = vocabularySize;
        if (candidates.length < count) {
            candidates = new long[count];
        }
        for (int token = 0; token < count; token++) {
            candidates[token] = sortKey(logits[token], token);
        }
        if (options.topK() > 0 && options.topK() < count) {
            partialSort(candidates, count, options.topK());
            count = options.topK();
        }
        if (options.topP() < 1) {
            count = nucleus(logits, bestLogit, count);
        }
        return options.minP() > 0 ? likelyEnough(logits, bestLogit, count) : count;
    }

    /** Sorts growing prefixes until the nucleus is inside, since it is usually a tiny part of the vocabulary. */
    private int nucleus(float[] logits, float bestLogit, int count) {
        double total = 0;
        for (int i = 0; i < count; i++) {
            total += weight(logits[token(candidates[i])], bestLogit);
        }
        for (int sorted = Math.min(256, count); ; sorted = (int) Math.min(sorted * 16L, count)) {
            partialSort(candidates, count, sorted);
            double sum = 0;
            for (int i = 0; i < sorted; i++) {
                sum += weight(logits[token(candidates[i])], bestLogit);
                if (sum >= options.topP() * total) {
                    return i + 1;
                }
            }
            if (sorted == count) {
                return count;
            }
        }
    }

    private int likelyEnough(float[] logits, float bestLogit, int count) {
        int kept = 0;
        for (int i = 0; i < count; i++) {
            if (weight(logits[token(candidates[i])], bestLogit) >= options.minP()) {
                candidates[kept++] = candidates[i];
            }
        }
        return kept;
    }

    private int draw(float[] logits, float bestLogit, int count) {
        if (weights.length < count) {
            weights = new double[count];
        }
        double total = 0;
        for (int i = 0; i < count; i++) {
            weights[i] = weight(logits[token(candidates[i])], bestLogit);
            total += weights[i];
        }
        double left = random.nextDouble() * total;
        for (int i = 0; i < count; i++) {
            left -= weights[i];
            if (left < 0) {
                return token(candidates[i]);
            }
        }
        // Rounding left a little: the last one that can be chosen at all, since masked tokens have no weight.
        int last = count - 1;
        while (last > 0 && weights[last] == 0) {
            last--;
        }
        return token(candidates[last]);
    }

    private double weight(float logit, float bestLogit) {
        return Math.exp((logit - (double) bestLogit) / options.temperature());
    }

    /** Keys in ascending order are logits in descending order, then tokens in ascending order. */
    private static long sortKey(float logit, int token) {
        int bits = Float.floatToIntBits(logit);
        int ascending = bits < 0 ? ~bits : bits ^ Integer.MIN_VALUE;
        return (long) (~ascending ^ Integer.MIN_VALUE) << 32 | token;
    }

    private static int token(long key) {
        return (int) key;
    }

    /** Brings the {@code wanted} smallest of {@code count} keys to the front in order (quickselect, then sort). */
    private static void partialSort(long[] keys, int count, int wanted) {
        int low = 0;
        int high = count - 1;
        while (wanted < count && low < high) {
            long pivot = median(keys[low], keys[(low + high) >>> 1], keys[high]);
            int i = low;
            int j = high;
            while (i <= j) {
                while (keys[i] < pivot) {
                    i++;
                }
                while (keys[j] > pivot) {
                    j--;
                }
                if (i <= j) {
                    long swap = keys[i];
                    keys[i++] = keys[j];
                    keys[j--] = swap;
                }
            }
            if (wanted - 1 <= j) {
                high = j;
            } else if (wanted - 1 >= i) {
                low = i;
            } else {
                break;
            }
        }
        Arrays.sort(keys, 0, wanted);
    }

    private static long median(long a, long b, long c) {
        return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
    }
}
