package dev.prefetch.sample.cli;

import dev.prefetch.api.Generation;
import dev.prefetch.api.GenerationListener;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.GenerationResult;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.inference.SamplingOptions;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;

/** How fast an engine serves several at the same time, and whether each gets what it would get alone. */
final class StreamBench {

    private static final long SEED = 7;

    private final PrefetchEngine engine;
    private final int promptTokens;
    private final int generateTokens;
    private final List<List<Integer>> alone = new ArrayList<>();

    StreamBench(PrefetchEngine engine, int promptTokens, int generateTokens) {
        this.engine = engine;
        this.promptTokens = promptTokens;
        this.generateTokens = generateTokens;
    }

    /** Runs {@code streams} generations with a prompt each, all submitted at once. */
    Figures measure(int streams) throws InterruptedException {
        long start = System.nanoTime();
        List<Generation> running = new ArrayList<>();
        for (int i = 0; i < streams; i++) {
            running.add(engine.generate(request(i), GenerationListener.NONE));
        }
        List<GenerationResult> results = new ArrayList<>();
        for (Generation generation : running) {
            results.add(generation.await());
        }
        long nanos = System.nanoTime() - start;
        int tokens =
                results.stream().mapToInt(GenerationResult::completionTokens).sum();
        List<Double> firstTokens = results.stream()
                .map(result -> result.timings().firstTokenNanos() / 1e9)
                .sorted()
                .toList();
        List<Double> speeds = results.stream()
                .map(GenerationResult::decodeTokensPerSecond)
                .sorted()
                .toList();
        return new Figures(
                streams,
                tokens * 1e9 / nanos,
                speeds.stream().mapToDouble(Double::doubleValue).sum(),
                firstTokens.get(streams / 2),
                firstTokens.getLast(),
                speeds.getFirst(),
                speeds.getLast(),
                sameAsAlone(results));
    }

    /** How many of the results have the tokens that the same request has with nobody beside it. */
    private int sameAsAlone(List<GenerationResult> results) throws InterruptedException {
        int same = 0;
        for (int i = 0; i < results.size(); i++) {
            if (i == alone.size()) {
                alone.add(engine.generate(request(i)).tokens());
            }
            same += results.get(i).tokens().equals(alone.get(i)) ? 1 : 0;
        }
        return same;
    }

    private GenerationRequest request(int stream) {
        List<Integer> tokens = new SplittableRandom(SEED + stream)
                .ints(promptTokens, 0, engine.tokenizer().vocabularySize())
                .boxed()
                .toList();
        return new GenerationRequest(
                new Prompt.Tokens(tokens), SamplingOptions.GREEDY, generateTokens, List.of(), true);
    }

    /**
     * @param tokensPerSecond generated tokens of all streams together, prompts included in the time
     * @param decodeTokensPerSecond the same without prompts: what the streams decode, added up
     * @param medianFirstToken seconds to the first token
     * @param lastFirstToken the same of the stream that waited longest
     * @param slowest decode tokens per second of the slowest stream
     * @param fastest and of the fastest
     * @param sameAsAlone streams with the tokens they have alone
     */
    record Figures(
            int streams,
            double tokensPerSecond,
            double decodeTokensPerSecond,
            double medianFirstToken,
            double lastFirstToken,
            double slowest,
            double fastest,
            int sameAsAlone) {

        String describe() {
            return String.format(
                    Locale.ROOT,
                    "streams  %2d: %.2f tokens/s together, %.2f without prompts, first token after %.2f s (median) and %.2f s (last), slowest /"
                            + " fastest %.2f, %d of %d as alone%n",
                    streams,
                    tokensPerSecond,
                    decodeTokensPerSecond,
                    medianFirstToken,
                    lastFirstToken,
                    slowest / fastest,
                    sameAsAlone,
                    streams);
        }

        Map<String, Object> report() {
            Map<String, Object> map = new LinkedHashMap<>();
            map.put("streams", streams);
            map.put("tokensPerSecond", tokensPerSecond);
            map.put("decodeTokensPerSecond", decodeTokensPerSecond);
            map.put("medianFirstTokenSeconds", medianFirstToken);
            map.put("lastFirstTokenSeconds", lastFirstToken);
            map.put("slowestTokensPerSecond", slowest);
            map.put("fastestTokensPerSecond", fastest);
            map.put("sameAsAlone", sameAsAlone);
            return map;
        }
    }
}
