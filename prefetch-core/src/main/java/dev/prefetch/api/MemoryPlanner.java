package dev.prefetch.api;

import dev.prefetch.backend.Device;
import dev.prefetch.inference.BatchLoop;
import dev.prefetch.model.LoraAdapter;
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
import java.util.List;
import java.util.OptionalLong;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Divides an engine's memory between KV cache, activations and weights, before anything is allocated. */
final class MemoryPlanner {

    private static final Logger LOG = LoggerFactory.getLogger(MemoryPlanner.class);

    /** Copies of the state of layers of linear attention that there is room for beside sequences of full length. */
    private static final int KEPT_STATES = 2;

    /** Share of what activations leave that the KV cache of more than one full-length sequence may take. */
    private static final double KV_SHARE = 0.125;

    /**
     * The same where weights stream anyway and it holds less than a short sequence for each that may run: a sweep takes
     * about as long for sixteen as for one then, so a place for another is worth more than the bytes that it takes from
     * resident weights.
     */
    private static final double STREAMING_KV_SHARE = 0.5;

    /** Tokens of a short question with its answer. */
    private static final int SHORT_SEQUENCE = 256;

    /** What must be missing in memory before measuring pays: less is read in the time that measuring takes. */
    private static final long WORTH_MEASURING_BYTES = 256L << 20;

    /** Compute of a prompt sweep must exceed its transfers by this much, to hide them on an uneven disk. */
    private static final double HIDING = 1.25;

    /** What is left of a device's memory for others, and for what its driver takes by and by. */
    private static final double RESERVE_SHARE = 0.05;

    private static final long LEAST_RESERVE_BYTES = 256L << 20;

    /** Page-locked memory through which blocks pass on their way to a device. */
    private static final long STAGING_BYTES = 16L * Preparation.DEVICE_CHUNK_BYTES;

    /** Largest number of prompt tokens per sweep chosen here. */
    private static final int MOST_UBATCH = 4096;

    private final EngineOptions options;
    private final ModelConfig config;
    private final ModelGraph graph;
    private final List<LoraAdapter> adapters;
    private final int contextLength;
    private final long hostBytes;
    private final @Nullable Device accelerator;
    private final OptionalLong deviceBytes;

    private MemoryPlanner(EngineOptions options, Model model, int contextLength, @Nullable Device accelerator) {
        this.options = options;
        this.config = model.config();
        this.graph = model.graph();
        this.adapters = model.adapters();
        this.contextLength = contextLength;
        this.hostBytes = hostBytes(options.memory().ram());
        this.accelerator = accelerator;
        this.deviceBytes = accelerator == null
                ? OptionalLong.empty()
                : OptionalLong.of(deviceBytes(options.accelerator().memory(), freeBytes(accelerator)));
    }

    /**
     * @param ubatch most prompt tokens per sweep
     * @param kvBytes bytes of the KV cache
     * @param weights what stays and what streams
     */
    record Division(int ubatch, long kvBytes, Plan weights) {}

    /**
     * Divides the budget: activations with LoRA adapters and the KV cache of one full-length sequence first, then weights, with at most an
     * eighth of what activations leave for the KV cache of more than one sequence; up to half of it where weights stream and
     * an eighth does not hold a short sequence for each that may run at the same time. Where weights stream and the number of
     * prompt tokens per sweep is left to the engine, it grows until computing them takes longer than reading.
     *
     * @param contextLength positions of a sequence
     * @param accelerator the device with memory of its own; null where the host computes alone
     * @param measure measures what blocks cost; asked only when much does not fit
     * @throws PlanException when the weights cannot run within what is left
     */
    static Division divide(
            EngineOptions options,
            Model model,
            int contextLength,
            @Nullable Device accelerator,
            Supplier<MeasuredCosts> measure) {
        return new MemoryPlanner(options, model, contextLength, accelerator).divide(measure);
    }

