package dev.prefetch.api;

import dev.prefetch.inference.BatchLimits;
import dev.prefetch.inference.BatchLoop;
import dev.prefetch.inference.DeadlineExceededException;
import dev.prefetch.inference.EmbeddingListener;
import dev.prefetch.inference.EmbeddingRequest;
import dev.prefetch.inference.Pooling;
import dev.prefetch.inference.QueueFullException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Makes vectors of texts: encodes them, has the batch loop compute them together, and waits for all. As many requests are
 * admitted as generations: those that may run, and those that may wait. Thread-safe.
 */
final class Embedder {

    private final PromptEncoder encoder;
    private final BatchLoop loop;
    private final EngineInfo info;
    private final BatchLimits limits;
    private final Consumer<RuntimeException> onFailure;
    private final AtomicInteger admitted = new AtomicInteger();
    private final LongAdder refused = new LongAdder();
    private final LongAdder expired = new LongAdder();

    Embedder(
            PromptEncoder encoder,
            BatchLoop loop,
            BatchLimits limits,
            EngineInfo info,
            Consumer<RuntimeException> onFailure) {
        this.encoder = encoder;
        this.loop = loop;
        this.limits = limits;
        this.info = info;
        this.onFailure = onFailure;
    }

    EmbeddingResult embed(List<String> texts, EmbeddingOptions options) throws InterruptedException {
        loop.requireOtherThread("compute embeddings");
        long start = System.nanoTime();
        Pooling pooling = options.pooling() == null ? info.pooling() : options.pooling();
        if (pooling == null) {
            throw new IllegalStateException(
                    info.modelFile() + ": the pooling_type of this model is not supported: it is"
                            + " made for something else than embeddings. Choose a pooling in the options to use it all the same");
        }
        // All are encoded before the first is queued: a text that is refused leaves nothing behind.
        List<int[]> encoded = new ArrayList<>();
        for (int i = 0; i < texts.size(); i++) {
            encoded.add(encode(texts.get(i), i));
        }
        admit();
        try {
            return new EmbeddingResult(
                    compute(encoded, pooling, options, start),
                    encoded.stream().map(tokens -> tokens.length).toList());
        } finally {
            admitted.decrementAndGet();
        }
    }

    private void admit() {
        int before = admitted.getAndIncrement();
        if (before - limits.maxConcurrency() >= limits.queueLimit()) {
            admitted.decrementAndGet();
            refused.increment();
            throw new QueueFullException("requests for vectors", limits.queueLimit(), limits.maxConcurrency());
        }
    }

    private List<float[]> compute(List<int[]> encoded, Pooling pooling, EmbeddingOptions options, long start)
            throws InterruptedException {
        List<Pending> pending = new ArrayList<>();
        List<EmbeddingRequest> requests = new ArrayList<>();
        for (int[] tokens : encoded) {
            Pending text = new Pending(onFailure);
            pending.add(text);
            requests.add(new EmbeddingRequest(tokens, pooling, options.normalize(), text));
        }
        Runnable cancel = loop.submit(requests);
        try {
            List<float[]> vectors = new ArrayList<>();
            for (Pending text : pending) {
                vectors.add(options.timeout() == null ? text.await() : await(pending, text, options.timeout(), start));
            }
            return vectors;
        } finally {
            // Of those that are done this changes nothing; the others are of no use without the one that failed.
            cancel.run();
        }
    }

    /** Who waits here does not wait for the engine beyond the limit, whatever hangs. */
    private float[] await(List<Pending> pending, Pending text, Duration timeout, long start)
            throws InterruptedException {
        try {
            return text.await(timeout.toNanos() - (System.nanoTime() - start));
        } catch (TimeoutException e) {
            expired.increment();
            throw new DeadlineExceededException("not done within " + timeout.toMillis() + " ms: "
                    + pending.stream().filter(Pending::isDone).count() + " of " + pending.size()
                    + " texts were computed. Allow more time (spring.ai.prefetch.embedding.timeout), or give fewer or"
                    + " shorter texts at once");
        }
    }

    /** Requests refused because as many waited as may. */
    long refused() {
        return refused.sum();
    }

    /** Requests that were not done in their time. */
    long expired() {
        return expired.sum();
    }

    private int[] encode(String text, int index) {
        int[] tokens = encoder.encodeText(text);
        if (tokens.length == 0) {
            throw new IllegalArgumentException("text " + index + " has no tokens: there is nothing to embed");
        }
        if (tokens.length > info.contextLength()) {
            throw new ContextLengthExceededException(
                    "text " + index + " has " + tokens.length + " tokens but the context length is "
                            + info.contextLength() + ": split it"
                            + (info.contextLength() < info.trainedContextLength()
                                    ? ", or raise the context length (spring.ai.prefetch.context-length), at most to the "
                                            + info.trainedContextLength() + " that the model was trained for"
                                    : "; the model was trained for no more"),
                    tokens.length,
                    info.contextLength());
        }
        return tokens;
    }

    /** The pooling that a file's {@code <arch>.pooling_type} asks for; null for one that gives no vector. */
    static @Nullable Pooling poolingOf(int poolingType) {
        return switch (poolingType) {
            // Not said, as in every chat model. The mean serves retrieval better there than the last state, which is
            // trained to say what comes next.
            case 0, 1 -> Pooling.MEAN;
            case 2 -> Pooling.CLS;
            case 3 -> Pooling.LAST;
            default -> null;
        };
    }

    /** A text that was submitted. */
    private static final class Pending implements EmbeddingListener {

        private final Consumer<RuntimeException> onFailure;
        private final CompletableFuture<float[]> result = new CompletableFuture<>();

        Pending(Consumer<RuntimeException> onFailure) {
            this.onFailure = onFailure;
        }

        boolean isDone() {
            return result.isDone();
        }

        float[] await() throws InterruptedException {
            try {
                return result.get();
            } catch (ExecutionException e) {
                throw failure(e);
            }
        }

        float[] await(long nanos) throws InterruptedException, TimeoutException {
            try {
                return result.get(nanos, TimeUnit.NANOSECONDS);
            } catch (ExecutionException e) {
                throw failure(e);
            }
        }

        private static RuntimeException failure(ExecutionException e) {
            return e.getCause() instanceof RuntimeException failure
                    ? failure
                    : new IllegalStateException("computing embeddings failed: " + e.getCause(), e.getCause());
        }

        @Override
        public void onVector(float[] vector) {
            result.complete(vector);
        }

        @Override
        public void onCancelled() {
            result.completeExceptionally(
                    new CancellationException("the engine was closed before the embeddings were computed"));
        }

        @Override
        public void onFailure(RuntimeException failure) {
            onFailure.accept(failure);
            result.completeExceptionally(failure);
        }
    }
}
