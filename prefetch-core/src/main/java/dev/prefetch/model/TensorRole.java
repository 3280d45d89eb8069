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
    /** Per query head a score that takes attention away from all positions. */
    ATTENTION_SINKS,
    ATTENTION_OUTPUT,
    ATTENTION_OUTPUT_BIAS,
    /** Norm of the attention's result, in front of the residual sum. */
    ATTENTION_POST_NORM,
    FFN_NORM,
    FFN_GATE,
    FFN_UP,
    FFN_DOWN,
    FFN_GATE_BIAS,
    FFN_UP_BIAS,
    FFN_DOWN_BIAS,
    /** Norm of the feed-forward network's result, in front of the residual sum. */
    FFN_POST_NORM,
    /** Scores of the experts. */
    FFN_ROUTER,
    FFN_ROUTER_BIAS,
    /** Score of the network beside the experts, whose sigmoid is the weight of its result. */
    FFN_SHARED_SCORE,
    OUTPUT_NORM,
    OUTPUT
}
