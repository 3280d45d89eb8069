package dev.prefetch.spring.actuate;

import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.GenerationResult;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.inference.BatchTotals;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.spring.ChatFallback;
import dev.prefetch.spring.GenerationRecorder;
import dev.prefetch.spring.LoadingEngine;
import dev.prefetch.spring.PrefetchChatModel;
import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tag;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.Timer;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.function.ToDoubleFunction;

/** The meters of one engine. */
final class EngineMeters implements GenerationRecorder {

    private static final String TIME_TO_FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk";

    private final String name;
    private final PrefetchEngine engine;
    private final List<MeterRegistry> registries;

    /**
     * @param registries where generations are recorded
     */
    EngineMeters(String name, PrefetchEngine engine, List<MeterRegistry> registries) {
        this.name = name;
        this.engine = engine;
        this.registries = registries;
    }

    private Tags tags(String... more) {
        return Tags.of("engine", name, "model", model()).and(more);
    }

    /** Known once the engine is loaded; nothing is recorded before, but for refusals. */
    private String model() {
        return LoadingEngine.isLoaded(engine) ? engine.info().modelName() : "none";
    }

    /** Registers what the engine counts itself; the engine must be loaded. */
    void bindTo(MeterRegistry registry) {
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
        gauge(
                registry,
                "prefetch.kv.bytes",
                "state",
                "cached",
                "KV cache that holds earlier prompts for later ones",
                EngineStatus::kvBytesCached);
        gauge(registry, "prefetch.kv.bytes", "state", "capacity", "KV cache there is", EngineStatus::kvBytesCapacity);
        Gauge.builder("prefetch.look.ahead", engine, e -> e.status().lookAheadBlocks())
                .description("Streamed blocks on their way while compute holds one")
                .tags(tags())
                .baseUnit("blocks")
                .register(registry);
        Gauge.builder("prefetch.slots", engine, e -> e.plan().slots())
                .description("Slots that streamed blocks pass through")
                .tags(tags())
                .register(registry);
        bindCounters(registry);
        bindTransfers(registry);
    }

    private void bindCounters(MeterRegistry registry) {
        count(
                registry,
                "prefetch.prompt.cache.tokens",
                Tags.of("result", "hit"),
                "Prompt tokens of started generations by whether an earlier prompt had them",
                BatchTotals::cachedPromptTokens);
        count(
                registry,
                "prefetch.prompt.cache.tokens",
                Tags.of("result", "miss"),
                "Prompt tokens of started generations by whether an earlier prompt had them",
                counters -> counters.promptTokens() - counters.cachedPromptTokens());
        count(
                registry,
                "prefetch.drafted.tokens",
                Tags.of("result", "accepted"),
                "Guessed tokens by whether they were right",
                BatchTotals::acceptedTokens);
        count(
                registry,
                "prefetch.drafted.tokens",
                Tags.of("result", "rejected"),
                "Guessed tokens by whether they were right",
                counters -> counters.draftedTokens() - counters.acceptedTokens());
        count(
                registry,
                "prefetch.embedded.texts",
                Tags.empty(),
                "Texts whose vectors were computed",
                BatchTotals::embeddedTexts);
        count(
                registry,
                "prefetch.refused",
                Tags.of("reason", "queue"),
                "Generations that were not taken because the queue was full, or not done in their time",
                BatchTotals::refused);
        count(
                registry,
                "prefetch.refused",
                Tags.of("reason", "deadline"),
                "Generations that were not taken because the queue was full, or not done in their time",
                BatchTotals::expired);
        count(
                registry,
                "prefetch.preemptions",
                Tags.empty(),
                "How often a generation gave its KV cache to older ones and waited to begin again",
                BatchTotals::preemptions);
    }

    private void count(
            MeterRegistry registry,
            String meter,
            Iterable<Tag> more,
            String description,
            ToDoubleFunction<BatchTotals> read) {
        FunctionCounter.builder(
                        meter, engine, e -> read.applyAsDouble(e.status().counters()))
                .description(description)
                .tags(tags().and(more))
                .register(registry);
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
                "prefetch.bytes",
                Tags.of("tier", "device"),
                "Weights that compute used, by where they came from",
                PrefetchStatistics::deviceBytes);
        counter(
                registry,
                "prefetch.link.bytes",
                Tags.empty(),
                "Weights copied to a device for streaming",
                PrefetchStatistics::linkBytes);
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
                .tags(tags())
                .register(registry);
        Gauge.builder("prefetch.roofline.fraction", engine, e -> e.statistics().rooflineFraction())
                .description("The slower of compute and link over the time of the sweeps, since the start")
                .tags(tags())
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
                .tags(tags(key, value))
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
                .tags(tags().and(tags))
                .register(registry);
    }

    private void time(
            MeterRegistry registry, String name, String description, ToDoubleFunction<PrefetchStatistics> nanos) {
        FunctionCounter.builder(name, engine, e -> nanos.applyAsDouble(e.statistics()) / 1e9)
                .description(description)
                .tags(tags())
                .baseUnit("seconds")
                .register(registry);
    }

    @Override
    public void completed(GenerationResult result) {
        GenerationResult.Timings timings = result.timings();
        for (MeterRegistry registry : registries) {
            outcome(registry, result.finishReason().name().toLowerCase(Locale.ROOT));
            registry.counter("prefetch.tokens", tags("type", "prompt")).increment(result.promptTokens());
            registry.counter("prefetch.tokens", tags("type", "generated")).increment(result.completionTokens());
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
                                model())
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

    @Override
    public void fellBack(ChatFallback.Reason reason) {
        registries.forEach(registry -> registry.counter(
                        "prefetch.fallbacks", tags("reason", reason.name().toLowerCase(Locale.ROOT)))
                .increment());
    }

    private void outcome(MeterRegistry registry, String outcome) {
        registry.counter("prefetch.generations", tags("outcome", outcome)).increment();
    }

    private void record(MeterRegistry registry, String name, String description, long nanos) {
        Timer.builder(name)
                .description(description)
                .tags(tags())
                .register(registry)
                .record(Duration.ofNanos(nanos));
    }
}
