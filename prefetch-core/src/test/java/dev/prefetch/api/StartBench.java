package dev.prefetch.api;

import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.inference.Speculation;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;

/**
 * What the first request of a process waits for. Run {@code main} in a fresh process with a model, threads, prompt tokens and
 * the limit of the warm-up in seconds, 0 for none; it prints the times of opening and warm-up, of the first token of the first
 * request and of its first ten tokens, and the same of the second request.
 */
final class StartBench {

    private static final int TOKENS = 10;

    private StartBench() {}

    public static void main(String[] args) throws InterruptedException {
        EngineOptions options = EngineOptions.of(Path.of(args[0]))
                .withThreads(Integer.parseInt(args[1]))
                .withServing(ServingOptions.DEFAULT.withSpeculation(Speculation.OFF));
        int prompt = Integer.parseInt(args[2]);
        Duration limit = Duration.ofMillis((long) (1000 * Double.parseDouble(args[3])));
        SplittableRandom random = new SplittableRandom(7);
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            Duration warmUp = engine.warmUp(limit);
            System.out.printf(
                    Locale.ROOT,
                    "open %.0f ms, warm-up %.0f ms",
                    engine.info().loadNanos() / 1e6,
                    warmUp.toNanos() / 1e6);
            for (String request : List.of("first", "second")) {
                List<Integer> tokens = random.ints(prompt, 0, engine.tokenizer().vocabularySize())
                        .boxed()
                        .toList();
                GenerationResult result = engine.generate(new GenerationRequest(
                        new Prompt.Tokens(tokens), SamplingOptions.GREEDY, TOKENS, List.of(), true));
                GenerationResult.Timings timings = result.timings();
                System.out.printf(
                        Locale.ROOT,
                        "; %s request: first token %.0f ms, %d tokens %.0f ms",
                        request,
                        timings.firstTokenNanos() / 1e6,
                        TOKENS,
                        (timings.firstTokenNanos() + timings.decodeNanos()) / 1e6);
            }
            System.out.println();
        }
    }
}
