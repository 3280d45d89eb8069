package dev.prefetch.inference;

import dev.prefetch.gguf.GgmlType;
import java.util.function.Consumer;

/**
 * What a {@link BatchLoop} may do at most. Immutable.
 *
 * @param contextLength most positions of a sequence
 * @param ubatch most prompt tokens per sweep
 * @param ubatchBesideDecode most prompt tokens of a sweep that also decodes, so that a long prompt does not stall those
 *     that generate
 * @param maxConcurrency most sequences at the same time
 * @param kvType what keys and values are kept as
 * @param kvBytes bytes of KV cache for all sequences together, enough for one of full length: otherwise some would wait
 *     for ever
 * @param promptCacheBytes of them, what prompts of earlier sequences may take while nobody uses them; 0 keeps none
 * @param queueLimit most sequences that wait for a place
 * @param speculation whether and when tokens are guessed
 * @param shortPrompt most tokens of a prompt that is computed by decode kernels; 0 for none
 */
public record BatchLimits(
        int contextLength,
        int ubatch,
        int ubatchBesideDecode,
        int maxConcurrency,
        GgmlType kvType,
        long kvBytes,
        long promptCacheBytes,
        int queueLimit,
        Speculation speculation,
        int shortPrompt) {

    public BatchLimits {
        if (contextLength < 1
                || ubatch < 1
                || ubatchBesideDecode < 1
                || maxConcurrency < 1
                || kvBytes < 1
                || promptCacheBytes < 0
                || queueLimit < 0
                || shortPrompt < 0) {
            throw new IllegalArgumentException("limits out of range: contextLength " + contextLength + ", ubatch "
                    + ubatch + ", ubatchBesideDecode " + ubatchBesideDecode + ", maxConcurrency " + maxConcurrency
                    + ", kvBytes " + kvBytes + ", promptCacheBytes " + promptCacheBytes + ", queueLimit " + queueLimit
                    + ", shortPrompt " + shortPrompt);
        }
    }

    /** Limits of a loop with f32 keys and values that keeps nothing, guesses nothing and lets everybody wait. */
    public BatchLimits(int contextLength, int ubatch, int maxConcurrency, long kvBytes) {
        this(
                contextLength,
                ubatch,
                ubatch,
                maxConcurrency,
                GgmlType.F32,
                kvBytes,
                0,
                Integer.MAX_VALUE,
                Speculation.OFF,
                0);
    }

    public BatchLimits withKvType(GgmlType value) {
        return with(changed -> changed.kvType = value);
    }

    public BatchLimits withUbatchBesideDecode(int value) {
        return with(changed -> changed.ubatchBesideDecode = value);
    }

    public BatchLimits withPromptCacheBytes(long value) {
        return with(changed -> changed.promptCacheBytes = value);
    }

    public BatchLimits withQueueLimit(int value) {
        return with(changed -> changed.queueLimit = value);
    }

    public BatchLimits withSpeculation(Speculation value) {
        return with(changed -> changed.speculation = value);
    }

    public BatchLimits withShortPrompt(int value) {
        return with(changed -> changed.shortPrompt = value);
    }

    private BatchLimits with(Consumer<Changed> change) {
        Changed changed = new Changed(this);
        change.accept(changed);
        return new BatchLimits(
                contextLength,
                ubatch,
                changed.ubatchBesideDecode,
                maxConcurrency,
                changed.kvType,
                kvBytes,
                changed.promptCacheBytes,
                changed.queueLimit,
                changed.speculation,
                changed.shortPrompt);
    }

    /** What a copy may have otherwise. */
    private static final class Changed {

        private int ubatchBesideDecode;
        private GgmlType kvType;
        private long promptCacheBytes;
        private int queueLimit;
        private Speculation speculation;
        private int shortPrompt;

        Changed(BatchLimits from) {
            ubatchBesideDecode = from.ubatchBesideDecode;
            kvType = from.kvType;
            promptCacheBytes = from.promptCacheBytes;
            queueLimit = from.queueLimit;
            speculation = from.speculation;
            shortPrompt = from.shortPrompt;
        }
    }
}
