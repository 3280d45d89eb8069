package dev.prefetch.sample.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.sample.DemoModel;
import dev.prefetch.sample.GoldenCases;
import dev.prefetch.sample.GoldenCases.GoldenCase;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class LogitsCommandTest {

    private static final String MODEL = DemoModel.asFile().toString();
    private static final int VOCABULARY = 1536;

    private @TempDir Path folder = Path.of("");
    private Path out = Path.of("");

    @BeforeEach
    void nameOutput() {
        out = folder.resolve("logits.f32");
    }

    @Test
    void writesLogitsWhoseMaximumIsTheRecordedNextToken() throws IOException {
        GoldenCase golden = GoldenCases.surestQuestion();
        String tokens = golden.promptIds().stream().map(String::valueOf).collect(Collectors.joining(","));

        CliRun run = logits(tokens);

        assertThat(run.err()).contains(golden.promptIds().size() + " x " + VOCABULARY);
        assertThat(run.exitCode()).isZero();
        float[] values = read();
        assertThat(values).hasSize(golden.promptIds().size() * VOCABULARY);
        for (float value : values) {
            assertThat(value).isFinite();
        }
        assertThat(indexOfMaximum(values, values.length - VOCABULARY))
                .isEqualTo(golden.answerIds().getFirst());
    }

    @Test
    void replacesAnOlderFile() throws IOException {
        Files.write(out, new byte[5 * VOCABULARY * Float.BYTES]);

        assertThat(logits("1 2").exitCode()).isZero();

        assertThat(Files.size(out)).isEqualTo(2L * VOCABULARY * Float.BYTES);
    }

    @Test
    void refusesTokensOutsideTheVocabulary() {
        CliRun run = logits("1,1536");

        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).startsWith("prefetch: ").contains("1536");
        assertThat(run.err().lines()).hasSize(1);
        assertThat(out).doesNotExist();
    }

    @Test
    void refusesWhatIsNoNumber() {
        CliRun run = logits("1,two");

        assertThat(run.exitCode()).isEqualTo(2);
        assertThat(run.err()).contains("\"two\"");
    }

    @Test
    void refusesAnUnknownBackend() {
        CliRun run =
                CliRun.of("logits", "--model", MODEL, "--tokens", "1", "--out", out.toString(), "--backend", "abacus");

        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).contains("abacus");
    }

    private CliRun logits(String tokens) {
        return CliRun.of("logits", "--model", MODEL, "--tokens", tokens, "--out", out.toString(), "--threads", "1");
    }

    private float[] read() throws IOException {
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(out)).order(ByteOrder.LITTLE_ENDIAN);
        float[] values = new float[bytes.capacity() / Float.BYTES];
        bytes.asFloatBuffer().get(values);
        return values;
    }

    private static int indexOfMaximum(float[] values, int from) {
        int best = from;
        for (int i = from; i < from + VOCABULARY; i++) {
            if (values[i] > values[best]) {
                best = i;
            }
        }
        return best - from;
    }
}
