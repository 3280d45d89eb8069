package dev.prefetch.model;

/** What a tensor is for. The forward pass asks for weights by role, never by name. */
public enum TensorRole {
    TOKEN_EMBEDDING,
    ATTENTION_NORM,
    ATTENTION_Q,
    ATTENTION_K,
    ATTENTION_V,
    ATTENTION_Q_BIAS,
    ATTENTION_K_BIAS,
    ATTENTION_V_BIAS,
    ATTENTION_Q_NORM,
    ATTENTION_K_NORM,
    ATTENTION_OUTPUT,
    FFN_NORM,
    FFN_GATE,
    FFN_UP,
    FFN_DOWN,
    /** Scores of the experts. */
    FFN_ROUTER,
    OUTPUT_NORM,
    OUTPUT
}
