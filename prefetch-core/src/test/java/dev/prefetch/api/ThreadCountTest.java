package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.testing.DemoModel;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The number of compute threads where the options leave it open: what the virtual machine may use, which is what a
 * container's processor quota leaves of the machine. Decided when a process starts, so each number gets one of its own.
 */
class ThreadCountTest {

    @ParameterizedTest
    @ValueSource(ints = {1, 3})
    void followsTheProcessorsThatTheProcessMayUse(int processors) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-XX:ActiveProcessorCount=" + processors,
                        "--add-modules",
                        "jdk.incubator.vector",
                        "--enable-native-access=ALL-UNNAMED",
                        "-cp",
                        System.getProperty("java.class.path"),
                        Opened.class.getName())
                .redirectErrorStream(true)
                .start();
        try {
            String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(process.waitFor(2, TimeUnit.MINUTES)).isTrue();
            // The thread that runs the sweeps is one of them.
            assertThat(output).contains("threads " + processors + ", workers " + (processors - 1) + "\n");
        } finally {
            process.destroyForcibly();
        }
    }

    /** Opens an engine with the number of threads left open, and prints it and that of the workers that run. */
    static final class Opened {

        private Opened() {}

        public static void main(String[] arguments) {
            try (PrefetchEngine engine = PrefetchEngine.open(EngineOptions.of(DemoModel.file()))) {
                long workers = Thread.getAllStackTraces().keySet().stream()
                        .filter(thread -> thread.getName().startsWith("prefetch-cpu-worker-"))
                        .count();
                System.out.print("threads " + engine.info().threads() + ", workers " + workers + "\n");
            }
        }
    }
}
