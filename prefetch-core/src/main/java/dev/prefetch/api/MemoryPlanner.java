package dev.prefetch.api;

import dev.prefetch.backend.Device;
import dev.prefetch.inference.BatchLoop;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MeasuredCosts;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.MemoryBudget;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.PlanException;
import dev.prefetch.prefetch.PlanRequest;
import dev.prefetch.prefetch.Planner;
import java.util.OptionalLong;
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

    /** What is left of a device's memory for others, and for what its driver takes by and by. */
    private static final double RESERVE_SHARE = 0.05;

    private static final long LEAST_RESERVE_BYTES = 256L << 20;

    /** Page-locked memory through which blocks pass on their way to a device. */
    private static final long STAGING_BYTES = 16L * LocalEngine.DEVICE_CHUNK_BYTES;

    /** Largest number of prompt tokens per sweep chosen here. */
    private static final int MOST_UBATCH = 4096;

    private final EngineOptions options;
    private final ModelConfig config;
    private final ModelGraph graph;
    private final int contextLength;
    private final long hostBytes;
    private final @Nullable Device accelerator;
    private final OptionalLong deviceBytes;

    private MemoryPlanner(
            EngineOptions options,
            ModelConfig config,
            ModelGraph graph,
            int contextLength,
            @Nullable Device accelerator) {
        this.options = options;
        this.config = config;
        this.graph = graph;
        this.contextLength = contextLength;
        this.hostBytes = hostBytes(options.memory().ram());
        this.accelerator = accelerator;
        this.deviceBytes = accelerator == null
                ? OptionalLong.empty()
                : OptionalLong.of(deviceBytes(options.accelerator().memory(), freeBytes(accelerator)));
    }

    /**
     * @param ubatch most prompt tokens per sweep
     * @param kvPages pages of the KV cache
     * @param weights what stays and what streams
     */
    record Division(int ubatch, int kvPages, Plan weights) {}

    /**
     * Divides the budget: activations and the KV cache of one full-length sequence first, then weights, with at most an
     * eighth of what activations leave for the KV cache of more than one sequence. Where weights stream and the number of
     * prompt tokens per sweep is left to the engine, it grows until computing them takes longer than reading.
     *
     * @param contextLength positions of a sequence
     * @param accelerator the device with memory of its own; null where the host computes alone
     * @param measure measures what blocks cost; asked only when much does not fit
     * @throws PlanException when the weights cannot run within what is left
     */
    static Division divide(
            EngineOptions options,
            ModelConfig config,
            ModelGraph graph,
            int contextLength,
            @Nullable Device accelerator,
            Supplier<MeasuredCosts> measure) {
        return new MemoryPlanner(options, config, graph, contextLength, accelerator).divide(measure);
    }

    private Division divide(Supplier<MeasuredCosts> measure) {
        int ubatch = options.ubatch() > 0 ? options.ubatch() : EngineOptions.DEFAULT_UBATCH;
        CostModel given = options.memory().costs();
        MeasuredCosts costs = new MeasuredCosts(given == null ? CostModel.ASSUMED : given, null);
        Division division = divide(ubatch, costs);
        Plan plan = division.weights();
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

    private @Nullable Division divideIfPossible(int ubatch, MeasuredCosts costs) {
        try {
            return divide(ubatch, costs);
        } catch (PlanException e) {
            LOG.debug("No memory for {} prompt tokens per sweep: {}", ubatch, e.getMessage());
            return null;
        }
    }

    private Division divide(int ubatch, MeasuredCosts costs) {
        int rows = ubatch + options.maxConcurrency();
        long engineBytes = deviceBytes.orElse(hostBytes);
        long scratch = accelerator == null ? 0 : accelerator.scratchBytes(rows, config.widestInput());
        long activations = BatchLoop.activationBytes(config, rows) + scratch;
        long pageBytes = BatchLoop.kvPageBytes(config);
        int pagesPerSequence = BatchLoop.kvPages(contextLength);
        // Compared before it is multiplied: a page of a huge model times a huge context is beyond a long.
        long available = engineBytes - activations;
        if (pagesPerSequence >= available / pageBytes) {
            throw new PlanException(("The %s budget of %d MiB is too small: activations need %d MiB and the KV cache of"
                            + " one sequence of %d tokens %.0f MiB, before any weights. Give the engine more"
                            + " memory%s, or shorten the context")
                    .formatted(
                            deviceBytes.isPresent() ? "device memory" : "memory",
                            engineBytes >> 20,
                            activations >> 20,
                            contextLength,
                            (double) pagesPerSequence * pageBytes / (1 << 20),
                            deviceBytes.isPresent() ? " of the device (option accelerator.memory)" : ""));
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
                .withCosts(costs.primary())
                .withAccelerator(accelerator(rows, costs.host())));
        return new Division(ubatch, kvPages, plan);
    }

    /** What the host can do for a device with memory of its own. */
    private PlanRequest.@Nullable Accelerator accelerator(int rows, @Nullable CostModel costs) {
        if (deviceBytes.isEmpty()) {
            return null;
        }
        long used = BatchLoop.hostActivationBytes(config, rows) + STAGING_BYTES;
        return new PlanRequest.Accelerator(
                Math.max(0, hostBytes - used),
                costs == null ? CostModel.ASSUMED : costs,
                options.accelerator().decodeOnHost());
    }

    private static long bytes(@Nullable MemoryAmount amount, long modelBytes, long most) {
        return amount == null ? most : Math.min(most, amount.of(modelBytes));
    }

    private static long freeBytes(Device accelerator) {
        return accelerator
                .availableBytes()
                .orElseThrow(() -> new IllegalStateException(
                        "device " + accelerator.description() + " does not say how much memory is free"));
    }

    private static long deviceBytes(@Nullable MemoryAmount amount, long free) {
        long reserve = Math.max(LEAST_RESERVE_BYTES, (long) (RESERVE_SHARE * free));
        return amount == null ? Math.max(0, free - reserve) : Math.min(free, amount.of(free));
    }

    private static long hostBytes(@Nullable MemoryAmount ram) {
        MemoryBudget available = MemoryBudget.discover();
        return ram == null ? available.defaultEngineBytes() : ram.of(available.availableBytes());
    }
}
