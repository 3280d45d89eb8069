package dev.prefetch.prefetch;

import dev.prefetch.model.WeightBlock;
import java.util.List;
import java.util.Objects;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * What a plan is made from. Immutable; start from {@link #of}.
 *
 * @param blocks the model, in the static order
 * @param weightsBytes what resident blocks, slots and the expert cache may use together
 * @param residentBytes what resident blocks may use of it, kept experts included; {@link Long#MAX_VALUE} for all. Less
 *     forces streaming even of a model that would fit
 * @param lookAheadBlocks streamed blocks on their way while compute holds one; {@link #AUTO} to choose
 * @param bufferBytes bytes for slots; {@link #AUTO} to choose
 * @param alignment of reads, a power of two, as {@link dev.prefetch.storage.BlockReader#alignment()}
 * @param mergeGapBytes as {@link StreamingOptions#mergeGapBytes()}
 * @param expertsPerToken experts each token uses; 0 for a model without
 * @param expertCacheBytes most bytes for experts that are kept because they are asked for often; {@link Long#MAX_VALUE}
 *     for what is left, 0 to keep none
 * @param ubatchTokens tokens of a full prompt sweep
 * @param costs what blocks cost
 * @param accelerator what the host can do for a device with memory of its own, which the other numbers are then about; null
 *     where the host computes alone
 */
public record PlanRequest(
        List<WeightBlock> blocks,
        long weightsBytes,
        long residentBytes,
        long lookAheadBlocks,
        long bufferBytes,
        int alignment,
        long mergeGapBytes,
        int expertsPerToken,
        long expertCacheBytes,
        int ubatchTokens,
        CostModel costs,
        @Nullable Accelerator accelerator) {

    /** Let the planner choose. */
    public static final long AUTO = -1;

    public PlanRequest {
        blocks = List.copyOf(blocks);
        Objects.requireNonNull(costs, "costs");
        require(!blocks.isEmpty(), "a model has at least one block");
        for (int i = 0; i < blocks.size(); i++) {
            require(
                    blocks.get(i).index() == i,
                    "block " + i + " has index " + blocks.get(i).index());
        }
        require(weightsBytes >= 0, "weightsBytes must not be negative but was " + weightsBytes);
        require(residentBytes >= 0, "residentBytes must not be negative but was " + residentBytes);
        require(
                lookAheadBlocks == AUTO || lookAheadBlocks >= 0 && lookAheadBlocks <= 1000,
                "lookAheadBlocks must be between 0 and 1000 but was " + lookAheadBlocks);
        require(bufferBytes == AUTO || bufferBytes >= 0, "bufferBytes must not be negative but was " + bufferBytes);
        require(expertsPerToken >= 0, "expertsPerToken must not be negative but was " + expertsPerToken);
        require(expertCacheBytes >= 0, "expertCacheBytes must not be negative but was " + expertCacheBytes);
        require(ubatchTokens >= 1, "ubatchTokens must be at least 1 but was " + ubatchTokens);
    }

    /** Everything chosen by the planner, with assumed costs. */
    public static PlanRequest of(List<WeightBlock> blocks, long weightsBytes) {
        return new PlanRequest(
                blocks,
                weightsBytes,
                Long.MAX_VALUE,
                AUTO,
                AUTO,
                4096,
                StreamingOptions.DEFAULT_MERGE_GAP_BYTES,
                0,
                Long.MAX_VALUE,
                512,
                CostModel.ASSUMED,
                null);
    }

    public PlanRequest withWeightsBytes(long value) {
        return with(changed -> changed.weightsBytes = value);
    }

    public PlanRequest withResidentBytes(long value) {
        return with(changed -> changed.residentBytes = value);
    }

    public PlanRequest withLookAheadBlocks(long value) {
        return with(changed -> changed.lookAheadBlocks = value);
    }

    public PlanRequest withBufferBytes(long value) {
        return with(changed -> changed.bufferBytes = value);
    }

    public PlanRequest withAlignment(int value) {
        return with(changed -> changed.alignment = value);
    }

    public PlanRequest withMergeGapBytes(long value) {
        return with(changed -> changed.mergeGapBytes = value);
    }

    public PlanRequest withExpertsPerToken(int value) {
        return with(changed -> changed.expertsPerToken = value);
    }

    public PlanRequest withExpertCacheBytes(long value) {
        return with(changed -> changed.expertCacheBytes = value);
    }

    public PlanRequest withUbatchTokens(int value) {
        return with(changed -> changed.ubatchTokens = value);
    }

    public PlanRequest withCosts(CostModel value) {
        return with(changed -> changed.costs = value);
    }

    public PlanRequest withAccelerator(@Nullable Accelerator value) {
        return with(changed -> changed.accelerator = value);
    }

    private PlanRequest with(Consumer<Changed> change) {
        Changed changed = new Changed(this);
        change.accept(changed);
        return new PlanRequest(
                blocks,
                changed.weightsBytes,
                changed.residentBytes,
                changed.lookAheadBlocks,
                changed.bufferBytes,
                changed.alignment,
                changed.mergeGapBytes,
                changed.expertsPerToken,
                changed.expertCacheBytes,
                changed.ubatchTokens,
                changed.costs,
                changed.accelerator);
    }

    /** What a copy may have otherwise. */
    private static final class Changed {

        private long weightsBytes;
        private long residentBytes;
        private long lookAheadBlocks;
        private long bufferBytes;
        private int alignment;
        private long mergeGapBytes;
        private int expertsPerToken;
        private long expertCacheBytes;
        private int ubatchTokens;
        private CostModel costs;
        private @Nullable Accelerator accelerator;

        Changed(PlanRequest from) {
            weightsBytes = from.weightsBytes;
            residentBytes = from.residentBytes;
            lookAheadBlocks = from.lookAheadBlocks;
            bufferBytes = from.bufferBytes;
            alignment = from.alignment;
            mergeGapBytes = from.mergeGapBytes;
            expertsPerToken = from.expertsPerToken;
            expertCacheBytes = from.expertCacheBytes;
            ubatchTokens = from.ubatchTokens;
            costs = from.costs;
            accelerator = from.accelerator;
        }
    }

    /**
     * The host beside a device with memory of its own.
     *
     * @param hostBytes memory of the host for blocks that are not in the device's; what does not fit comes from the disk
     * @param hostCosts what blocks cost the host, and its disk
     * @param mayDecode whether the host may compute what rests in its memory for decode rows
     */
    public record Accelerator(long hostBytes, CostModel hostCosts, boolean mayDecode) {

        public Accelerator {
            Objects.requireNonNull(hostCosts, "hostCosts");
            require(hostBytes >= 0, "hostBytes must not be negative but was " + hostBytes);
        }
    }

    private static void require(boolean condition, String message) {
        if (!condition) {
            throw new IllegalArgumentException(message);
        }
    }
}
