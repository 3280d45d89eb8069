package dev.prefetch.api;

/** Why a generation ended. */
public enum FinishReason {
    /** The model ended its turn, or a stop sequence was met. */
    STOP,
    /** {@code maxTokens} or the end of the context was reached. */
    LENGTH,
    /** The caller cancelled. */
    CANCELLED
}
