package dev.prefetch.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class KernelSelectionTest {

    @AfterEach
    void clearProperties() {
        System.clearProperty(KernelSelection.KERNELS_PROPERTY);
        System.clearProperty(KernelSelection.VECTOR_BITS_PROPERTY);
    }

    @Test
    void aPropertyForcesTheScalarKernels() {
        System.setProperty(KernelSelection.KERNELS_PROPERTY, "scalar");
        try (Device device = new CpuBackendProvider().open(new DeviceOptions(1))) {
            assertThat(device.description()).contains("scalar");
            assertThat(device.slowPaths()).hasSize(1);
            assertThat(device.slowPaths().getFirst().remedy()).contains(KernelSelection.KERNELS_PROPERTY);
        }
    }

    @Test
    void theWidthIsTheMachinesUnlessAPropertySaysOtherwise() {
        assertThat(KernelSelection.vectorBits(256)).isEqualTo(256);
        assertThat(KernelSelection.vectorBits(64)).isEqualTo(128);
        assertThat(KernelSelection.vectorBits(1024)).isEqualTo(512);
        System.setProperty(KernelSelection.VECTOR_BITS_PROPERTY, "128");
        assertThat(KernelSelection.vectorBits(256)).isEqualTo(128);
        System.setProperty(KernelSelection.VECTOR_BITS_PROPERTY, "384");
        assertThatThrownBy(() -> KernelSelection.vectorBits(256))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("384");
    }

    @Test
    void refusesAnUnknownSet() {
        System.setProperty(KernelSelection.KERNELS_PROPERTY, "fast");
        assertThatThrownBy(KernelSelection::select)
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("fast");
    }

    /** In a process of its own, because whether the module is there is decided when a process starts. */
    @Test
    void worksWithoutTheVectorModuleAndSaysTheRemedy() throws IOException, InterruptedException {
        String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        Process process = new ProcessBuilder(
                        java,
                        "--enable-native-access=ALL-UNNAMED",
                        "-cp",
                        System.getProperty("java.class.path"),
                        WithoutModule.class.getName())
                .redirectErrorStream(true)
                .start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as(output).isZero();
        assertThat(output).contains("result 11.0").contains("remedy add --add-modules jdk.incubator.vector");
        assertThat(output.lines().filter(line -> line.contains("WARN"))).hasSize(1);
    }

    /** What the process runs. */
    static final class WithoutModule {

        private WithoutModule() {}

        public static void main(String[] args) {
            try (Device device = new CpuBackendProvider().open(new DeviceOptions(2))) {
                DeviceBuffer x = device.allocate(8, "x");
                x.upload(MemorySegment.ofArray(new float[] {1, 2}), 0);
                DeviceBuffer w = device.allocate(8, "w");
                w.upload(MemorySegment.ofArray(new float[] {3, 4}), 0);
                DeviceBuffer y = device.allocate(4, "y");
                device.compute().ops().matmul(new Weight(GgmlType.F32, 1, 2, w, 0), x, 1, 1, y);
                float[] result = new float[1];
                y.download(0, MemorySegment.ofArray(result));
                System.out.println("result " + result[0]);
                System.out.println("remedy " + device.slowPaths().getFirst().remedy());
            }
        }
    }
}
