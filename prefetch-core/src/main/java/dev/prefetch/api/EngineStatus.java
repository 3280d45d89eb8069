package dev.prefetch.api;

import dev.prefetch.inference.BatchTotals;
import java.time.Instant;
import org.jspecify.annotations.Nullable;

/**
 * How an engine is doing at a moment.
 *
 * @param state whether it answers
 * @param running generations that take part in sweeps
 * @param waiting generations in the queue
 * @param maxConcurrency most generations that run at the same time
 * @param kvBytesInUse KV cache promised to running generations
 * @param kvBytesCached KV cache that holds earlier prompts for later ones and is given up when its place is needed
 * @param kvBytesCapacity KV cache there is
 * @param lookAheadBlocks streamed blocks on their way while compute holds one; 0 also when nothing streams
 * @param generations generations started since the engine was opened
 * @param failures of them, those that failed
 * @param lastFault the last failure, or null when there was none
 * @param counters what was done so far
 */
public record EngineStatus(
        State state,
        int running,
        int waiting,
        int maxConcurrency,
        long kvBytesInUse,
        long kvBytesCached,
        long kvBytesCapacity,
        int lookAheadBlocks,
        long generations,
        long failures,
        @Nullable Fault lastFault,
        BatchTotals counters) {

    /** A status of an engine that has done nothing yet. */
    public EngineStatus(
            State state,
            int running,
            int waiting,
            int maxConcurrency,
            long kvBytesInUse,
            long kvBytesCapacity,
            int lookAheadBlocks,
            long generations,
            long failures,
            @Nullable Fault lastFault) {
        this(
                state,
                running,
                waiting,
                maxConcurrency,
                kvBytesInUse,
                0,
                kvBytesCapacity,
                lookAheadBlocks,
                generations,
                failures,
                lastFault,
                BatchTotals.NONE);
    }

    /** The status of an engine that is not there: nothing runs and nothing is counted. */
    public static EngineStatus absent(State state) {
        return new EngineStatus(state, 0, 0, 0, 0, 0, 0, 0, 0, null);
    }

    /** Whether an engine answers. */
    public enum State {
        /** It is being loaded, by an application that opens it in the background. */
        LOADING,
        /** It takes requests. */
        READY,
        /** It takes requests, and the host computes them since its device failed; the device is tried again by and by. */
        DEGRADED,
        /** It was closed. */
        CLOSED,
        /** Its compute thread ended with an error; the engine has to be opened anew. */
        FAILED
    }

    /**
     * A generation that failed.
     *
     * @param at when
     * @param message what was said
     */
    public record Fault(Instant at, String message) {}
}
