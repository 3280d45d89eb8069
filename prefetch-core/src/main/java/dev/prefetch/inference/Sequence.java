package dev.prefetch.inference;

import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One request on its way through the batch loop: waiting, prefilling, perhaps generating, ended. Everything but
 * {@link #cancel()} belongs to the compute thread.
 */
abstract sealed class Sequence permits GeneratingSequence, EmbeddingSequence {

    private static final Logger LOG = LoggerFactory.getLogger(Sequence.class);

    private final int[] prompt;
    private final int capacity;
    private volatile boolean cancelled;

    /** When it was made, {@link System#nanoTime()}. */
    final long submitted = System.nanoTime();

    private @Nullable KvCache cache;
    /** What is computed by prefill kernels: the prompt, or after a failure everything there was. */
    private int[] prefix;

    private int prefilled;

    /** Whether the listener has been told the end or a failure. */
    boolean told;

    private final long timeoutNanos;

    /** @param timeoutNanos how long it may take from now on; 0 for as long as it takes */
    Sequence(int[] prompt, int capacity, long timeoutNanos) {
        this.prompt = prompt;
        this.prefix = prompt;
        this.capacity = capacity;
        this.timeoutNanos = timeoutNanos;
    }

    /** Whether its time is up. */
    final boolean expired() {
        return timeoutNanos > 0 && System.nanoTime() - submitted >= timeoutNanos;
    }

    /** Whether nobody wants what is computed for it any more. */
    final boolean abandoned() {
        return cancelled || expired();
    }

    /** Says how far it came in its time. */
    final DeadlineExceededException deadlineExceeded() {
        return new DeadlineExceededException("not done within " + timeoutNanos / 1_000_000 + " ms: " + progress()
                + ". Allow more time, ask for fewer tokens, or let fewer run at the same time");
    }

    /** How far it came. */
    String progress() {
        return cache == null
                ? "it still waited in the queue"
                : prefilled + " of " + prompt.length + " prompt tokens were computed";
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

    /** Begins with memory, which may hold the beginning of the prompt already. */
    void start(KvCache promised) {
        cache = promised;
        prefilled = promised.cachedTokens();
    }

    /**
     * Begins again after the memory was lost: everything up to the last token is to be computed anew.
     *
     * @return what is
     */
    final int[] restart() {
        cache = null;
        prefix = known();
        prefilled = 0;
        forget();
        return prefix;
    }

    /** The tokens whose keys and values are needed to go on: the prompt and, once it is computed, what came after. */
    int[] known() {
        return prompt;
    }

    /** Forgets what was made of rows that are computed again. */
    void forget() {}

    /** What {@link #start} begins with. */
    final int[] prefix() {
        return prefix;
    }

    /** Tokens of the prompt that may come from the prompt cache: the last one is computed for what follows from it. */
    final int mostCachedTokens() {
        return keepsPrompt() ? prefix.length - 1 : 0;
    }

    /** Whether the prompt is shared with those that begin with the same tokens. */
    abstract boolean keepsPrompt();

    /** Whether tokens of the prompt are left to compute. */
    final boolean prefilling() {
        return prefilled < prefix.length;
    }

    /** Tokens of the prompt that are left to compute. */
    final int left() {
        return prefix.length - prefilled;
    }

    /**
     * Sees to the memory that {@link #addTo} with the same room needs.
     *
     * @throws dev.prefetch.backend.OutOfDeviceMemoryException when it cannot be had
     */
    void reserve(int room) {
        started().ensure(prefilled, prefilled + Math.min(room, left()));
    }

    /** Adds this sequence's next rows to a batch; returns how many. */
    int addTo(Batch batch, int room) {
        int count = Math.min(room, left());
        boolean last = count == left();
        batch.addPrefill(
                started(), prefix, prefilled, count, last ? outputs() : Batch.Outputs.NONE, hidden(prefilled, count));
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
            if (keepsPrompt()) {
                started().keep(prefix, prefilled);
            }
        }
    }

    /** Whether the rows computed were the last ones needed. */
    boolean hasEnded() {
        return false;
    }

    /** Ends it and tells its listener, or the listener's failure if it did not hear of the end. */
    final void conclude(StopCause cause) {
        RuntimeException failure;
        try {
            end(cause);
            return;
        } catch (RuntimeException e) {
            failure = e;
        } catch (Error e) {
            failure = new IllegalStateException("a listener failed: " + e, e);
        }
        if (told) {
            LOG.warn("A listener failed when told of the end of its sequence", failure);
        } else {
            // It did not take the last piece of text; whoever waits for the end has to hear of one.
            conclude(failure);
        }
    }

    /** Ends it with a failure and tells its listener. */
    final void conclude(RuntimeException failure) {
        try {
            fail(failure);
        } catch (RuntimeException | Error e) {
            LOG.warn("A listener failed when told of a failure", e);
        }
    }

    /** Releases the memory and tells the listener the end; {@link #told} says whether it came to that. */
    abstract void end(StopCause cause);

    /** Releases the memory and tells the listener the failure. */
    abstract void fail(RuntimeException failure);

    final void release() {
        if (cache != null && keepsPrompt()) {
            cache.close(prefix, prefilled);
        } else if (cache != null) {
            cache.close();
        }
    }

    /** Tokens of the prompt that came from the prompt cache. */
    final int cachedTokens() {
        return cache == null ? 0 : cache.cachedTokens();
    }

    final KvCache started() {
        if (cache == null) {
            throw new IllegalStateException("sequence has not been started");
        }
        return cache;
    }
}
