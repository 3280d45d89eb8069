package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.cuda.simulator.Settings;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The check for real cards, on the simulated one and in small. */
class GpuCheckTest {

    private static final Path DEMO = Path.of("../sample-app/src/main/resources/demo-model/tiny-demo-chat-Q8_0.gguf");

    @Test
    void passesAndWritesEverything(@TempDir Path folder) throws Exception {
        SimulatedDriver driver =
                SimulatedDriver.load(Settings.defaults().kernels(Devices.KERNELS, Settings.Kernels.FAST));
        Path models = Files.createDirectory(folder.resolve("models"));
        Files.copy(DEMO, models.resolve("demo.gguf"));
        Path out = folder.resolve("out");
        int failures = GpuCheck.run(out, models, GpuCheck.Size.SMALL, Set.of());
        String report = Files.readString(out.resolve("report.txt"));
        assertThat(failures).as(report).isZero();
        assertThat(report)
                .contains("decode Q4_K", "prefill MXFP4", "embed IQ1_M", "deepseek2-Q4_K_M: decode", "0 checks failed");
        assertThat(Files.readString(out.resolve("figures.csv")))
                .contains(
                        "link page-locked,256 KiB,", "decode of 1,Q6_K,", "tokens per second,streamed prefill of 16,");
        assertThat(Files.readString(out.resolve("timeline.json"))).contains("\"cat\":\"link\"");
        assertThat(driver.findings()).isEmpty();
        assertThat(driver.live()).isEqualTo(SimulatedDriver.Live.NONE);
    }

    /** A check that cannot fail would say nothing about a card. */
    @Test
    void noticesAModelItCannotRead(@TempDir Path folder) throws Exception {
        SimulatedDriver.load(Settings.defaults().kernels(Devices.KERNELS, Settings.Kernels.FAST));
        Path models = Files.createDirectory(folder.resolve("models"));
        Files.writeString(models.resolve("broken.gguf"), "nothing");
        assertThat(GpuCheck.run(folder.resolve("out"), models, GpuCheck.Size.SMALL, Set.of()))
                .isEqualTo(2);
    }
}
