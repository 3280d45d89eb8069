package dev.prefetch.sample.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

class ServeCommandTest {

    @Test
    void leavesTheDefaultsToTheConfiguration() throws Exception {
        assertThat(springArguments()).isEmpty();
    }

    @Test
    void turnsOptionsIntoSpringProperties(@TempDir Path folder) throws Exception {
        Path model = Files.createFile(folder.resolve("a model.gguf"));

        assertThat(springArguments(
                        "--port",
                        "9000",
                        "--host",
                        "0.0.0.0",
                        "--model",
                        model.toString(),
                        "--context-length",
                        "512",
                        "--threads",
                        "3",
                        "--backend",
                        "cpu",
                        "--kv-type",
                        "Q8_0"))
                .containsExactly(
                        "--server.port=9000",
                        "--server.address=0.0.0.0",
                        "--spring.ai.prefetch.model=" + model.toUri(),
                        "--spring.ai.prefetch.context-length=512",
                        "--spring.ai.prefetch.threads=3",
                        "--spring.ai.prefetch.backend=cpu",
                        "--spring.ai.prefetch.kv-cache-type=q8_0");
    }

    @Test
    void leavesModelReferencesToTheStarter() throws Exception {
        assertThat(springArguments("--model", "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"))
                .containsExactly("--spring.ai.prefetch.model=hf:Qwen/Qwen3-4B-GGUF:Q4_K_M");
    }

    @Test
    void refusesAMissingModelBeforeSpringStarts(@TempDir Path folder) {
        Path missing = folder.resolve("missing.gguf");

        CliRun run = CliRun.of("serve", "--model", missing.toString());

        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err().lines()).containsExactly("prefetch: no such file: " + missing);
    }

    /** The run that the launcher trains the JVM with. */
    @Test
    @Timeout(120)
    void endsAfterOneAnswer() {
        CliRun run = CliRun.of("serve", "--port", "0", "--threads", "2", "--answer-once");

        assertThat(run.err()).isEmpty();
        assertThat(run.exitCode()).isZero();
    }

    private static List<String> springArguments(String... options) throws Exception {
        ServeCommand command = new ServeCommand();
        new CommandLine(command)
                .registerConverter(ModelLocation.class, ModelLocation::new)
                .parseArgs(options);
        return command.springArguments();
    }
}
