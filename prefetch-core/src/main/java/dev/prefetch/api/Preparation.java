package dev.prefetch.api;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.Devices;
import dev.prefetch.prefetch.CostProbe;
import dev.prefetch.prefetch.LinkProbe;
import dev.prefetch.prefetch.LinkReport;
import dev.prefetch.prefetch.MeasuredCosts;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.StreamingOptions;
import dev.prefetch.storage.BlockReader;
import dev.prefetch.storage.SplitReader;
import java.util.Locale;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What was found out about the devices before weights are loaded.
 *
 * @param memory the division of the memory
 * @param link what was measured of the link; null where the host computes alone
 */
record Preparation(MemoryPlanner.Division memory, @Nullable LinkReport link) {

    /** Bytes of one copy to a device: large enough to reach nearly the link's full speed. */
    static final int DEVICE_CHUNK_BYTES = 8 << 20;

    /** Readers that fill staging buffers: more than a disk needs, since copying takes a core each. */
    private static final int MOST_DEVICE_READERS = 8;

    /** What hiding transfers must promise for it to be called worth while. */
    private static final double WORTH_WHILE = 1.1;

    private static final Logger LOG = LoggerFactory.getLogger(Preparation.class);

    static Preparation of(Model model, Devices devices, EngineOptions options) {
        if (!devices.accelerated()) {
            return new Preparation(model.divide(options, null, () -> measure(model, devices, options, null)), null);
        }
        LinkReport link = LinkProbe.measure(devices.primary());
        Preparation preparation = new Preparation(
                model.divide(options, devices.primary(), () -> measure(model, devices, options, link)), link);
        preparation.slowPath().ifPresent(path -> LOG.warn("{} ({})", path.what(), path.remedy()));
        return preparation;
    }

    /** That hiding transfers gains next to nothing on this link, if so: one of the two takes nearly all the time. */
    Optional<Device.SlowPath> slowPath() {
        Plan plan = memory.weights();
        if (link == null
                || plan.allResident()
                || gain(plan.decode()) >= WORTH_WHILE
                || gain(plan.prefill()) >= WORTH_WHILE) {
            return Optional.empty();
        }
        return Optional.of(new Device.SlowPath(
                String.format(
                        Locale.ROOT,
                        "prefetching gains at most %.0f %% on this link of %.1f GB/s: a sweep computes %.1f ms and"
                                + " transfers %.1f ms for a token, %.1f ms and %.1f ms for a prompt",
                        100 * (Math.max(gain(plan.decode()), gain(plan.prefill())) - 1),
                        link.bytesPerSecond() / 1e9,
                        plan.decode().computeSeconds() * 1e3,
                        plan.decode().transferSeconds() * 1e3,
                        plan.prefill().computeSeconds() * 1e3,
                        plan.prefill().transferSeconds() * 1e3),
                "use a model with fewer bits per weight, more device memory, or longer prompts per sweep"
                        + " (spring.ai.prefetch.ubatch)"));
    }

    private static double gain(Plan.Forecast forecast) {
        double longer = Math.max(forecast.computeSeconds(), forecast.transferSeconds());
        return longer == 0 ? 1 : (forecast.computeSeconds() + forecast.transferSeconds()) / longer;
    }

    /** How weights are read for these devices. */
    static StreamingOptions streaming(Devices devices, EngineOptions options) {
        if (!devices.accelerated()) {
            return StreamingOptions.DEFAULT;
        }
        int readers = Math.clamp(
                Runtime.getRuntime().availableProcessors() / 2,
                StreamingOptions.DEFAULT_READER_THREADS,
                MOST_DEVICE_READERS);
        return StreamingOptions.DEFAULT
                .withChunkBytes(DEVICE_CHUNK_BYTES)
                .withReaderThreads(readers)
                .withPageLock(options.accelerator().pageLock());
    }

    /** Measures what blocks cost these devices. */
    static MeasuredCosts measure(Model model, Devices devices, EngineOptions options, @Nullable LinkReport link) {
        try (BlockReader reader = SplitReader.open(model.file().parts())) {
            StreamingOptions streaming = streaming(devices, options);
            return link == null
                    ? new MeasuredCosts(
                            CostProbe.measure(model.graph().blocks(), devices.primary(), reader, streaming), null)
                    : CostProbe.measure(model.graph().blocks(), devices, reader, streaming, link);
        }
    }
}
