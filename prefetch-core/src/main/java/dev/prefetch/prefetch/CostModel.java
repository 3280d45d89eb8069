package dev.prefetch.prefetch;

import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.model.WeightBlock.Kind;
import java.util.Locale;

/**
 * What blocks cost: compute is bound by the bytes of the weights or by arithmetic, whichever takes longer.
 *
 * @param diskBytesPerSecond bandwidth of the link that ends in the memory compute reads: the disk's, or a device's
 * @param memoryBytesPerSecond at which compute reads weights, as for one token
 * @param flopsPerSecond arithmetic of matrix products over many tokens, a multiplication and an addition counting as two
 * @param expertHitRate share of the experts found in the cache when the cache holds half of them; other sizes are
 *     scaled from it
 * @param measured whether the three rates were measured on this machine
 */
public record CostModel(
        double diskBytesPerSecond,
        double memoryBytesPerSecond,
        double flopsPerSecond,
        double expertHitRate,
        boolean measured) {

    /** What is assumed before anything was measured: a modest NVMe disk and two cores. */
    public static final CostModel ASSUMED = new CostModel(1.2e9, 8e9, 60e9, 0.6, false);

    public CostModel {
        if (!(diskBytesPerSecond > 0 && memoryBytesPerSecond > 0 && flopsPerSecond > 0)) {
            throw new IllegalArgumentException("rates must be positive but were " + diskBytesPerSecond + ", "
                    + memoryBytesPerSecond + " and " + flopsPerSecond);
        }
        if (!(expertHitRate >= 0 && expertHitRate <= 1)) {
            throw new IllegalArgumentException("expertHitRate must be between 0 and 1 but was " + expertHitRate);
        }
    }

    public CostModel withDiskBytesPerSecond(double value) {
        return new CostModel(value, memoryBytesPerSecond, flopsPerSecond, expertHitRate, measured);
    }

    /** The rates in words. */
    public String describe() {
        return String.format(
                Locale.ROOT,
                "disk %.2f GB/s, weights %.1f GB/s, %.0f GFLOP/s (%s)",
                diskBytesPerSecond / 1e9,
                memoryBytesPerSecond / 1e9,
                flopsPerSecond / 1e9,
                measured ? "measured" : "assumed");
    }

    /** Seconds to compute a dense block for a number of tokens. */
    double computeSeconds(WeightBlock block, int tokens) {
        return switch (block.kind()) {
            // A row per token is copied: nothing beside a matrix product.
            case EMBEDDING -> 0;
            // Only the last token of a prompt needs logits.
            case OUTPUT -> seconds(block, 1);
            case ATTENTION, FEED_FORWARD, FEED_FORWARD_UP, FEED_FORWARD_DOWN, EXPERT -> seconds(block, tokens);
        };
    }

    private double seconds(WeightBlock block, double tokens) {
        return Math.max(block.byteSize() / memoryBytesPerSecond, 2 * elements(block) * tokens / flopsPerSecond);
    }

    /**
     * Seconds to compute the experts of a layer.
     *
     * @param layerExperts how many there are
     * @param used how many of them are used at all
     * @param perToken how many each token uses
     */
    double expertSeconds(WeightBlock oneExpert, int layerExperts, double used, int perToken, int tokens) {
        double tokensPerExpert = used == 0 ? 0 : (double) tokens * perToken / used;
        return used == 0 ? 0 : Math.min(used, layerExperts) * seconds(oneExpert, tokensPerExpert);
    }

    /** Seconds to read bytes. */
    double transferSeconds(double bytes) {
        return bytes / diskBytesPerSecond;
    }

    /**
     * Experts of a layer that a number of tokens uses, if the router chose evenly: {@code E(1 - (1 - k/E)^M)}. An upper
     * bound; real prompts use fewer.
     */
    static double expectedExperts(int experts, int perToken, int tokens) {
        return experts * (1 - Math.pow(1 - (double) perToken / experts, tokens));
    }

    /** Share of the experts found in a cache that holds a share of them, through (0, 0), (1/2, h) and (1, 1). */
    double hitRate(double cachedShare) {
        double exponent = Math.log(Math.clamp(expertHitRate, 1e-3, 0.999)) / Math.log(0.5);
        return Math.pow(Math.clamp(cachedShare, 0, 1), exponent);
    }

    private static double elements(WeightBlock block) {
        double elements = 0;
        for (BlockTensor tensor : block.tensors()) {
            elements += (double) tensor.rows() * tensor.cols();
        }
        return elements;
    }

    /** Whether experts are used one by one rather than all. */
    static boolean isExpert(WeightBlock block) {
        return block.kind() == Kind.EXPERT;
    }
}
