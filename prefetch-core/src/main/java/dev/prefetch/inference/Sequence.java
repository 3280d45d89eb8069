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

    /** Tokens of an answer that memory is promised for at first; the more, the fewer run, and the seldomer one gives way. */
    static final int FIRST_ANSWER_TOKENS = 4 * KvLayout.PAGE_TOKENS;

    private final int[] prompt;
    private final int capacity;
    private volatile boolean cancelled;

    /** When it was made, {@link System#nanoTime()}. */
    final long submitted = System.nanoTime();

    private @Nullable KvCache cache;
    /** What is computed before anything follows: the prompt, and everything there was when it begins again. */
    private int[] prefix;
    /** First position of the prefix that is computed by decode kernels; those before are by prefill kernels. */
    private int decodedFrom;

    private int prefilled;
    private boolean startedBefore;
    private int cachedTokens;

    /** Whether the listener has been told the end or a failure. */
    boolean told;

    private final long timeoutNanos;

    /**
     * @param decodedFrom first position of the prompt that is computed by decode kernels
     * @param timeoutNanos how long it may take from now on; 0 for as long as it takes
     */
    Sequence(int[] prompt, int decodedFrom, int capacity, long timeoutNanos) {
        this.prompt = prompt;
        this.prefix = prompt;
        this.decodedFrom = decodedFrom;
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

    /** Positions that memory is promised for when it starts: all it begins with, and a few of what may follow. */
    final int firstPositions() {
        return Math.min(capacity, prefix.length + FIRST_ANSWER_TOKENS);
    }

    /** Asks for the memory of the next row; false when there is no room for it now. */
    boolean promiseNext() {
        // All it begins with was promised when it started.
        return true;
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
        if (!startedBefore) {
            startedBefore = true;
            cachedTokens = prefilled;
        }
    }

    /** Whether it has been started before, and begins again. */
    final boolean startedBefore() {
        return startedBefore;
    }

    /**
     * Gives the memory back to those that need it more. When it starts again everything up to the last token is computed anew,
     * each by the kernels that computed it first, so what follows has the same bits.
     */
    final void preempt() {
        release();
        beginAgain();
    }

    /**
     * Begins again after the memory was lost, elsewhere: everything up to the last token is computed anew, as fast as that is
     * done.
     */
    final void moved() {
        beginAgain();
        if (prefix != prompt) {
            decodedFrom = prefix.length;
        }
    }

    private void beginAgain() {
        cache = null;
        prefix = known();
        prefilled = 0;
        forget();
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

    /**
     * Tokens that may come from the prompt cache, which has what prefill kernels computed: not the last one when its row is
     * needed for what follows from it.
     */
    final int mostCachedTokens() {
        int needed = outputs() == Batch.Outputs.NONE ? 0 : 1;
        return keepsPrompt() ? Math.min(decodedFrom, prefix.length - needed) : 0;
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

    /** Whether the tokens of the prompt that come next are computed by decode kernels. */
    final boolean decodesPrompt() {
        return prefilling() && prefilled >= decodedFrom;
    }

    /** How many tokens of the prompt come next where there is room for so many. */
    final int next(int room) {
        return Math.min(room, (decodesPrompt() ? prefix.length : decodedFrom) - prefilled);
    }

    /**
     * Sees to the memory that {@link #addTo} with the same room needs.
     *
     * @throws dev.prefetch.backend.OutOfDeviceMemoryException when it cannot be had
     */
    void reserve(int room) {
        int to = prefilled + next(room);
        started().ensure(prefilled, to);
        if (keepsPrompt()) {
            // A prompt that is the same to its end computes its last token for what follows.
            started().passes(prefilled, to, to == prefix.length ? to - 1 : 0);
        }
    }

    /** Adds this sequence's next rows to a batch; returns how many. */
    int addTo(Batch batch, int room) {
        int count = next(room);
        Batch.Outputs wanted = count == left() ? outputs() : Batch.Outputs.NONE;
        if (decodesPrompt()) {
            batch.addDecodedPrompt(started(), prefix, prefilled, count, wanted);
        } else {
            batch.addPrefill(started(), prefix, prefilled, count, wanted, hidden(prefilled, count));
        }
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
                started().keep(prefix, Math.min(prefilled, decodedFrom));
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
            cache.close(prefix, Math.min(prefilled, decodedFrom));
        } else if (cache != null) {
            cache.close();
        }
    }

    /** Tokens of the prompt that came from the prompt cache. */
    final int cachedTokens() {
        return cachedTokens;
    }

    final KvCache started() {
        if (cache == null) {
            throw new IllegalStateException("sequence has not been started");
        }
        return cache;
    }
}