    /**
     * A plan for the host alone, with room for a KV cache that is given.
     *
     * @throws PlanException when the weights cannot run within what is left
     */
    static Plan hostPlan(EngineOptions options, Model model, int ubatch, long kvBytes) {
        long bytes = hostBytes(options.memory().ram());
        int rows = ubatch + options.maxConcurrency();
        long activations =
                BatchLoop.activationBytes(model.config(), rows) + BatchLoop.adapterBytes(model.adapters(), rows);
        return Planner.plan(PlanRequest.of(model.graph().blocks(), Math.max(0, bytes - activations - kvBytes))
                .withExpertsPerToken(model.config().expertsUsed())
                .withUbatchTokens(ubatch));
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
        long activations = BatchLoop.activationBytes(config, rows) + BatchLoop.adapterBytes(adapters, rows) + scratch;
        long available = engineBytes - activations;
        long sequenceBytes = kvBytesOfSequence(ubatch);
        if (sequenceBytes >= available) {
            throw new PlanException(("The %s budget of %d MiB is too small: activations need %d MiB and the KV cache of"
                            + " one sequence of %d tokens %d MiB, before any weights. Give the engine more"
                            + " memory%s, shorten the context%s")
                    .formatted(
                            deviceBytes.isPresent() ? "device memory" : "memory",
                            engineBytes >> 20,
                            activations >> 20,
                            contextLength,
                            sequenceBytes >> 20,
                            deviceBytes.isPresent() ? " of the device (spring.ai.prefetch.cuda.vram)" : "",
                            smallerKv()));
        }
        long modelBytes = Planner.modelBytes(graph.blocks());
        // The sequence's bytes are below those available, and their number below 4096: no overflow.
        long kvBytes = Math.clamp(
                wantedKvBytes(available, bytes(options.memory().weights(), modelBytes, modelBytes), ubatch),
                sequenceBytes,
                sequenceBytes * options.maxConcurrency()
                        + KEPT_STATES
                                * BatchLoop.stateBytes(
                                        config, options.kvCacheType().format()));
        long left = available - kvBytes;
        long weightsBytes = bytes(options.memory().weights(), modelBytes, left);
        LOG.debug(
                "Memory: {} MiB in all, activations {} MiB, KV cache ({}) up to {} MiB, weights up to {} MiB",
                engineBytes >> 20,
                activations >> 20,
                options.kvCacheType().id(),
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
        return new Division(ubatch, kvBytes, plan);
    }

    /** Bytes of KV cache for all sequences together, before one of full length and all of full length limit it. */
    private long wantedKvBytes(long available, long weightsBytes, int ubatch) {
        long usual = (long) (KV_SHARE * available);
        int tokens = Math.min(contextLength, SHORT_SEQUENCE);
        long shortSequences = options.maxConcurrency()
                * BatchLoop.kvBytes(config, options.kvCacheType().format(), tokens, ubatch);
        // What weights leave costs nothing; beyond that only a model that streams anyway gives room.
        boolean streams = weightsBytes > available - usual;
        long room = Math.max(available - weightsBytes, streams ? (long) (STREAMING_KV_SHARE * available) : 0);
        return Math.max(usual, Math.min(shortSequences, room));
    }

    private String smallerKv() {
        return options.kvCacheType() != KvCacheType.F32 || deviceBytes.isPresent()
                ? ""
                : ", or keep keys and values in fewer bytes (spring.ai.prefetch.kv-cache-type=f16 or q8_0)";
    }

    /** A huge model times a huge context is beyond a long, and beyond every memory. */
    private long kvBytesOfSequence(int ubatch) {
        try {
            return BatchLoop.kvBytes(config, options.kvCacheType().format(), contextLength, ubatch);
        } catch (ArithmeticException e) {
            return Long.MAX_VALUE;
        }
    }

    /** What the host can do for a device with memory of its own. */
    private PlanRequest.@Nullable Accelerator accelerator(int rows, @Nullable CostModel costs) {
        if (deviceBytes.isEmpty()) {
            return null;
        }
        long used =
                BatchLoop.hostActivationBytes(config, rows) + BatchLoop.adapterBytes(adapters, rows) + STAGING_BYTES;
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
