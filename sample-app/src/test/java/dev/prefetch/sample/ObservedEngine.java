package dev.prefetch.sample;

import dev.prefetch.api.EmbeddingOptions;
import dev.prefetch.api.EmbeddingResult;
import dev.prefetch.api.EngineInfo;
import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.Generation;
import dev.prefetch.api.GenerationListener;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.GenerationResult;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.tokenizer.Tokenizer;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A real engine that tells what it was asked and how that ended, and that can be held in the middle of an answer: the
 * demo model is so fast that a test could not stop it otherwise. A held generation goes on when it is cancelled, so
 * that what a test sees is the engine's own cancellation.
 */
public final class ObservedEngine implements PrefetchEngine {

    private static final int NEVER = Integer.MAX_VALUE;
    private static final long HOLD_SECONDS = 60;

    private final PrefetchEngine engine;
    private final BlockingQueue<GenerationRequest> requests = new LinkedBlockingQueue<>();
    private final BlockingQueue<GenerationResult> results = new LinkedBlockingQueue<>();
    private final AtomicInteger holdAfterTexts = new AtomicInteger(NEVER);

    public ObservedEngine(PrefetchEngine engine) {
        this.engine = engine;
    }

    /** Holds the next generation after so many texts, until it is cancelled. */
    public void holdNextAfter(int texts) {
        holdAfterTexts.set(texts);
    }

    /** Forgets what was seen so far. */
    public void reset() {
        requests.clear();
        results.clear();
        holdAfterTexts.set(NEVER);
    }

    /** Waits for the next request. */
    public GenerationRequest nextRequest() throws InterruptedException {
        return take(requests, "request");
    }

    /** Waits for the end of the next generation. */
    public GenerationResult nextResult() throws InterruptedException {
        return take(results, "result");
    }

    private static <T> T take(BlockingQueue<T> queue, String what) throws InterruptedException {
        T value = queue.poll(HOLD_SECONDS, TimeUnit.SECONDS);
        if (value == null) {
            throw new AssertionError("no " + what + " within " + HOLD_SECONDS + " s");
        }
        return value;
    }

    @Override
    public EmbeddingResult embed(List<String> texts, EmbeddingOptions options) throws InterruptedException {
        return engine.embed(texts, options);
    }

    @Override
    public Generation generate(GenerationRequest request, GenerationListener listener) {
        requests.add(request);
        int limit = holdAfterTexts.getAndSet(NEVER);
        CountDownLatch release = new CountDownLatch(1);
        Generation generation = engine.generate(request, new GenerationListener() {
            private int texts;

            @Override
            public void onText(String text) {
                listener.onText(text);
                if (++texts == limit) {
                    hold(release);
                }
            }

            @Override
            public void onComplete(GenerationResult result) {
                results.add(result);
                listener.onComplete(result);
            }

            @Override
            public void onFailure(RuntimeException failure) {
                listener.onFailure(failure);
            }
        });
        return new Generation() {
            @Override
            public void cancel() {
                generation.cancel();
                release.countDown();
            }

            @Override
            public boolean isDone() {
                return generation.isDone();
            }

            @Override
            public GenerationResult await() throws InterruptedException {
                return generation.await();
            }
        };
    }

    private static void hold(CountDownLatch release) {
        try {
            if (!release.await(HOLD_SECONDS, TimeUnit.SECONDS)) {
                throw new IllegalStateException("nobody cancelled the held generation");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while held", e);
        }
    }

    @Override
    public EngineInfo info() {
        return engine.info();
    }

    @Override
    public Tokenizer tokenizer() {
        return engine.tokenizer();
    }

    @Override
    public Optional<String> chatTemplate() {
        return engine.chatTemplate();
    }

    @Override
    public String render(Prompt.Chat prompt) {
        return engine.render(prompt);
    }

    @Override
    public List<Integer> encode(Prompt prompt) {
        return engine.encode(prompt);
    }

    @Override
    public float[] logits(int[] tokens, boolean stepByStep) throws InterruptedException {
        return engine.logits(tokens, stepByStep);
    }

    @Override
    public Plan plan() {
        return engine.plan();
    }

    @Override
    public EngineStatus status() {
        return engine.status();
    }

    @Override
    public void setLookAheadBlocks(int blocks) {
        engine.setLookAheadBlocks(blocks);
    }

    @Override
    public void chooseLookAhead() {
        engine.chooseLookAhead();
    }

    @Override
    public boolean choosesLookAhead() {
        return engine.choosesLookAhead();
    }

    @Override
    public PrefetchStatistics statistics() {
        return engine.statistics();
    }

    @Override
    public PrefetchStatistics statistics(Regime regime) {
        return engine.statistics(regime);
    }

    @Override
    public String chromeTrace() {
        return engine.chromeTrace();
    }

    @Override
    public void close() {
        engine.close();
    }
}
