package dev.prefetch.cuda.simulator;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Assumptions;

/**
 * The simulated CUDA driver of this Java process. It is loaded before the first use of JCuda, stays for the life of the
 * process, and then stands in for the driver of the machine: a test that needs no driver at all needs another process.
 *
 * <p>Where it cannot be built (no g++, not Linux on x86-64) the test is skipped with the reason; with the environment
 * variable {@code PREFETCH_REQUIRE_SIMULATOR=1} it fails instead.
 */
public final class SimulatedDriver {

    private static final String NATIVES = "libJCudaDriver-12.6.0-linux-x86_64.so";
    private static @Nullable SimulatedDriver loaded;

    private final Linker linker = Linker.nativeLinker();
    private final SymbolLookup symbols = SymbolLookup.loaderLookup();

    private SimulatedDriver() {}

    /** What a program has not given back. */
    public record Live(
            long deviceRanges, long hostRanges, long streams, long events, long modules, long graphs, long contexts) {

        /** Nothing. */
        public static final Live NONE = new Live(0, 0, 0, 0, 0, 0, 0);
    }

    /** Loads the driver if it is not yet loaded, applies the settings and forgets what was found and counted. */
    @SuppressWarnings("restricted")
    public static synchronized SimulatedDriver load(Settings settings) {
        Optional<String> unavailable = SimulatorBuild.unavailable();
        if (unavailable.isPresent()) {
            if ("1".equals(System.getenv("PREFETCH_REQUIRE_SIMULATOR"))) {
                throw new AssertionError("PREFETCH_REQUIRE_SIMULATOR is 1, but " + unavailable.get());
            }
            Assumptions.abort(unavailable.get());
        }
        SimulatedDriver driver = loaded;
        try {
            if (driver == null) {
                prepareNatives();
                System.load(SimulatorBuild.driver().toString());
                driver = new SimulatedDriver();
                loaded = driver;
            }
        } catch (IOException e) {
            throw new UncheckedIOException("the simulated CUDA driver cannot be built", e);
        }
        driver.apply(settings);
        driver.reset();
        return driver;
    }

    /** Changes the settings of the running driver. The device memory in use is kept. */
    public void apply(Settings settings) {
        List<String> libraries = new ArrayList<>();
        settings.kernels().forEach((directory, how) -> {
            try {
                SimulatorBuild.kernels(directory, how).forEach(library -> libraries.add(library.toString()));
            } catch (IOException e) {
                throw new UncheckedIOException("the kernels of " + directory + " cannot be built for the simulator", e);
            }
        });
        set("defaults", "");
        settings.values().forEach(this::set);
        set("kernel_libraries", String.join(":", libraries));
    }

    /**
     * Forgets findings, counters, calls, the timeline and the faults; what lives on the device stays. The virtual clock starts
     * again at 0.
     */
    public void reset() {
        call("simulator_reset", FunctionDescriptor.ofVoid());
    }

    /** Sets the faults, in place of those before, and counts calls from here. */
    public void faults(Fault... faults) {
        String text = Arrays.stream(faults).map(Fault::text).collect(Collectors.joining(";"));
        try (Arena arena = Arena.ofConfined()) {
            int refused = (int)
                    call("simulator_set_faults", FunctionDescriptor.of(JAVA_INT, ADDRESS), arena.allocateFrom(text));
            if (refused != 0) {
                throw new IllegalArgumentException(text);
            }
        }
    }

    /** Lets the operations go on that a fault made hang. */
    public void releaseHangs() {
        call("simulator_release_hangs", FunctionDescriptor.ofVoid(JAVA_INT), 1);
    }

    /** The mistakes seen since the last reset. */
    public List<Finding> findings() {
        return text("simulator_findings").lines().map(Finding::parse).toList();
    }

    /** How often each driver function was called since the last reset or change of faults. */
    public Map<String, Long> calls() {
        Map<String, Long> calls = new TreeMap<>();
        text("simulator_calls")
                .lines()
                .map(line -> line.split(" "))
                .forEach(parts -> calls.put(parts[0], Long.parseLong(parts[1])));
        return calls;
    }

