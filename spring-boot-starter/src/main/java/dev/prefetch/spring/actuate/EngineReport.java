package dev.prefetch.spring.actuate;

import dev.prefetch.api.EngineInfo;
import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.backend.Device.SlowPath;
import dev.prefetch.inference.BatchTotals;
import dev.prefetch.prefetch.LinkReport;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.spring.LoadState;
import dev.prefetch.spring.LoadingEngine;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** An engine in maps that become JSON: one place for the names that health, information and the endpoint use. */
final class EngineReport {

    private final PrefetchEngine engine;

    EngineReport(PrefetchEngine engine) {
        this.engine = engine;
    }

    /** Whether there is more to report than how far loading is. */
    boolean isLoaded() {
        return LoadingEngine.isLoaded(engine);
    }

    /** How far loading is; empty for an engine that is not loaded in the background. */
    Map<String, Object> loading() {
        Map<String, Object> loading = new LinkedHashMap<>();
        if (engine instanceof LoadingEngine background) {
            LoadState state = background.loadState();
            loading.put("phase", state.phase());
            loading.put("percent", state.percent());
            loading.put("loadedBytes", state.loadedBytes());
            loading.put("totalBytes", state.totalBytes());
            loading.put("elapsedMillis", state.elapsed().toMillis());
            if (state.problem() != null) {
                loading.put("problem", state.problem());
            }
        }
        return loading;
    }

    /** Everything but the blocks and the trace. */
    Map<String, Object> everything() {
        Map<String, Object> all = new LinkedHashMap<>();
        if (!isLoaded()) {
            all.put("load", Map.of("state", engine.status().state()));
            all.put("loading", loading());
            return all;
        }
        all.put("model", model());
        all.put("backend", backend());
        all.put("load", load());
        all.put("memory", memory());
        all.put("plan", plan());
        all.put("statistics", statistics());
        all.put("slowPaths", slowPaths());
        return all;
    }

    Map<String, Object> model() {
        EngineInfo info = engine.info();
        Map<String, Object> model = new LinkedHashMap<>();
        model.put("name", info.modelName());
        model.put("file", info.modelFile().toString());
        model.put("fileBytes", info.fileBytes());
        model.put("architecture", info.architecture());
        model.put("parameters", info.parameters());
        model.put("quantization", info.quantization());
        model.put("layers", info.layers());
        model.put("contextLength", info.contextLength());
        model.put("trainedContextLength", info.trainedContextLength());
        model.put("loadMillis", info.loadNanos() / 1_000_000);
        model.put("warmUpMillis", info.warmUpNanos() / 1_000_000);
        return model;
    }

    Map<String, Object> backend() {
        EngineInfo info = engine.info();
        Map<String, Object> backend = new LinkedHashMap<>();
        backend.put("id", info.backend());
        backend.put("device", info.device());
        backend.put("threads", info.threads());
        LinkReport link = info.link();
        if (link != null) {
            backend.put("link", Map.of("pageLocked", link.pageLocked(), "pageable", link.pageable()));
        }
        return backend;
    }

    List<SlowPath> slowPaths() {
        return engine.info().slowPaths();
    }

    Map<String, Object> memory() {
        Plan plan = engine.plan();
        EngineStatus status = engine.status();
        Map<String, Object> memory = new LinkedHashMap<>();
        memory.put("modelBytes", plan.modelBytes());
        memory.put("weightsBudgetBytes", plan.weightsBudgetBytes());
        memory.put("weightsAllocatedBytes", plan.allocatedBytes());
        memory.put("weightsMappedBytes", plan.bytes(Plan.Residency.MAPPED));
        memory.put("kvCacheType", engine.info().kvCacheType().id());
        memory.put("kvCacheBytesInUse", status.kvBytesInUse());
        memory.put("kvCacheBytesCached", status.kvBytesCached());
        memory.put("kvCacheBytesCapacity", status.kvBytesCapacity());
        return memory;
    }

    Map<String, Object> plan() {
        Plan plan = engine.plan();
        Map<String, Object> summary = new LinkedHashMap<>();
        summary.put("summary", plan.summary());
        summary.put("allResident", plan.allResident());
        for (Plan.Residency residency : Plan.Residency.values()) {
            if (plan.count(residency) > 0) {
                summary.put(
                        residency.name().toLowerCase(java.util.Locale.ROOT),
                        Map.of("blocks", plan.count(residency), "bytes", plan.bytes(residency)));
            }
        }
        summary.put("slots", plan.slots());
        summary.put("slotBytes", plan.slotBytes());
        summary.put("expertSlots", plan.expertSlots());
        summary.put("expectedDecodeTokensPerSecond", plan.decode().tokensPerSecond());
        summary.put("expectedPrefillTokensPerSecond", plan.prefill().tokensPerSecond());
        return summary;
    }

    Map<String, Object> load() {
        EngineStatus status = engine.status();
        Map<String, Object> load = new LinkedHashMap<>();
        load.put("state", status.state());
        load.put("running", status.running());
        load.put("waiting", status.waiting());
        load.put("maxConcurrency", status.maxConcurrency());
        load.put("lookAheadBlocks", status.lookAheadBlocks());
        load.put("lookAheadChosen", engine.choosesLookAhead() ? "auto" : "fixed");
        load.put("generations", status.generations());
        load.put("failures", status.failures());
        BatchTotals counters = status.counters();
        load.put("refused", counters.refused());
        load.put("expired", counters.expired());
        load.put("preemptions", counters.preemptions());
        load.put("promptTokens", counters.promptTokens());
        load.put("cachedPromptTokens", counters.cachedPromptTokens());
        load.put("draftedTokens", counters.draftedTokens());
        load.put("acceptedTokens", counters.acceptedTokens());
        load.put("embeddedTexts", counters.embeddedTexts());
        if (status.lastFault() != null) {
            load.put("lastFault", fault(status.lastFault()));
        }
        return load;
    }

    static Map<String, Object> fault(EngineStatus.Fault fault) {
        return Map.of("at", fault.at().toString(), "message", fault.message());
    }

    Map<String, Object> statistics() {
        PrefetchStatistics statistics = engine.statistics();
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("sweeps", statistics.sweeps());
        map.put("sweepMillis", statistics.sweepNanos() / 1_000_000);
        map.put("computeMillis", statistics.computeNanos() / 1_000_000);
        map.put("stallMillis", statistics.stallNanos() / 1_000_000);
        map.put("linkBusyMillis", statistics.linkBusyNanos() / 1_000_000);
        map.put("diskBytes", statistics.diskBytes());
        map.put("diskBlocks", statistics.diskBlocks());
        map.put("hostBytes", statistics.hostBytes());
        map.put("deviceBytes", statistics.deviceBytes());
        map.put("linkBytes", statistics.linkBytes());
        map.put("loadedBytes", statistics.loadedBytes());
        map.put("linkBytesPerSecond", statistics.linkBytesPerSecond());
        map.put("linkUtilisation", statistics.linkUtilisation());
        map.put("overlapEfficiency", statistics.overlapEfficiency());
        map.put("rooflineFraction", statistics.rooflineFraction());
        map.put("expertHitRate", statistics.expertHitRate());
        map.put("droppedBlocks", statistics.droppedBlocks());
        map.put("retries", statistics.retries());
        map.put("failures", statistics.failures());
        return map;
    }
}
