package dev.prefetch.sample.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.sample.DemoModel;
import dev.prefetch.sample.GoldenCases;
import dev.prefetch.sample.GoldenCases.GoldenCase;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

class TokenizeCommandTest {

    private static final String MODEL = DemoModel.asFile().toString();

    @Test
    void givesTheRecordedIdsOfEveryPrompt() {
        for (GoldenCase golden : GoldenCases.all()) {
            CliRun run = CliRun.withInput(golden.prompt(), "tokenize", "--model", MODEL, "--special", "--whole");

            assertThat(run.out().strip()).as(golden.prompt()).isEqualTo(ids(golden));
        }
    }

    @Test
    void treatsSpecialTokensAsTextUnlessAskedTo() {
        CliRun special = CliRun.withInput("<|im_end|>", "tokenize", "--model", MODEL, "--special");
        CliRun text = CliRun.withInput("<|im_end|>", "tokenize", "--model", MODEL);

        assertThat(special.out().strip().split(" ")).hasSize(1);
        assertThat(text.out().strip().split(" "))
                .hasSizeGreaterThan(1)
                .doesNotContain(special.out().strip());
    }

    @Test
    void writesOneLineForEachLine() {
        CliRun one = CliRun.withInput("Hello", "tokenize", "--model", MODEL);
        CliRun three = CliRun.withInput("Hello\n\nHello\n", "tokenize", "--model", MODEL);

        assertThat(one.out().strip()).matches("\\d+( \\d+)*");
        assertThat(three.out().lines())
                .containsExactly(one.out().strip(), "", one.out().strip());
    }

    @Test
    void takesLineBreaksAsTextOfAWholeInput() {
        CliRun run = CliRun.withInput("Hello\nHello\n", "tokenize", "--model", MODEL, "--whole");

        String one =
                CliRun.withInput("Hello", "tokenize", "--model", MODEL).out().strip();
        assertThat(run.out().lines()).hasSize(1);
        assertThat(run.out().strip()).startsWith(one).isNotEqualTo(one + " " + one);
    }

    @Test
    void refusesInputThatIsNotUtf8() {
        CliRun run = CliRun.run(new byte[] {'a', (byte) 0xC3}, PrefetchEngine::open, "tokenize", "--model", MODEL);

        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).contains("not valid UTF-8");
    }

    private static String ids(GoldenCase golden) {
        return golden.promptIds().stream().map(String::valueOf).collect(Collectors.joining(" "));
    }
}
