package dev.prefetch.sample.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BenchCommandTest {

    private static final String MODEL = "src/main/resources/demo-model/tiny-demo-chat-Q8_0.gguf";

    @Test
    void measuresSeveralStreamsAndSaysWhetherEachGotWhatItGetsAlone(@TempDir Path folder) throws Exception {
        Path json = folder.resolve("streams.json");
        CliRun run = CliRun.of(
                "bench",
                "--model",
                MODEL,
                "--threads",
                "1",
                "--prompt",
                "5",
                "--generate",
                "6",
                "--streams",
                "1,3",
                "--json",
                json.toString());
        assertThat(run.err()).isEmpty();
        assertThat(run.exitCode()).isZero();
        assertThat(run.out())
                .contains("1 of 1 as alone")
                .contains("3 of 3 as alone")
                .contains("without prompts");
        assertThat(Files.readString(json))
                .contains("\"sameAsAlone\" : 3")
                .contains("lastFirstTokenSeconds", "decodeTokensPerSecond");
    }

    @Test
    void measuresPromptsAndGenerationApart() {
        CliRun run = CliRun.of(
                "bench", "--model", MODEL, "--threads", "1", "--prompt", "8", "--generate", "4", "--repeat", "2");
        assertThat(run.exitCode()).isZero();
        assertThat(run.out()).contains("prefill  8 tokens").contains("decode   4 tokens");
    }

    @Test
    void measuresAtLeastOnceHoweverShortTheTime() {
        CliRun run = CliRun.of(
                "bench",
                "--model",
                MODEL,
                "--threads",
                "1",
                "--prompt",
                "0",
                "--generate",
                "4",
                "--warm-up",
                "0",
                "--minutes",
                "0.0000001");
        assertThat(run.exitCode()).isZero();
        assertThat(run.out()).containsPattern("decode   4 tokens: median [0-9.]+ tokens/s \\([0-9.]+\\)\n");
    }
}
