package dev.prefetch.model;

import dev.prefetch.backend.Rope;

/**
 * What an architecture does, as data.
 *
 * @param ropeLayout pairing of the rotary embedding
 * @param headNorms how queries and keys are normalised before rotation
 * @param layerNorms where a layer normalises
 * @param activation what the feed-forward network does between its matrices
 * @param routing how the scores of experts become weights
 * @param encoder whether it makes vectors of texts instead of continuing them: every position sees the whole text, norms are
 *     layer norms with a bias, the embedding has a norm of its own, and there are no logits
 * @param learntPositions whether every position has a vector that is added to the embedding, and nothing rotates
 * @param latentAttention whether keys and values come from one short vector per token
 * @param deltaHeads which key head a value head of linear attention reads
 * @param sinks whether every head has a learnt score that takes attention away from all positions
 * @param embeddingTimesSqrtDim whether the embedding is multiplied by the square root of its width
 * @param multipliers whether the file has factors for embedding, residual branches, attention scores and logits
 * @param slidingPeriod the last of every so many layers sees everything, the others a window; 0 where none slides
 * @param slidingWindow the window where the file is silent; 0 for none
 * @param slidingUnscaled whether layers with a window rotate without the scaling of the others
 * @param slidingRopeBase base frequency of their rotation where the file is silent; 0 for that of the others
 * @param unrotatedPeriod the last of every so many layers does not rotate; 0 where all do
 * @param attentionSoftCap soft cap of attention scores where the file is silent; 0 for none
 * @param logitSoftCap soft cap of the logits where the file is silent; 0 for none
 */
public record Traits(
        Rope.Layout ropeLayout,
        HeadNorms headNorms,
        LayerNorms layerNorms,
        Activation activation,
        Routing routing,
        boolean encoder,
        boolean learntPositions,
        boolean latentAttention,
        DeltaHeads deltaHeads,
        boolean sinks,
        boolean embeddingTimesSqrtDim,
        boolean multipliers,
        int slidingPeriod,
        int slidingWindow,
        boolean slidingUnscaled,
        float slidingRopeBase,
        int unrotatedPeriod,
        float attentionSoftCap,
        float logitSoftCap) {

    /** How queries and keys are normalised. */
    public enum HeadNorms {
        NONE,
        /** Every head by itself, with one gain for all. */
        EACH_HEAD,
        /** All heads of a token together. */
        ALL_HEADS
    }

    /**
     * Where a layer normalises: in front of attention and feed-forward network, or behind, before the residual sum or the
     * sum itself.
     */
    public enum LayerNorms {
        BEFORE,
        BEFORE_AND_AFTER,
        AFTER,
        /** In front; the tensor in front of the feed-forward network is called {@code post_attention_norm}. */
        BEFORE_BY_ANOTHER_NAME,
        /** The residual sum, as in the first transformers. */
        OF_THE_SUM
    }

    /** The activation of a feed-forward network. */
    public enum Activation {
        SWIGLU,
        GEGLU,
        /** SwiGLU with clamped inputs, a steeper sigmoid and one added to the linear part. */
        CLAMPED_SWIGLU,
        /** Without a gate: the network has two matrices. */
        GELU;

        /** Whether one of two matrices gates what the other gives. */
        public boolean gated() {
            return this != GELU;
        }
    }

    /** How the scores of experts become the weights of their results. */
    public enum Routing {
        /** The softmax of the chosen experts' scores: the weights add up to one. */
        SOFTMAX_OVER_CHOSEN,
        /** The chosen experts' part of the softmax of all scores. */
        SOFTMAX_OVER_ALL,
        /** As the file says; see {@link ExpertRouting}. */
        OF_THE_FILE
    }

    /**
     * Layers of linear attention, a gated delta network, between those of attention; then attention has a gate behind it,
     * and files may carry further layers that guess tokens ahead.
     */
    public enum DeltaHeads {
        /** There are no such layers. */
        NONE,
        /** The value heads of a key head stand side by side. */
        SIDE_BY_SIDE,
        /** As many value heads as there are key heads read one each, and so do the next ones. */
        INTERLEAVED
    }

    /** Whether results are normalised before they are added to the residual stream. */
    boolean normsAfter() {
        return layerNorms == LayerNorms.AFTER || layerNorms == LayerNorms.BEFORE_AND_AFTER;
    }

    /** Starts from a plain decoder in the manner of Llama, with that pairing of the rotary embedding. */
    static Builder rotating(Rope.Layout layout) {
        return new Builder(layout);
    }

    /** Starts from a plain encoder in the manner of BERT, with rotating positions and a gated network. */
    static Builder encoding() {
        Builder builder = new Builder(Rope.Layout.HALVES).with(LayerNorms.OF_THE_SUM);
        builder.encoder = true;
        return builder;
    }

    /** Collects what differs from the plain model. */
    static final class Builder {

        private final Rope.Layout ropeLayout;
        private HeadNorms headNorms = HeadNorms.NONE;
        private LayerNorms layerNorms = LayerNorms.BEFORE;
        private Activation activation = Activation.SWIGLU;
        private Routing routing = Routing.SOFTMAX_OVER_CHOSEN;
        private boolean encoder;
        private boolean learntPositions;
        private boolean latentAttention;
        private DeltaHeads deltaHeads = DeltaHeads.NONE;
        private boolean sinks;
        private boolean embeddingTimesSqrtDim;
        private boolean multipliers;
        private int slidingPeriod;
        private int slidingWindow;
        private boolean slidingUnscaled;
        private float slidingRopeBase;
        private int unrotatedPeriod;
        private float attentionSoftCap;
        private float logitSoftCap;

        private Builder(Rope.Layout ropeLayout) {
            this.ropeLayout = ropeLayout;
        }

        Builder with(HeadNorms value) {
            headNorms = value;
            return this;
        }

        Builder with(LayerNorms value) {
            layerNorms = value;
            return this;
        }

        Builder with(Activation value) {
            activation = value;
            return this;
        }

        Builder with(Routing value) {
            routing = value;
            return this;
        }

        Builder withLearntPositions() {
            learntPositions = true;
            return this;
        }

        Builder withLatentAttention() {
            latentAttention = true;
            return this;
        }

        Builder with(DeltaHeads value) {
            deltaHeads = value;
            return this;
        }

        Builder withSinks() {
            sinks = true;
            return this;
        }

        Builder scalingTheEmbedding() {
            embeddingTimesSqrtDim = true;
            return this;
        }

        Builder withMultipliers() {
            multipliers = true;
            return this;
        }

        Builder sliding(int period, int window) {
            slidingPeriod = period;
            slidingWindow = window;
            return this;
        }

        Builder slidingUnscaled(float ropeBase) {
            slidingUnscaled = true;
            slidingRopeBase = ropeBase;
            return this;
        }

        Builder leavingOutRotationEvery(int period) {
            unrotatedPeriod = period;
            return this;
        }

        Builder softCaps(float attention, float logits) {
            attentionSoftCap = attention;
            logitSoftCap = logits;
            return this;
        }

        Traits build() {
            return new Traits(
                    ropeLayout,
                    headNorms,
                    layerNorms,
                    activation,
                    routing,
                    encoder,
                    learntPositions,
                    latentAttention,
                    deltaHeads,
                    sinks,
                    embeddingTimesSqrtDim,
                    multipliers,
                    slidingPeriod,
                    slidingWindow,
                    slidingUnscaled,
                    slidingRopeBase,
                    unrotatedPeriod,
                    attentionSoftCap,
                    logitSoftCap);
        }
    }
}
