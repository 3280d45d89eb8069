package dev.prefetch.inference;

import java.util.concurrent.atomic.LongAdder;

/** Counts what is done; read by any thread. */
final class BatchCounters {

    final LongAdder promptTokens = new LongAdder();
    final LongAdder cachedPromptTokens = new LongAdder();
    final LongAdder answerTokens = new LongAdder();
    final LongAdder draftedTokens = new LongAdder();
    final LongAdder acceptedTokens = new LongAdder();
    final LongAdder embeddedTexts = new LongAdder();
    final LongAdder refused = new LongAdder();
    final LongAdder expired = new LongAdder();
    final LongAdder preemptions = new LongAdder();

    BatchTotals totals() {
        return new BatchTotals(
                promptTokens.sum(),
                cachedPromptTokens.sum(),
                answerTokens.sum(),
                draftedTokens.sum(),
                acceptedTokens.sum(),
                embeddedTexts.sum(),
                refused.sum(),
                expired.sum(),
                preemptions.sum());
    }
}
