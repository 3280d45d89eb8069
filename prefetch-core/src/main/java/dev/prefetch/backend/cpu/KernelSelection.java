package dev.prefetch.backend.cpu;

import dev.prefetch.backend.Device.SlowPath;
import java.util.List;
import java.util.Locale;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Decides which kernels serve.
 *
 * <p>{@code prefetch.cpu.kernels} is {@code auto} (the default), {@code scalar} or {@code vector};
 * {@code prefetch.cpu.vectorBits} (128, 256 or 512) replaces the vector width that the machine prefers, once for the
 * process. The Vector API emulates what the processor lacks at a hundredth of the speed.
 *
 * @param kernels the set in use
 * @param slowPaths why it is not the fast one
 */
record KernelSelection(Kernels kernels, List<SlowPath> slowPaths) {

    private static final Logger log = LoggerFactory.getLogger(KernelSelection.class);

    static final String KERNELS_PROPERTY = "prefetch.cpu.kernels";
    static final String VECTOR_BITS_PROPERTY = "prefetch.cpu.vectorBits";

    private static final String VECTOR_MODULE = "jdk.incubator.vector";

    /** Reads the properties and looks at the machine; logs one line when the slow kernels are taken by necessity. */
    static KernelSelection select() {
        String wanted = System.getProperty(KERNELS_PROPERTY, "auto").toLowerCase(Locale.ROOT);
        return switch (wanted) {
            case "scalar" ->
                slow(
                        "scalar CPU kernels, because " + KERNELS_PROPERTY + "=scalar",
                        "remove the system property " + KERNELS_PROPERTY);
            case "auto", "vector" -> vectorOrScalar(wanted.equals("vector"));
            default ->
                throw new IllegalArgumentException(
                        "system property " + KERNELS_PROPERTY + " must be auto, scalar or vector but was " + wanted);
        };
    }

    private static KernelSelection vectorOrScalar(boolean required) {
        SlowPath obstacle;
        if (ModuleLayer.boot().findModule(VECTOR_MODULE).isEmpty()) {
            obstacle = new SlowPath(
                    "scalar CPU kernels (10 to 30 times slower), because the Vector API is not loaded",
                    "add --add-modules " + VECTOR_MODULE + " to the java command");
        } else {
            // Nothing above may touch a class that refers to the Vector API.
            int preferred = VectorKernels.preferredBits();
            if (required || System.getProperty(VECTOR_BITS_PROPERTY) != null || hasFusedMultiplyAdd(preferred)) {
                return vector(preferred);
            }
            obstacle = new SlowPath(
                    "scalar CPU kernels, because the vectors of this processor have only " + preferred + " bits",
                    "use a processor with AVX2, or a GPU");
        }
        if (required) {
            throw new IllegalStateException(
                    KERNELS_PROPERTY + "=vector, but only " + obstacle.what() + ": " + obstacle.remedy());
        }
        return slow(obstacle.what(), obstacle.remedy());
    }

    private static KernelSelection vector(int preferred) {
        Kernels kernels = new VectorKernels();
        int bits = vectorBits(preferred);
        if (bits <= preferred) {
            return new KernelSelection(kernels, List.of());
        }
        SlowPath emulated = new SlowPath(
                "vectors of " + bits + " bits are emulated at a hundredth of the speed, because this processor has "
                        + preferred,
                "remove the system property " + VECTOR_BITS_PROPERTY);
        log.warn("Slow path: {}. Remedy: {}.", emulated.what(), emulated.remedy());
        return new KernelSelection(kernels, List.of(emulated));
    }

    /** Without the instruction, the library computes every product in arbitrary precision. x86 has it together with AVX2. */
    private static boolean hasFusedMultiplyAdd(int preferredBits) {
        String architecture = System.getProperty("os.arch");
        return preferredBits >= 256 || architecture.equals("aarch64");
    }

    /**
     * Width of the vectors: the property's value or what the machine prefers. Decided once in a process.
     *
     * @throws IllegalArgumentException when the property is none of 128, 256 and 512
     */
    static int vectorBits(int preferred) {
        String wanted = System.getProperty(VECTOR_BITS_PROPERTY);
        if (wanted == null) {
            return Math.clamp(preferred, 128, 512);
        }
        return switch (wanted) {
            case "128", "256", "512" -> Integer.parseInt(wanted);
            default ->
                throw new IllegalArgumentException(
                        "system property " + VECTOR_BITS_PROPERTY + " must be 128, 256 or 512 but was " + wanted);
        };
    }

    private static KernelSelection slow(String what, String remedy) {
        log.warn("Slow path: {}. Remedy: {}.", what, remedy);
        return new KernelSelection(new ScalarKernels(), List.of(new SlowPath(what, remedy)));
    }
}
