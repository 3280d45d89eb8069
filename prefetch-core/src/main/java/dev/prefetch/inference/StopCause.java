package dev.prefetch.inference;

/** Why a sequence ended. */
public enum StopCause {
    /** The model gave an end token. */
    END_TOKEN,
    /** A stop sequence was met. */
    STOP_SEQUENCE,
    /** As many tokens as asked for. */
    MAX_TOKENS,
    /** No room left in the context. */
    CONTEXT_FULL,
    /** The caller cancelled. */
    CANCELLED
}
