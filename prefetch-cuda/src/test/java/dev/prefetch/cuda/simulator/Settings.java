package dev.prefetch.cuda.simulator;

import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Settings of the simulated driver. Immutable: every method returns a copy with one setting changed.
 *
 * @param values   what differs from the defaults, by the driver's own names
 * @param kernels  the kernels that modules can name
 */
public record Settings(Map<String, String> values, Map<Path, Kernels> kernels) {

    /** How the kernels of a directory are compiled. */
    public enum Kernels {
        /** Every byte that a kernel touches is checked: for tests of order and of addresses, about a tenth as fast. */
        TRACKED,
        /** Nothing that a kernel touches is checked: for whole models. */
        FAST
    }

    public Settings {
        values = Map.copyOf(values);
        kernels = Map.copyOf(kernels);
    }

    /** 1 GiB of device memory, an unlimited link, the real clock, eager streams, no kernels. */
    public static Settings defaults() {
        return new Settings(Map.of(), Map.of());
    }

    /** Modules may name the kernels of every {@code .cu} file in a directory; may be called for several. */
    public Settings kernels(Path directory, Kernels how) {
        Map<Path, Kernels> all = new LinkedHashMap<>(kernels);
        all.put(directory.toAbsolutePath().normalize(), how);
        return new Settings(values, all).with("track", Boolean.toString(all.containsValue(Kernels.TRACKED)));
    }

    /** The device memory; {@code cuMemAlloc} beyond it is refused with CUDA_ERROR_OUT_OF_MEMORY. */
    public Settings deviceBytes(long bytes) {
        return with("device_bytes", Long.toString(bytes));
    }

    /** How much host memory may be page-locked, allocated and registered together. */
    public Settings pageLockedBytes(long bytes) {
        return with("page_locked_bytes", Long.toString(bytes));
    }

    /** What {@code cuMemHostRegister} answers, as a CUresult; 0 lets it work. */
    public Settings hostRegistrationAnswers(int result) {
        return with("register_result", Integer.toString(result));
    }

    /**
     * The link, each way: a copy of n bytes takes {@code latency + n / bandwidth}. A bandwidth of 0 is unlimited.
     *
     * @param gigabytesPerSecond          page-locked memory
     * @param pageableGigabytesPerSecond  memory that is not page-locked, or 0 for the same
     */
    public Settings link(double gigabytesPerSecond, double pageableGigabytesPerSecond, Duration latency) {
        return with("host_to_device_gbps", Double.toString(gigabytesPerSecond))
                .with("device_to_host_gbps", Double.toString(gigabytesPerSecond))
                .with("pageable_gbps", Double.toString(pageableGigabytesPerSecond))
                .with("copy_latency_us", micros(latency));
    }

    /** Bounds every tracked kernel by the bytes it touches; 0 is unlimited. */
    public Settings deviceMemory(double gigabytesPerSecond) {
        return with("device_memory_gbps", Double.toString(gigabytesPerSecond));
    }

    /** What a launch costs, and how long every kernel runs that has no time of its own. */
    public Settings kernelTimes(Duration launch, Duration kernel) {
        return with("launch_us", micros(launch)).with("kernel_us", micros(kernel));
    }

    /** How long one kernel runs. */
    public Settings kernelTime(String kernel, Duration time) {
        return with("kernel_us." + kernel, micros(time));
    }

    /**
     * Time that depends on the calls made and not on the machine: operations run, in the order of their virtual start,
     * when something waits for them. Kernels run one at a time.
     *
     * @param call  the time that each call which starts an operation takes on the host
     */
    public Settings virtualClock(Duration call) {
        return with("virtual_clock", "true").with("call_us", micros(call));
    }

    /** Streams do nothing until something waits for them, so that what is not waited for has not happened. */
    public Settings lazy() {
        return with("lazy", "true");
    }

    /** Refuses asynchronous copies from and to memory that is not page-locked. */
    public Settings refusePageableCopies() {
        return with("refuse_pageable", "true");
    }

    /** As {@code cuDriverGetVersion} gives it: 12040 is CUDA 12.4. */
    public Settings driverVersion(int version) {
        return with("driver_version", Integer.toString(version));
    }

    /** 0 or 1 devices. */
    public Settings devices(int count) {
        return with("device_count", Integer.toString(count));
    }

    /** Compute capability 7.5 is 75; PTX for a newer one is refused. */
    public Settings computeCapability(int capability) {
        return with("compute_capability", Integer.toString(capability));
    }

    /** The newest version of PTX that the driver reads; 8.0 is 80. */
    public Settings newestPtx(int version) {
        return with("newest_ptx", Integer.toString(version));
    }

    private Settings with(String key, String value) {
        Map<String, String> changed = new LinkedHashMap<>(values);
        changed.put(key, value);
        return new Settings(changed, kernels);
    }

    private static String micros(Duration duration) {
        return Double.toString(duration.toNanos() / 1e3);
    }
}