    /** Copies over the link and kernels since the last reset, in the order in which they ended. */
    public List<Span> timeline() {
        return text("simulator_timeline").lines().map(Span::parse).toList();
    }

    /** What is not given back now. */
    public Live live() {
        return new Live(
                counter("live_device_ranges"),
                counter("live_host_ranges"),
                counter("live_streams"),
                counter("live_events"),
                counter("live_modules"),
                counter("live_graphs"),
                counter("live_contexts"));
    }

    /**
     * One of the driver's counters: {@code h2d_bytes, d2h_bytes, d2d_bytes, faults, frees_while_busy,
     * pageable_asynchronous_copies, leaked_device_ranges, leaked_host_ranges, leaked_streams, leaked_events} since the
     * last reset; {@code device_used_bytes, device_peak_bytes, page_locked_bytes} now. 0 for what never happened.
     */
    public long counter(String name) {
        try (Arena arena = Arena.ofConfined()) {
            return (long)
                    call("simulator_counter", FunctionDescriptor.of(JAVA_LONG, ADDRESS), arena.allocateFrom(name));
        }
    }

    /** The virtual time of this thread: what it has spent on calls and on waiting. */
    public long virtualClockNanos() {
        return (long) call("simulator_now", FunctionDescriptor.of(JAVA_LONG));
    }

    /** Adds to the virtual time of this thread, as host work would. */
    public void advanceVirtualClock(long nanos) {
        call("simulator_advance", FunctionDescriptor.ofVoid(JAVA_LONG), nanos);
    }

    /** Says that the host reads or writes page-locked memory now, for the race checker. */
    public void hostAccess(MemorySegment memory, boolean write, String description) {
        try (Arena arena = Arena.ofConfined()) {
            call(
                    "simulator_host_access",
                    FunctionDescriptor.ofVoid(JAVA_LONG, JAVA_LONG, JAVA_INT, ADDRESS),
                    memory.address(),
                    memory.byteSize(),
                    write ? 1 : 0,
                    arena.allocateFrom(description));
        }
    }

    private void set(String key, String value) {
        try (Arena arena = Arena.ofConfined()) {
            int refused = (int) call(
                    "simulator_set",
                    FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS),
                    arena.allocateFrom(key),
                    arena.allocateFrom(value));
            if (refused != 0) {
                throw new IllegalArgumentException("the simulated driver has no setting " + key);
            }
        }
    }

    private String text(String function) {
        FunctionDescriptor descriptor = FunctionDescriptor.of(JAVA_LONG, ADDRESS, JAVA_LONG);
        for (long capacity = 1 << 16; ; ) {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment buffer = arena.allocate(capacity);
                long needed = (long) call(function, descriptor, buffer, capacity);
                if (needed <= capacity) {
                    return buffer.getString(0);
                }
                capacity = needed;
            }
        }
    }

    @SuppressWarnings("restricted")
    private @Nullable Object call(String function, FunctionDescriptor descriptor, Object... arguments) {
        MethodHandle handle = linker.downcallHandle(symbols.findOrThrow(function), descriptor);
        try {
            return handle.invokeWithArguments(arguments);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }

    /** JCuda unpacks its natives under a fixed name and not atomically, which crashes processes that start together. */
    private static void prepareNatives() throws IOException {
        Path target = Path.of(System.getProperty("java.io.tmpdir")).resolve(NATIVES);
        byte[] content;
        try (InputStream resource = SimulatedDriver.class.getResourceAsStream("/lib/" + NATIVES)) {
            if (resource == null) {
                throw new IOException("the JCuda natives are not on the class path: /lib/" + NATIVES);
            }
            content = resource.readAllBytes();
        }
        if (Files.exists(target) && Arrays.equals(Files.readAllBytes(target), content)) {
            return;
        }
        Path unpacked = Files.createTempFile(target.getParent(), NATIVES, ".tmp");
        Files.write(unpacked, content);
        Files.move(unpacked, target, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    }
}
