package dev.prefetch.model;

/**
 * Shape of multi-head latent attention (DeepSeek-AI 2024, arXiv 2405.04434): keys and values of all heads come from one
 * short vector per token, beside which every token has a rotated key that all heads share.
 *
 * @param queryRank width of the vector that queries come from; 0 where they come from the residual stream
 * @param rank width of the vector that keys and values come from
 * @param keyDim elements per query and key head, the rotated ones included
 * @param rotatedDim rotated elements of a head, its last
 * @param valueDim elements per value head
 * @param absorbed whether the file has the matrices of keys and values apart, so that attention works on the short vectors
 *     themselves; otherwise keys and values of all heads are computed and cached
 */
public record LatentShape(int queryRank, int rank, int keyDim, int rotatedDim, int valueDim, boolean absorbed) {

    /** Elements of a head that are not rotated. */
    public int plainDim() {
        return keyDim - rotatedDim;
    }

    /**
     * {@code attention.key_length_mla} says that a file has the matrices of keys and values apart; then
     * {@code attention.key_length} and {@code value_length} are those of the short vectors.
     *
     * @param heads query heads
     */
    static LatentShape read(ModelConfig.Keys keys, int heads) {
        boolean absorbed = keys.contains("attention.key_length_mla");
        String suffix = absorbed ? "_mla" : "";
        int keyDim = keys.width("attention.key_length" + suffix);
        int valueDim = keys.width("attention.value_length" + suffix);
        int rotatedDim = keys.width("rope.dimension_count");
        if (rotatedDim >= keyDim) {
            throw keys.refuse("rope.dimension_count", rotatedDim + " leaves nothing of a head of " + keyDim);
        }
        keys.requireWidth("attention.key_length" + suffix, (long) heads * keyDim);
        keys.requireWidth("attention.value_length" + suffix, (long) heads * valueDim);
        int queryRank = keys.contains("attention.q_lora_rank") ? keys.width("attention.q_lora_rank") : 0;
        if (keys.contains("attention.temperature_scale")) {
            throw keys.refuse("attention.temperature_scale", "scores that depend on the position are not supported");
        }
        int rank = keys.width("attention.kv_lora_rank");
        return new LatentShape(queryRank, rank, keyDim, rotatedDim, valueDim, absorbed);
    }
}
