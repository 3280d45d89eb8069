package dev.prefetch.inference;

import org.jspecify.annotations.Nullable;

/**
 * One request on its way through the batch loop: waiting, prefilling, perhaps generating, ended. Everything but
 * {@link #cancel()} belongs to the compute thread.
 */
abstract sealed class Sequence permits GeneratingSequence, EmbeddingSequence {

    private final int[] prompt;
    private final int capacity;
    private volatile boolean cancelled;

    /** When it was made, {@link System#nanoTime()}. */
    final long submitted = System.nanoTime();

    private @Nullable KvCache cache;
    private int prefilled;

    /** Whether the listener has been told the end or a failure. */
    boolean told;

    Sequence(int[] prompt, int capacity) {
        this.prompt = prompt;
        this.capacity = capacity;
    }

    /** Asks for the end; may be called by any thread. */
    final void cancel() {
        cancelled = true;
    }

    final boolean cancelled() {
        return cancelled;
    }

    /** Positions this sequence may come to hold. */
    final int capacity() {
        return capacity;
    }

    /** Tokens of the prompt. */
    final int length() {
        return prompt.length;
    }

    final int[] prompt() {
        return prompt;
    }

    void start(KvCache promised) {
        cache = promised;
    }

    /** Whether tokens of the prompt are left to compute. */
    final boolean prefilling() {
        return prefilled < prompt.length;
    }

    /** Tokens of the prompt that are left to compute. */
    final int left() {
        return prompt.length - prefilled;
    }

    /**
     * Sees to the memory that {@link #addTo} with the same room needs.
     *
     * @throws dev.prefetch.backend.OutOfDeviceMemoryException when it cannot be had
     */
    void reserve(int room) {
        started().ensure(prefilled + Math.min(room, left()));
    }

    /** Adds this sequence's next rows to a batch; returns how many. */
    int addTo(Batch batch, int room) {
        int count = Math.min(room, left());
        boolean last = count == left();
        batch.addPrefill(
                started(), prompt, prefilled, count, last ? outputs() : Batch.Outputs.NONE, hidden(prefilled, count));
        return count;
    }

    /** Logits wanted of the rows that end the prompt. */
    Batch.Outputs outputs() {
        return Batch.Outputs.NONE;
    }

    /** Hidden states wanted of the prompt's positions {@code from .. from + count}. */
    Batch.Hidden hidden(int from, int count) {
        return Batch.Hidden.NONE;
    }

    /** Notes that the rows added were computed. */
    void computed(int rows) {
        if (prefilling()) {
            prefilled += rows;
        }
    }

    /** Whether the rows computed were the last ones needed. */
    boolean hasEnded() {
        return false;
    }

    /** Releases the memory and tells the listener the end; {@link #told} says whether it came to that. */
    abstract void end(StopCause cause);

    /** Releases the memory and tells the listener the failure. */
    abstract void fail(RuntimeException failure);

    final void release() {
        if (cache != null) {
            cache.close();
        }
    }

    final KvCache started() {
        if (cache == null) {
            throw new IllegalStateException("sequence has not been started");
        }
        return cache;
    }
}
