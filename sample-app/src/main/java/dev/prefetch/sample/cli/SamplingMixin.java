package dev.prefetch.sample.cli;

import dev.prefetch.inference.SamplingOptions;
import java.util.random.RandomGenerator;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Options that say how tokens are chosen. */
final class SamplingMixin {

    @Option(
            names = "--temperature",
            paramLabel = "T",
            description = "0 takes the most likely token; more makes answers vary (default: ${DEFAULT-VALUE}).")
    private float temperature;

    @Option(
            names = "--top-k",
            paramLabel = "K",
            description = "Keep the K most likely tokens; 0 for all (default: ${DEFAULT-VALUE}).")
    private int topK;

    @Option(
            names = "--top-p",
            paramLabel = "P",
            defaultValue = "1",
            description = "Keep the most likely tokens that reach P together (default: ${DEFAULT-VALUE}).")
    private float topP = 1;

    @Option(
            names = "--min-p",
            paramLabel = "P",
            description = "Keep tokens at least P times as likely as the likeliest (default: ${DEFAULT-VALUE}).")
    private float minP;

    @Option(
            names = "--repetition-penalty",
            paramLabel = "F",
            defaultValue = "1",
            description = "Make tokens of the last 64 less likely; 1 for none (default: ${DEFAULT-VALUE}).")
    private float repetitionPenalty = 1;

    @Option(
            names = "--seed",
            paramLabel = "N",
            description = "Seed of the random choice (default: a new one each time).")
    private @Nullable Long seed;

    SamplingOptions options() {
        SamplingOptions greedy = SamplingOptions.GREEDY;
        return new SamplingOptions(
                temperature,
                topK,
                topP,
                minP,
                repetitionPenalty,
                greedy.presencePenalty(),
                greedy.frequencyPenalty(),
                greedy.penaltyWindow(),
                seed != null ? seed : RandomGenerator.getDefault().nextLong());
    }
}
