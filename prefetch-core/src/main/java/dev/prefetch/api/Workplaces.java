package dev.prefetch.api;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.DeviceFailedException;
import dev.prefetch.backend.Threads;
import dev.prefetch.inference.Failover;
import dev.prefetch.inference.Workplace;
import dev.prefetch.prefetch.LoadListener;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.prefetch.StreamingWeights;
import dev.prefetch.storage.SplitReader;
import java.time.Duration;
import java.time.Instant;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Where an engine computes: on its device, and on the host while the device is down.
 *
 * <p>How it works: when the device fails, what it had is closed and the model is opened on the host; the compute thread
 * goes on there. A thread of its own opens the device anew after a while, and again after twice that, until it succeeds,
 * loads the weights and tries a kernel. Between two sweeps the compute thread then comes back.
 *
 * <p>{@link #current} is written by the compute thread only; {@link #trial} hands over what was opened under the lock.
 */
final class Workplaces implements AutoCloseable {

    private static final Duration LONGEST_WAIT = Duration.ofMinutes(10);

    private static final Logger LOG = LoggerFactory.getLogger(Workplaces.class);

    private final Model model;
    private final EngineOptions options;
    private final int threads;
    private final MemoryPlanner.Division memory;
    private final Map<Regime, PrefetchStatistics> before = new EnumMap<>(Regime.class);
    private final Object lock = new Object();
    private final CountDownLatch closing = new CountDownLatch(1);

    private volatile Place current;
    private volatile boolean degraded;
    private volatile EngineStatus.@Nullable Fault deviceFault;
    private @Nullable Place left;
    private @Nullable Place recovered;
    private @Nullable Thread trial;

    private Workplaces(Model model, EngineOptions options, int threads, MemoryPlanner.Division memory, Place current) {
        this.model = model;
        this.options = options;
        this.threads = threads;
        this.memory = memory;
        this.current = current;
    }

    /**
     * Loads the weights.
     *
     * @param devices where; closed with the first place, not by this when opening fails
     */
    static Workplaces open(
            Model model,
            EngineOptions options,
            int threads,
            DeviceSet devices,
            MemoryPlanner.Division memory,
            LoadListener listener) {
        Place place = new Place(model, devices, weights(model, options, devices, memory.weights(), listener));
        return new Workplaces(model, options, threads, memory, place);
    }

    private static StreamingWeights weights(
            Model model, EngineOptions options, DeviceSet devices, Plan plan, LoadListener listener) {
        return StreamingWeights.open(
                plan,
                devices.devices(),
                SplitReader.open(model.file().parts()),
                model.file().parts(),
                Preparation.streaming(devices.devices(), options)
                        .withTraceSweeps(options.memory().traceSweeps())
                        .withTune(options.memory().lookAheadBlocks() == MemoryOptions.CHOOSE),
                listener);
    }

    /** Where it is computed now. */
    Workplace workplace() {
        return current.workplace();
    }

    /** The weights in use now. */
    StreamingWeights weights() {
        return current.weights;
    }

    /** Whether the host computes because the device failed. */
    boolean degraded() {
        return degraded;
    }

    /** The device's last failure. */
    EngineStatus.@Nullable Fault deviceFault() {
        return deviceFault;
    }

    /** The finished sweeps of one regime, wherever they were computed. */
    PrefetchStatistics statistics(Regime regime) {
        synchronized (lock) {
            return before.getOrDefault(regime, PrefetchStatistics.NONE).plus(current.weights.statistics(regime));
        }
    }

    /** What the compute thread asks when the device fails; nothing where the host computes anyway. */
    Failover failover() {
        if (!current.devices.devices().accelerated()) {
            return Failover.NONE;
        }
        return new Failover() {

            @Override
            public Workplace after(DeviceFailedException failure) {
                return goToHost(failure);
            }

            @Override
            public @Nullable Workplace recovered() {
                return comeBack();
            }

            @Override
            public void left() {
                Place host = left;
                left = null;
                if (host != null) {
                    host.close();
                }
            }
        };
    }

    private Workplace goToHost(DeviceFailedException failure) {
        deviceFault = new EngineStatus.Fault(Instant.now(), String.valueOf(failure.getMessage()));
        LOG.error(
                "The device failed: {}. The host computes from now on; the device is tried again in {} s",
                failure.getMessage(),
                options.accelerator().retryAfter().toSeconds(),
                failure);
        retire(current);
        current.close();
        Plan plan = MemoryPlanner.hostPlan(options, model, memory.ubatch(), memory.kvBytes());
        DeviceSet host = DeviceSet.openHost(threads);
        try {
            current = new Place(model, host, weights(model, options, host, plan, (done, total) -> {}));
        } catch (RuntimeException | Error e) {
            host.close();
            throw e;
        }
        degraded = true;
        synchronized (lock) {
            if (trial == null && closing.getCount() > 0) {
                trial = Thread.ofPlatform()
                        .daemon()
                        .name("prefetch-device-trial")
                        .start(this::tryAgain);
            }
        }
        return current.workplace();
    }

    private void retire(Place place) {
        synchronized (lock) {
            for (Regime regime : Regime.values()) {
                before.merge(regime, place.weights.statistics(regime), PrefetchStatistics::plus);
            }
        }
    }

    private @Nullable Workplace comeBack() {
        if (!degraded) {
            return null;
        }
        Place place;
        synchronized (lock) {
            place = recovered;
            recovered = null;
        }
        if (place == null) {
            return null;
        }
        retire(current);
        left = current;
        current = place;
        degraded = false;
        LOG.info("The device computes again");
        return place.workplace();
    }

    private void tryAgain() {
        Duration wait = options.accelerator().retryAfter();
        while (true) {
            try {
                if (closing.await(wait.toNanos(), TimeUnit.NANOSECONDS)) {
                    return;
                }
            } catch (InterruptedException e) {
                // Only close() ends this thread, and it does so by the latch.
                continue;
            }
            Place place = openDevice();
            if (place != null) {
                synchronized (lock) {
                    trial = null;
                    if (closing.getCount() > 0) {
                        recovered = place;
                        return;
                    }
                }
                place.close();
                return;
            }
            wait = wait.compareTo(LONGEST_WAIT.dividedBy(2)) > 0 ? LONGEST_WAIT : wait.multipliedBy(2);
            LOG.info("The device is tried again in {} s", wait.toSeconds());
        }
    }

    private @Nullable Place openDevice() {
        DeviceSet devices = null;
        StreamingWeights weights = null;
        try {
            devices = DeviceSet.open(model, options, threads);
            if (!devices.devices().accelerated()) {
                throw new IllegalStateException("backend '" + options.backend() + "' now leads to the host");
            }
            weights = weights(model, options, devices, memory.weights(), (done, total) -> {});
            tryKernel(devices.devices().primary());
            return new Place(model, devices, weights);
        } catch (RuntimeException | Error e) {
            LOG.warn("The device is still down: {}", e.toString());
            LOG.debug("Trial of the device", e);
            closeQuietly(weights);
            closeQuietly(devices);
            return null;
        }
    }

    private static void tryKernel(Device device) {
        try (DeviceBuffer values = device.allocate(1024, "trial of the device")) {
            device.compute().ops().scale(values, 2, 256);
            device.compute().synchronize();
        }
    }

    /** Closes the places there are, after the loop that uses them. */
    @Override
    public void close() {
        closing.countDown();
        Thread running;
        Place waiting;
        synchronized (lock) {
            running = trial;
        }
        if (running != null) {
            Threads.joinUninterruptibly(List.of(running));
        }
        synchronized (lock) {
            waiting = recovered;
            recovered = null;
        }
        if (waiting != null) {
            waiting.close();
        }
        current.close();
    }

    private static void closeQuietly(@Nullable AutoCloseable resource) {
        try {
            if (resource != null) {
                resource.close();
            }
        } catch (Exception e) {
            // What a lost device says of its memory.
            LOG.debug("Closing failed", e);
        }
    }

    /** Devices with the weights on them. */
    private record Place(Model model, DeviceSet devices, StreamingWeights weights) {

        Workplace workplace() {
            return new Workplace(devices.devices(), weights, model.adapters());
        }

        void close() {
            closeQuietly(weights);
            closeQuietly(devices);
        }
    }
}
