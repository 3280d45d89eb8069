package dev.prefetch.spring.actuate;

import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.GenerationResult;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.spring.GenerationRecorder;
import dev.prefetch.spring.PrefetchChatModel;
import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tag;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.Timer;
import io.micrometer.core.instrument.binder.MeterBinder;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.ToDoubleFunction;

/**
 * Meters of an engine, all tagged with the model's name. What the engine counts itself is read when a registry asks; what
 * belongs to a single generation is recorded when it ends.
 */
public final class PrefetchMetrics implements MeterBinder, GenerationRecorder {

    private static final String TIME_TO_FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk";

    private final PrefetchEngine engine;
    private final String model;
    private final List<MeterRegistry> registries = new CopyOnWriteArrayList<>();

    public PrefetchMetrics(PrefetchEngine engine) {
        this.engine = engine;
        this.model = engine.info().modelName();
    }

    @Override
    public void bindTo(MeterRegistry registry) {
        registries.add(registry);
        gauge(
                registry,
                "prefetch.generations.active",
                "state",
                "running",
                "Generations in the running batch",
                EngineStatus::running);
        gauge(
                registry,
                "prefetch.generations.active",
                "state",
                "waiting",
                "Generations in the queue",
                EngineStatus::waiting);
        gauge(
                registry,
                "prefetch.kv.bytes",
                "state",
                "used",
                "KV cache promised to running generations",
                EngineStatus::kvBytesInUse);
        gauge(registry, "prefetch.kv.bytes", "state", "capacity", "KV cache there is", EngineStatus::kvBytesCapacity);
        Gauge.builder("prefetch.look.ahead", engine, e -> e.status().lookAheadBlocks())
                .description("Streamed blocks on their way while compute holds one")
                .tag("model", model)
                .baseUnit("blocks")
                .register(registry);
        Gauge.builder("prefetch.slots", engine, e -> e.plan().slots())
                .description("Slots that streamed blocks pass through")
                .tag("model", model)
                .register(registry);
        bindTransfers(registry);
    }

    private void bindTransfers(MeterRegistry registry) {
        counter(registry, "prefetch.sweeps", Tags.empty(), "Passes over the weights", PrefetchStatistics::sweeps);
        counter(
                registry,
                "prefetch.bytes",
                Tags.of("tier", "disk"),
                "Weights that compute used, by where they came from",
                PrefetchStatistics::diskBytes);
        counter(
                registry,
                "prefetch.bytes",
                Tags.of("tier", "host"),
                "Weights that compute used, by where they came from",
                PrefetchStatistics::hostBytes);
        counter(
                registry,
                "prefetch.experts",
                Tags.of("result", "hit"),
                "Experts asked for in decode sweeps",
                PrefetchStatistics::expertHits);
        counter(
                registry,
                "prefetch.experts",
                Tags.of("result", "miss"),
                "Experts asked for in decode sweeps",
                PrefetchStatistics::expertMisses);
        counter(
                registry,
                "prefetch.transfer.errors",
                Tags.of("outcome", "retried"),
                "Reads that failed",
                PrefetchStatistics::retries);
        counter(
                registry,
                "prefetch.transfer.errors",
                Tags.of("outcome", "failed"),
                "Reads that failed",
                PrefetchStatistics::failures);
        time(registry, "prefetch.sweep.time", "Time of all sweeps", PrefetchStatistics::sweepNanos);
        time(
                registry,
                "prefetch.stall.time",
                "Time of sweeps in which compute waited for weights",
                PrefetchStatistics::stallNanos);
        time(
                registry,
                "prefetch.link.time",
                "Time of sweeps in which a read was in progress",
                PrefetchStatistics::linkBusyNanos);
        Gauge.builder("prefetch.overlap.efficiency", engine, e -> e.statistics().overlapEfficiency())
                .description("Share of the hideable transfer time that was hidden, since the start")
                .tag("model", model)
                .register(registry);
        Gauge.builder("prefetch.roofline.fraction", engine, e -> e.statistics().rooflineFraction())
                .description("The slower of compute and link over the time of the sweeps, since the start")
                .tag("model", model)
                .register(registry);
    }

    private void gauge(
            MeterRegistry registry,
            String name,
            String key,
            String value,
            String description,
            ToDoubleFunction<EngineStatus> read) {
        Gauge.builder(name, engine, e -> read.applyAsDouble(e.status()))
                .description(description)
                .tag("model", model)
                .tag(key, value)
                .register(registry);
    }

    private void counter(
            MeterRegistry registry,
            String name,
            Iterable<Tag> tags,
            String description,
            ToDoubleFunction<PrefetchStatistics> read) {
        FunctionCounter.builder(name, engine, e -> read.applyAsDouble(e.statistics()))
                .description(description)
                .tag("model", model)
                .tags(tags)
                .register(registry);
    }

    private void time(
            MeterRegistry registry, String name, String description, ToDoubleFunction<PrefetchStatistics> nanos) {
        FunctionCounter.builder(name, engine, e -> nanos.applyAsDouble(e.statistics()) / 1e9)
                .description(description)
                .tag("model", model)
                .baseUnit("seconds")
                .register(registry);
    }

    @Override
    public void completed(GenerationResult result) {
        GenerationResult.Timings timings = result.timings();
        for (MeterRegistry registry : registries) {
            outcome(registry, result.finishReason().name().toLowerCase(Locale.ROOT));
            registry.counter("prefetch.tokens", "model", model, "type", "prompt")
                    .increment(result.promptTokens());
            registry.counter("prefetch.tokens", "model", model, "type", "generated")
                    .increment(result.completionTokens());
            record(registry, "prefetch.queue.time", "Time from the request to the first sweep", timings.queueNanos());
            if (timings.firstTokenNanos() > 0) {
                Timer.builder(TIME_TO_FIRST_CHUNK)
                        .description("Time from the request to the first token")
                        .tags(
                                "gen_ai.operation.name",
                                "chat",
                                "gen_ai.system",
                                PrefetchChatModel.PROVIDER,
                                "gen_ai.response.model",
                                model)
                        .register(registry)
                        .record(Duration.ofNanos(timings.firstTokenNanos()));
            }
            if (result.completionTokens() > 1) {
                record(
                        registry,
                        "prefetch.token.time",
                        "Mean time per generated token of a generation, the first one excepted",
                        timings.decodeNanos() / (result.completionTokens() - 1));
            }
        }
    }

    @Override
    public void failed(RuntimeException failure) {
        registries.forEach(registry -> outcome(registry, "error"));
    }

    private void outcome(MeterRegistry registry, String outcome) {
        registry.counter("prefetch.generations", "model", model, "outcome", outcome)
                .increment();
    }

    private void record(MeterRegistry registry, String name, String description, long nanos) {
        Timer.builder(name)
                .description(description)
                .tag("model", model)
                .register(registry)
                .record(Duration.ofNanos(nanos));
    }
}
