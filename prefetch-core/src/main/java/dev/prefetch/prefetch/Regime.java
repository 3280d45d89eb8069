package dev.prefetch.prefetch;

/** What a sweep is for. */
public enum Regime {
    /** Few tokens per sweep: bound by the bytes of the weights. */
    DECODE,
    /** Many tokens per sweep, of prompts: bound by arithmetic. */
    PREFILL
}
