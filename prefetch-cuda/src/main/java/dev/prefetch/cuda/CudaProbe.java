package dev.prefetch.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.prefetch.backend.BackendProvider.Availability;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.util.Locale;
import java.util.Map;

/**
 * Finds out whether CUDA can be used, by calling the driver directly.
 *
 * <p>JCuda must not be asked: without a driver its class initialisation fails, and a call to a function that an old driver
 * lacks ends the process, because its native library binds lazily. So the version is checked here, before JCuda is loaded.
 */
final class CudaProbe {

    static final String DRIVER_LIBRARY = "libcuda.so.1";

    /** The release JCuda's natives were built for, as {@code cuDriverGetVersion} counts: every function it calls exists. */
    static final int OLDEST_DRIVER = 12000;

    /** Turing: what the shipped PTX was compiled for. */
    static final int OLDEST_CAPABILITY = 75;

    private static final int CAPABILITY_MAJOR = 75;
    private static final int CAPABILITY_MINOR = 76;

    private static final String DRIVER_REMEDY =
            "install the NVIDIA driver 525 or newer (in a container: run it with GPU access), or use backend 'cpu'";

    private static final Map<Integer, String> INIT_FAILURES = Map.of(
            100, "the driver finds no device",
            101, "the device ordinal is invalid",
            803, "the driver's kernel module and libcuda.so.1 are of different releases",
            804, "this libcuda.so.1 does not support this card",
            999, "the driver does not answer; a container without the device nodes looks like this");

    private CudaProbe() {}

    /** The device of that ordinal, or why it cannot be used. Never throws, and touches no class of JCuda. */
    @SuppressWarnings("restricted")
    static Availability probe(int ordinal) {
        String os = System.getProperty("os.name", "").toLowerCase(Locale.ROOT);
        String arch = System.getProperty("os.arch", "");
        if (!os.contains("linux") || !(arch.equals("amd64") || arch.equals("x86_64"))) {
            return unavailable(
                    "JCuda has native code for Linux on x86-64 here, and this is " + os + " on " + arch,
                    "use backend 'cpu'");
        }
        try {
            return new Driver(SymbolLookup.libraryLookup(DRIVER_LIBRARY, Arena.global())).probe(ordinal);
        } catch (IllegalCallerException e) {
            return unavailable(
                    "access to native code is denied", "add --enable-native-access=ALL-UNNAMED to the java command");
        } catch (IllegalArgumentException e) {
            return unavailable("there is no CUDA driver (" + DRIVER_LIBRARY + " not found)", DRIVER_REMEDY);
        } catch (Throwable e) {
            // Whatever a broken driver does, the engine falls back to the CPU and says so.
            return unavailable("the CUDA driver cannot be called: " + e, DRIVER_REMEDY);
        }
    }

    private static Availability.Unavailable unavailable(String reason, String remedy) {
        return new Availability.Unavailable(reason, remedy);
    }

    /** The few functions of the driver that are needed before JCuda. */
    private record Driver(SymbolLookup library) {

        Availability probe(int ordinal) throws Throwable {
            int result = (int) function("cuInit", FunctionDescriptor.of(JAVA_INT, JAVA_INT))
                    .invokeExact(0);
            if (result != 0) {
                String meaning = INIT_FAILURES.getOrDefault(result, "the driver cannot be used");
                return unavailable(meaning + " (cuInit returned " + result + ")", DRIVER_REMEDY);
            }
            int version = read("cuDriverGetVersion");
            if (version < OLDEST_DRIVER) {
                return unavailable(
                        "the driver supports CUDA " + versionName(version) + " and " + versionName(OLDEST_DRIVER)
                                + " is needed",
                        DRIVER_REMEDY);
            }
            int devices = read("cuDeviceGetCount");
            if (ordinal >= devices) {
                return unavailable(
                        "there are " + devices + " CUDA devices and number " + ordinal
                                + " was asked for, counted from 0",
                        "name another device, or make more visible (CUDA_VISIBLE_DEVICES)");
            }
            return device(ordinal, version);
        }

        private Availability device(int ordinal, int version) throws Throwable {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment device = arena.allocate(JAVA_INT);
                int result = (int) function("cuDeviceGet", FunctionDescriptor.of(JAVA_INT, ADDRESS, JAVA_INT))
                        .invokeExact(device, ordinal);
                if (result != 0) {
                    return unavailable(
                            "device " + ordinal + " cannot be used (cuDeviceGet returned " + result + ")",
                            DRIVER_REMEDY);
                }
                int handle = device.get(JAVA_INT, 0);
                MemorySegment name = arena.allocate(256);
                result = (int) function("cuDeviceGetName", FunctionDescriptor.of(JAVA_INT, ADDRESS, JAVA_INT, JAVA_INT))
                        .invokeExact(name, 256, handle);
                MemorySegment bytes = arena.allocate(JAVA_LONG);
                result |= (int) function("cuDeviceTotalMem_v2", FunctionDescriptor.of(JAVA_INT, ADDRESS, JAVA_INT))
                        .invokeExact(bytes, handle);
                MethodHandle attribute =
                        function("cuDeviceGetAttribute", FunctionDescriptor.of(JAVA_INT, ADDRESS, JAVA_INT, JAVA_INT));
                MemorySegment value = arena.allocate(JAVA_INT);
                result |= (int) attribute.invokeExact(value, CAPABILITY_MAJOR, handle);
                int capability = 10 * value.get(JAVA_INT, 0);
                result |= (int) attribute.invokeExact(value, CAPABILITY_MINOR, handle);
                capability += value.get(JAVA_INT, 0);
                if (result != 0) {
                    return unavailable("device " + ordinal + " does not say what it is", DRIVER_REMEDY);
                }
                String described = describe(name.getString(0), bytes.get(JAVA_LONG, 0), capability, version);
                if (capability < OLDEST_CAPABILITY) {
                    return unavailable(
                            described + " is too old: compute capability 7.5 is needed",
                            "use a card of the Turing generation (2018) or newer, or backend 'cpu'");
                }
                return new Availability.Available(described);
            }
        }

        private int read(String name) throws Throwable {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment value = arena.allocate(JAVA_INT);
                int result = (int)
                        function(name, FunctionDescriptor.of(JAVA_INT, ADDRESS)).invokeExact(value);
                if (result != 0) {
                    throw new IllegalStateException(name + " returned " + result);
                }
                return value.get(JAVA_INT, 0);
            }
        }

        @SuppressWarnings("restricted")
        private MethodHandle function(String name, FunctionDescriptor descriptor) {
            MemorySegment address = library.find(name)
                    .orElseThrow(() -> new IllegalStateException(DRIVER_LIBRARY + " has no function " + name));
            return Linker.nativeLinker().downcallHandle(address, descriptor);
        }
    }

    /** A device in words, the same wherever it is named. */
    static String describe(String name, long bytes, int capability, int driverVersion) {
        return String.format(
                Locale.ROOT,
                "%s, %.1f GiB, compute capability %d.%d, driver for CUDA %s",
                name.strip(),
                bytes / (double) (1L << 30),
                capability / 10,
                capability % 10,
                versionName(driverVersion));
    }

    static String versionName(int version) {
        return version / 1000 + "." + version % 1000 / 10;
    }
}
