package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.Generation;
import dev.prefetch.api.GenerationListener;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.inference.SamplingOptions;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Has an engine read a short prompt and generate a few tokens, or make a vector of it where it cannot generate: that brings mapped weights into memory and has the kernels
 * compiled, which the first request would wait for otherwise.
 */
final class WarmUp {

    private static final Logger LOG = LoggerFactory.getLogger(WarmUp.class);

    private static final String TEXT = "The quick brown fox jumps over the lazy dog. ".repeat(4);
    private static final int PROMPT_TOKENS = 32;
    private static final int TOKENS = 8;

    private final String name;

    WarmUp(String name) {
        this.name = name;
    }

    /**
     * @param started hears of the generation, to be able to cancel it
     */
    void run(PrefetchEngine engine, Consumer<Generation> started) {
        long start = System.nanoTime();
        List<Integer> prompt = engine.encode(new Prompt.Text(TEXT));
        if (!engine.info().generates()) {
            embed(engine, prompt.size() + 1, start);
            return;
        }
        // A context of a few tokens must do, too.
        int length =
                Math.min(Math.min(PROMPT_TOKENS, prompt.size()), engine.info().contextLength() - TOKENS);
        if (length < 1) {
            LOG.info("Engine {} is not warmed up: its context is too short", name);
            return;
        }
        GenerationRequest request = new GenerationRequest(
                new Prompt.Tokens(prompt.subList(0, length)), SamplingOptions.GREEDY, TOKENS, List.of(), true);
        Generation generation = engine.generate(request, GenerationListener.NONE);
        started.accept(generation);
        try {
            generation.await();
        } catch (InterruptedException e) {
            generation.cancel();
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while warming up", e);
        }
        logWarm(start);
    }

    private void embed(PrefetchEngine engine, int tokens, long start) {
        if (tokens > engine.info().contextLength()) {
            LOG.info("Engine {} is not warmed up: its context is too short", name);
            return;
        }
        try {
            engine.embed(List.of(TEXT));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while warming up", e);
        }
        logWarm(start);
    }

    private void logWarm(long start) {
        LOG.info(String.format(Locale.ROOT, "Warmed engine %s up in %.2f s", name, (System.nanoTime() - start) / 1e9));
    }
}
