package dev.prefetch.api;

import dev.prefetch.inference.BatchLoop;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.MemoryBudget;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.PlanException;
import dev.prefetch.prefetch.PlanRequest;
import dev.prefetch.prefetch.Planner;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Divides an engine's memory between KV cache, activations and weights, before anything is allocated. */
final class MemoryPlanner {

    private static final Logger LOG = LoggerFactory.getLogger(MemoryPlanner.class);

    /** Share of what activations leave that the KV cache of more than one full-length sequence may take. */
    private static final double KV_SHARE = 0.125;

    private MemoryPlanner() {}

    /**
     * @param kvPages pages of the KV cache
     * @param weights what stays and what streams
     */
    record Division(int kvPages, Plan weights) {}

    /**
     * Divides the budget: activations and the KV cache of one full-length sequence first, then weights, with at most an
     * eighth of what activations leave for the KV cache of more than one sequence.
     *
     * @param contextLength positions of a sequence
     * @param ubatch most prompt tokens per sweep
     * @throws PlanException when the weights cannot run within what is left
     */
    static Division divide(EngineOptions options, ModelConfig config, ModelGraph graph, int contextLength, int ubatch) {
        long engineBytes = engineBytes(options.memory().ram());
        long activations = BatchLoop.activationBytes(config, ubatch + options.maxConcurrency());
        long pageBytes = BatchLoop.kvPageBytes(config);
        int pagesPerSequence = BatchLoop.kvPages(contextLength);
        // Compared before it is multiplied: a page of a huge model times a huge context is beyond a long.
        long available = engineBytes - activations;
        if (pagesPerSequence >= available / pageBytes) {
            throw new PlanException(
                    ("The memory budget of %d MiB is too small: activations need %d MiB and the KV cache of"
                                    + " one sequence of %d tokens %.0f MiB, before any weights. Give the engine more"
                                    + " memory, or shorten the context")
                            .formatted(
                                    engineBytes >> 20,
                                    activations >> 20,
                                    contextLength,
                                    (double) pagesPerSequence * pageBytes / (1 << 20)));
        }
        long wantedPages = (long) pagesPerSequence * options.maxConcurrency();
        int kvPages = Math.clamp((long) (KV_SHARE * available) / pageBytes, pagesPerSequence, (int)
                Math.min(wantedPages, Integer.MAX_VALUE));
        long kvBytes = kvPages * pageBytes;
        long left = available - kvBytes;
        MemoryAmount weights = options.memory().weights();
        long weightsBytes = weights == null ? left : Math.min(left, weights.of(modelBytes(graph)));
        LOG.debug(
                "Memory: {} MiB in all, activations {} MiB, KV cache up to {} MiB, weights up to {} MiB",
                engineBytes >> 20,
                activations >> 20,
                kvBytes >> 20,
                weightsBytes >> 20);
        Plan plan = Planner.plan(PlanRequest.of(graph.blocks(), weightsBytes)
                .withLookAheadBlocks(options.memory().lookAheadBlocks())
                .withBufferBytes(options.memory().bufferBytes())
                .withExpertsPerToken(config.expertsUsed())
                .withUbatchTokens(ubatch)
                .withCosts(CostModel.ASSUMED));
        return new Division(kvPages, plan);
    }

    private static long engineBytes(@Nullable MemoryAmount ram) {
        MemoryBudget available = MemoryBudget.discover();
        return ram == null ? available.defaultEngineBytes() : ram.of(available.availableBytes());
    }

    private static long modelBytes(ModelGraph graph) {
        return Planner.modelBytes(graph.blocks());
    }
}
