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
 * {@code prefetch.cpu.vectorBits} replaces the vector width that the machine prefers. The vector kernels use 256-bit
 * vectors, so a narrower width gets the scalar ones: the Vector API emulates what the processor lacks at a hundredth of
 * the speed.
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
            int bits = Integer.getInteger(VECTOR_BITS_PROPERTY, VectorKernels.preferredBits());
            if (bits >= VectorKernels.BITS) {
                return new KernelSelection(new VectorKernels(), List.of());
            }
            obstacle = new SlowPath(
                    "scalar CPU kernels, because the vectors of this processor have " + bits + " bits and "
                            + VectorKernels.BITS + " are needed",
                    "use a processor with AVX2, or a GPU");
        }
        if (required) {
            throw new IllegalStateException(
                    KERNELS_PROPERTY + "=vector, but only " + obstacle.what() + ": " + obstacle.remedy());
        }
        return slow(obstacle.what(), obstacle.remedy());
    }

    private static KernelSelection slow(String what, String remedy) {
        log.warn("Slow path: {}. Remedy: {}.", what, remedy);
        return new KernelSelection(new ScalarKernels(), List.of(new SlowPath(what, remedy)));
    }
}
