package dev.prefetch.sample.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.ModelCaches;
import dev.prefetch.sample.DemoModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Models by the name they are published under, on the command line as in the properties. */
class ModelLocationTest {

    @TempDir
    private Path folder;

    private CliRun run(String input, String... arguments) {
        return CliRun.run(
                input, new ModelCaches(List.of(folder.resolve("hub")), List.of(folder), List.of(folder)), arguments);
    }

    /** A file where the hub's own tool puts it. */
    private Path download(String owner, String repository, String file) throws IOException {
        Path model = folder.resolve("hub/models--" + owner + "--" + repository + "/snapshots/0123/" + file);
        Files.createDirectories(model.getParent());
        return Files.copy(DemoModel.asFile(), model);
    }

    @Test
    void aDownloadedModelIsFoundByItsName() throws IOException {
        Path file = download("tiny", "Demo-GGUF", "demo-Q8_0.gguf");

        CliRun byName = run("What is GGUF?", "tokenize", "--model", "hf:tiny/Demo-GGUF:Q8_0");

        assertThat(byName.err()).isEmpty();
        assertThat(byName.exitCode()).isZero();
        assertThat(byName.out())
                .isEqualTo(run("What is GGUF?", "tokenize", "--model", file.toString())
                        .out());
    }

    @Test
    void aModelThatWasNotDownloadedIsNamedWithTheCommandThatDoes() {
        CliRun run = run("", "plan", "--model", "hf:tiny/Demo-GGUF:Q8_0");

        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).contains("hf:tiny/Demo-GGUF:Q8_0").contains("hf download tiny/Demo-GGUF");
    }

    @Test
    void aMalformedReferenceIsRefused() {
        CliRun run = run("", "plan", "--model", "hf:nobody");

        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).contains("'hf:nobody'").contains("hf:OWNER/REPOSITORY");
    }
}
