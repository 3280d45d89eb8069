package dev.prefetch.inference;

/**
 * What a {@link BatchLoop} has to do at a moment.
 *
 * @param state whether it can do anything
 * @param running sequences that take part in sweeps
 * @param waiting sequences in the queue
 * @param kvBytesInUse bytes of KV cache promised to the running ones
 * @param kvBytesCached bytes of KV cache that keep earlier prompts and that nobody uses now
 * @param totals what was done so far
 */
public record BatchLoad(
        State state, int running, int waiting, long kvBytesInUse, long kvBytesCached, BatchTotals totals) {

    /** Whether a loop can do anything. */
    public enum State {
        /** It takes sequences. */
        OPEN,
        /** It was closed. */
        CLOSED,
        /** Its thread ended with an error; it takes nothing any more. */
        FAILED
    }
}
