package dev.prefetch.model;

/** What a tensor is for. The forward pass asks for weights by role, never by name. */
public enum TensorRole {
    TOKEN_EMBEDDING,
    /** Added to every token's embedding: the vector of the first kind of text. */
    TYPE_EMBEDDING,
    /** Added to the embedding, one vector per position. */
    POSITION_EMBEDDING,
    /** Norm of the embedding. */
    EMBEDDING_NORM,
    EMBEDDING_NORM_BIAS,
    ATTENTION_NORM,
    ATTENTION_Q,
    ATTENTION_K,
    ATTENTION_V,
    ATTENTION_Q_BIAS,
    ATTENTION_K_BIAS,
    ATTENTION_V_BIAS,
    ATTENTION_Q_NORM,
    ATTENTION_K_NORM,
    /** From the residual stream to the short vector that queries come from. */
    ATTENTION_Q_DOWN,
    ATTENTION_Q_DOWN_NORM,
    /** From the residual stream to the short vector that keys and values come from, and the rotated key behind it. */
    ATTENTION_KV_DOWN,
    ATTENTION_KV_DOWN_NORM,
    /** Per head from the short vector to the unrotated key, then the value: all keys and values of a head together. */
    ATTENTION_KV_UP,
    /** Per head from the unrotated query to the short vector of keys. */
    ATTENTION_K_UP_TRANSPOSED,
    /** Per head from the short vector to the value. */
    ATTENTION_V_UP,
    /** Per query head a score that takes attention away from all positions. */
    ATTENTION_SINKS,
    ATTENTION_OUTPUT,
    ATTENTION_OUTPUT_BIAS,
    /** From the residual stream to queries, keys and values of linear attention, in front of the convolution. */
    DELTA_QKV,
    /** From the residual stream to what gates its result. */
    DELTA_GATE,
    /** All four, per key head: its query, its key, then the values and the gates of its value heads. */
    DELTA_QKV_GATE,
    /** Weights of the convolution, per channel. */
    DELTA_CONVOLUTION,
    /** From the residual stream to what a head forgets. */
    DELTA_ALPHA,
    /** From the residual stream to how much a head learns. */
    DELTA_BETA,
    /** Both, per key head: what its value heads learn, then what they forget. */
    DELTA_BETA_ALPHA,
    /** Rate of forgetting, per value head. */
    DELTA_DECAY,
    DELTA_DECAY_BIAS,
    /** Norm of a head's result, in front of the gate. */
    DELTA_NORM,
    /** Norm of the attention's result, in front of the residual sum. */
    ATTENTION_POST_NORM,
    /** Norm of the residual stream behind the attention. */
    ATTENTION_SUM_NORM,
    ATTENTION_SUM_NORM_BIAS,
    FFN_NORM,
    FFN_GATE,
    FFN_UP,
    FFN_DOWN,
    FFN_GATE_BIAS,
    FFN_UP_BIAS,
    FFN_DOWN_BIAS,
    /** Norm of the feed-forward network's result, in front of the residual sum. */
    FFN_POST_NORM,
    /** Norm of the residual stream behind the feed-forward network; that of the last layer is {@link #OUTPUT_NORM}. */
    FFN_SUM_NORM,
    FFN_SUM_NORM_BIAS,
    /** Scores of the experts. */
    FFN_ROUTER,
    FFN_ROUTER_BIAS,
    /** Added to the scores for the choice of experts, not for their weights. */
    FFN_ROUTER_CHOICE_BIAS,
    /** Score of the network beside the experts, whose sigmoid is the weight of its result. */
    FFN_SHARED_SCORE,
    OUTPUT_NORM,
    OUTPUT_NORM_BIAS,
    OUTPUT
}
