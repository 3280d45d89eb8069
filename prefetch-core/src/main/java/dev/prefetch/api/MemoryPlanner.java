package dev.prefetch.api;

import dev.prefetch.inference.BatchLoop;
import dev.prefetch.model.LoraAdapter;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.MemoryBudget;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.PlanException;
import dev.prefetch.prefetch.PlanRequest;
import dev.prefetch.prefetch.Planner;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Divides an engine's memory between KV cache, activations and weights, before anything is allocated. */
final class MemoryPlanner {

    private static final Logger LOG = LoggerFactory.getLogger(MemoryPlanner.class);

    /** Share of what activations leave that the KV cache of more than one full-length sequence may take. */
    private static final double KV_SHARE = 0.125;

    /** What must be missing in memory before measuring pays: less is read in the time that measuring takes. */
    private static final long WORTH_MEASURING_BYTES = 256L << 20;

    /** Compute of a prompt sweep must exceed its transfers by this much, to hide them on an uneven disk. */
    private static final double HIDING = 1.25;

    /** Largest number of prompt tokens per sweep chosen here. */
    private static final int MOST_UBATCH = 4096;

    private final EngineOptions options;
    private final ModelConfig config;
    private final ModelGraph graph;
    private final List<LoraAdapter> adapters;
    private final int contextLength;
    private final long engineBytes;

    private MemoryPlanner(
            EngineOptions options,
            ModelConfig config,
            ModelGraph graph,
            List<LoraAdapter> adapters,
            int contextLength) {
        this.options = options;
        this.config = config;
        this.graph = graph;
        this.adapters = adapters;
        this.contextLength = contextLength;
        this.engineBytes = engineBytes(options.memory().ram());
    }

    /**
     * @param ubatch most prompt tokens per sweep
     * @param kvPages pages of the KV cache
     * @param weights what stays and what streams
     */
    record Division(int ubatch, int kvPages, Plan weights) {}

    /**
     * Divides the budget: activations with LoRA adapters and the KV cache of one full-length sequence first, then weights, with at most an
     * eighth of what activations leave for the KV cache of more than one sequence. Where weights stream and the number of
     * prompt tokens per sweep is left to the engine, it grows until computing them takes longer than reading.
     *
     * @param adapters LoRA adapters, which are always resident
     * @param contextLength positions of a sequence
     * @param measure measures what blocks cost; asked only when much does not fit
     * @throws PlanException when the weights cannot run within what is left
     */
    static Division divide(
            EngineOptions options,
            ModelConfig config,
            ModelGraph graph,
            List<LoraAdapter> adapters,
            int contextLength,
            Supplier<CostModel> measure) {
        return new MemoryPlanner(options, config, graph, adapters, contextLength).divide(measure);
    }

    private Division divide(Supplier<CostModel> measure) {
        int ubatch = options.ubatch() > 0 ? options.ubatch() : EngineOptions.DEFAULT_UBATCH;
        CostModel given = options.memory().costs();
        Division division = divide(ubatch, given == null ? CostModel.ASSUMED : given);
        Plan plan = division.weights();
        CostModel costs = plan.costs();
        if (given == null && !plan.allResident() && plan.modelBytes() - plan.allocatedBytes() > WORTH_MEASURING_BYTES) {
            costs = measure.get();
            division = divide(ubatch, costs);
        }
        while (options.ubatch() == 0
                && hidesTooLittle(division)
                && 2 * ubatch <= Math.min(contextLength, MOST_UBATCH)) {
            ubatch *= 2;
            Division larger = divideIfPossible(ubatch, costs);
            if (larger == null) {
                break;
            }
            division = larger;
        }
        return division;
    }

    private static boolean hidesTooLittle(Division division) {
        Plan.Forecast prefill = division.weights().prefill();
        return prefill.computeSeconds() < HIDING * prefill.transferSeconds();
    }

    private @Nullable Division divideIfPossible(int ubatch, CostModel costs) {
        try {
            return divide(ubatch, costs);
        } catch (PlanException e) {
            LOG.debug("No memory for {} prompt tokens per sweep: {}", ubatch, e.getMessage());
            return null;
        }
    }

    private Division divide(int ubatch, CostModel costs) {
        int rows = ubatch + options.maxConcurrency();
        long activations = BatchLoop.activationBytes(config, rows) + BatchLoop.adapterBytes(adapters, rows);
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
        long modelBytes = Planner.modelBytes(graph.blocks());
        long weightsBytes = bytes(options.memory().weights(), modelBytes, left);
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
                .withExpertCacheBytes(bytes(options.memory().expertCache(), modelBytes, Long.MAX_VALUE))
                .withUbatchTokens(ubatch)
                .withCosts(costs));
        return new Division(ubatch, kvPages, plan);
    }

    private static long bytes(@Nullable MemoryAmount amount, long modelBytes, long most) {
        return amount == null ? most : Math.min(most, amount.of(modelBytes));
    }

    private static long engineBytes(@Nullable MemoryAmount ram) {
        MemoryBudget available = MemoryBudget.discover();
        return ram == null ? available.defaultEngineBytes() : ram.of(available.availableBytes());
    }
}
