package dev.prefetch.api;

import dev.prefetch.inference.QueueFullException;
import dev.prefetch.inference.SamplingOptions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Has an engine answer prompts that nobody asked for, in rounds, until a round is hardly faster than those before it. A round is
 * what an engine does all day: a prompt, its answer, and several answers at the same time, which other kernels compute. The
 * first round takes seconds: the compiler gets to a kernel when it has run thousands of times, and until then the Vector API makes an
 * object of every vector. An encoder makes vectors of a text instead.
 */
final class WarmUp {

    private static final Logger LOG = LoggerFactory.getLogger(WarmUp.class);

    private static final String TEXT = "The quick brown fox jumps over the lazy dog. ".repeat(4);

    /** Two tiles of the prefill kernels: in the first round every further one is computed slowly. */
    private static final int PROMPT_TOKENS = 32;

    private static final int TOKENS = 6;

    /** Answers at the same time. */
    private static final int STREAMS = 4;

    private static final int STREAM_PROMPT_TOKENS = 4;

    /** A round that takes more than that share of the fastest before it is the last. */
    private static final double GAIN = 0.9;

    /** A round after the first that takes so long runs every kernel often enough to be the last: the model is large. */
    private static final long LONG_ROUND_NANOS = 500_000_000;

    /** Each leaves a prompt in the prompt cache. */
    private static final int MOST_ROUNDS = 16;

    private final PrefetchEngine engine;
    private final long limitNanos;
    private final long start = System.nanoTime();

    WarmUp(PrefetchEngine engine, Duration limit) {
        if (limit.isNegative()) {
            throw new IllegalArgumentException("the limit of a warm-up must not be negative but was " + limit);
        }
        this.engine = engine;
        this.limitNanos = nanos(limit);
    }

    private static long nanos(Duration duration) {
        // Beyond, nanoseconds do not fit; nobody waits for centuries.
        return duration.compareTo(Duration.ofDays(1)) > 0 ? Duration.ofDays(1).toNanos() : duration.toNanos();
    }

    /** How long it took. */
    Duration run() throws InterruptedException {
        if (limitNanos == 0) {
            return Duration.ZERO;
        }
        List<Integer> text = new ArrayList<>(engine.encode(new Prompt.Text(TEXT)));
        // A context of a few tokens must do, too.
        EngineInfo info = engine.info();
        int length = info.generates()
                ? Math.min(Math.min(PROMPT_TOKENS, text.size()), info.contextLength() - TOKENS)
                // A vector is of the whole text, which may get another token at its end.
                : info.contextLength() - text.size();
        if (length < 1) {
            LOG.info("No warm-up: the context of {} tokens is too short", info.contextLength());
            return Duration.ZERO;
        }
        int streams = Math.min(STREAMS, engine.status().maxConcurrency());
        long first = 0;
        long best = Long.MAX_VALUE;
        int rounds = 0;
        boolean goOn = true;
        while (goOn && rounds < MOST_ROUNDS) {
            long began = System.nanoTime();
            // Another beginning each time, or the prompt cache would have it.
            Collections.rotate(text, 1);
            boolean ended = info.generates() ? round(text.subList(0, length), streams) : vector();
            if (!ended) {
                break;
            }
            long took = System.nanoTime() - began;
            first = rounds == 0 ? took : first;
            goOn = took < GAIN * best && (rounds == 0 || took < LONG_ROUND_NANOS);
            best = Math.min(best, took);
            rounds++;
        }
        Duration taken = Duration.ofNanos(System.nanoTime() - start);
        LOG.info(String.format(
                Locale.ROOT,
                "Warm-up of %s took %.2f s: %d rounds, the first %.0f ms, the fastest %.0f ms",
                info.modelName(),
                taken.toNanos() / 1e9,
                rounds,
                first / 1e6,
                rounds == 0 ? 0 : best / 1e6));
        return taken;
    }

    /** Whether the round came to its end within the limit. */
    private boolean round(List<Integer> prompt, int streams) throws InterruptedException {
        if (!answers(List.of(prompt))) {
            return false;
        }
        if (streams < 2 || prompt.size() < streams + STREAM_PROMPT_TOKENS) {
            return true;
        }
        List<List<Integer>> prompts = new ArrayList<>();
        for (int i = 0; i < streams; i++) {
            prompts.add(prompt.subList(1 + i, 1 + i + STREAM_PROMPT_TOKENS));
        }
        return answers(prompts);
    }

    /** Of an encoder, which gives nothing else. */
    private boolean vector() throws InterruptedException {
        engine.embed(List.of(TEXT));
        return System.nanoTime() - start < limitNanos;
    }

    private boolean answers(List<List<Integer>> prompts) throws InterruptedException {
        CountDownLatch running = new CountDownLatch(prompts.size());
        GenerationListener listener = new GenerationListener() {
            @Override
            public void onComplete(GenerationResult result) {
                running.countDown();
            }

            @Override
            public void onFailure(RuntimeException failure) {
                running.countDown();
            }
        };
        List<Generation> generations = new ArrayList<>();
        boolean ended = false;
        try {
            for (List<Integer> prompt : prompts) {
                generations.add(engine.generate(
                        new GenerationRequest(
                                new Prompt.Tokens(prompt), SamplingOptions.GREEDY, TOKENS, List.of(), true),
                        listener));
            }
            ended = running.await(start + limitNanos - System.nanoTime(), TimeUnit.NANOSECONDS);
        } catch (QueueFullException e) {
            LOG.debug("The warm-up ends, because the engine is busy with requests", e);
        } finally {
            if (!ended) {
                generations.forEach(Generation::cancel);
            }
        }
        for (Generation generation : generations) {
            // Throws the failure, if it failed.
            if (generation.await().finishReason() == FinishReason.CANCELLED && ended) {
                throw new CancellationException("the engine was closed while it was warmed up");
            }
        }
        return ended;
    }
}
