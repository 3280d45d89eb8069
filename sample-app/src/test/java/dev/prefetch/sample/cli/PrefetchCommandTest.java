package dev.prefetch.sample.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PrefetchCommandTest {

    @Test
    void listsItsCommands() {
        CliRun run = CliRun.of("--help");

        assertThat(run.exitCode()).isZero();
        assertThat(run.out()).contains("serve", "chat", "logits", "tokenize", "render", "--debug");
    }

    @Test
    void saysItsVersion() {
        CliRun run = CliRun.of("--version");

        assertThat(run.exitCode()).isZero();
        assertThat(run.out())
                .matches("(?s)prefetch \\d+\\.\\d+\\.\\d+.*Java "
                        + Runtime.version().feature() + ".*");
    }

    @Test
    void refusesToRunWithoutCommand() {
        CliRun run = CliRun.of();

        assertThat(run.exitCode()).isEqualTo(2);
        assertThat(run.err()).contains("a command is missing").contains("prefetch --help");
    }

    @Test
    void namesAMissingOption() {
        CliRun run = CliRun.of("tokenize");

        assertThat(run.exitCode()).isEqualTo(2);
        assertThat(run.err()).contains("--model=MODEL").contains("prefetch tokenize --help");
        assertThat(run.out()).isEmpty();
    }

    @Test
    void namesAnUnknownOption() {
        CliRun run = CliRun.of("serve", "--prot", "1");

        assertThat(run.exitCode()).isEqualTo(2);
        assertThat(run.err()).contains("--prot").contains("prefetch serve --help");
    }

    @Test
    void reportsAMissingFileInOneLine(@TempDir Path folder) {
        Path missing = folder.resolve("missing.gguf");

        CliRun run = CliRun.of("tokenize", "--model", missing.toString());

        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err().lines()).containsExactly("prefetch: no such file: " + missing);
    }

    @Test
    void showsTheStackTraceOnlyWhenAskedTo(@TempDir Path folder) {
        String missing = folder.resolve("missing.gguf").toString();

        assertThat(CliRun.of("tokenize", "--debug", "--model", missing).err()).contains("\tat dev.prefetch.");
        assertThat(CliRun.of("tokenize", "--model", missing).err()).doesNotContain("\tat ");
    }
}
