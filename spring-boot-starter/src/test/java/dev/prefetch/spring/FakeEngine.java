package dev.prefetch.spring;

import dev.prefetch.api.EmbeddingOptions;
import dev.prefetch.api.EmbeddingResult;
import dev.prefetch.api.EngineInfo;
import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.FinishReason;
import dev.prefetch.api.Generation;
import dev.prefetch.api.GenerationListener;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.GenerationResult;
import dev.prefetch.api.KvCacheType;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.inference.Pooling;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.tokenizer.Tokenizer;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** An engine without a model: it records requests, and a script, or the test itself, plays the engine's thread. */
public final class FakeEngine implements PrefetchEngine {

    /** What every generation reports. */
    public static final GenerationResult.Timings TIMINGS =
            new GenerationResult.Timings(1_000_000, 20_000_000, 25_000_000, 100_000_000);

    /** Prompt tokens every generation reports. */
    public static final int PROMPT_TOKENS = 7;

    public static final int CACHED_TOKENS = 4;

    /** Name of the engine's thread. */
    public static final String THREAD = "fake-engine";

    private final ExecutorService thread = Executors.newSingleThreadExecutor(
            task -> Thread.ofPlatform().daemon().name(THREAD).unstarted(task));
    private final Consumer<FakeGeneration> script;
    private volatile EngineStatus status =
            new EngineStatus(EngineStatus.State.READY, 0, 0, 8, 1 << 20, 4 << 20, 0, 5, 0, null);
    private volatile @Nullable RuntimeException refusal;
    private String name = "Demo 1M";
    private @Nullable String template;
    private String promptEnd = "";
    private final List<FakeGeneration> generations = new CopyOnWriteArrayList<>();
    private final List<EmbeddingOptions> embeddings = new CopyOnWriteArrayList<>();
    private volatile @Nullable RuntimeException embeddingFailure;
    private final AtomicBoolean closed = new AtomicBoolean();

    private FakeEngine(Consumer<FakeGeneration> script) {
        this.script = script;
    }

    /** Answers every request with these parts, on the engine's thread. */
    public static FakeEngine answering(String... parts) {
        return scripted(generation -> {
            for (String part : parts) {
                generation.text(part);
            }
            generation.complete(FinishReason.STOP);
        });
    }

    /** Runs the script for every request, on the engine's thread. */
    public static FakeEngine scripted(Consumer<FakeGeneration> script) {
        return new FakeEngine(script);
    }

    /** Does nothing by itself: the test drives {@link #last()}. */
    public static FakeEngine manual() {
        return new FakeEngine(generation -> {});
    }

    /** Refuses every request. */
    public void refuseWith(RuntimeException value) {
        refusal = value;
    }

    /** Gives the model another name. */
    public FakeEngine named(String value) {
        name = value;
        return this;
    }

    /** Gives the model a chat template; its source is all that is looked at. */
    public FakeEngine withTemplate(String source) {
        template = source;
        return this;
    }

    /** What every rendered prompt ends with. */
    public FakeEngine withPromptEnd(String text) {
        promptEnd = text;
        return this;
    }

    /** The latest generation. */
    public FakeGeneration last() {
        return generations.getLast();
    }

    /** The requests so far. */
    public List<GenerationRequest> requests() {
        return generations.stream().map(generation -> generation.request).toList();
    }

    public boolean isClosed() {
        return closed.get();
    }

    @Override
    public EngineInfo info() {
        return new EngineInfo(
                name,
                Path.of("/models/demo-1m.gguf"),
                3 << 20,
                "qwen3",
                true,
                1_234_567,
                "Q8_0",
                4,
                512,
                64,
                Pooling.MEAN,
                1024,
                2048,
                KvCacheType.F32,
                "cpu",
                "a test",
                2,
                1_500_000_000,
                List.of(),
                null);
    }

    @Override
    public EmbeddingResult embed(List<String> texts, EmbeddingOptions options) {
        embeddings.add(options);
        RuntimeException failure = embeddingFailure;
        if (failure != null) {
            throw failure;
        }
        return new EmbeddingResult(
                texts.stream().map(text -> new float[] {text.length()}).toList(),
                texts.stream().map(text -> text.split(" ").length).toList());
    }

    /** Has requests for vectors fail from now on; null for no longer. */
    public void failEmbeddings(@Nullable RuntimeException failure) {
        embeddingFailure = failure;
    }

    /** The options of the requests for vectors so far. */
    public List<EmbeddingOptions> embeddings() {
        return embeddings;
    }

    @Override
    public Tokenizer tokenizer() {
        throw new UnsupportedOperationException("not needed here");
    }

    @Override
    public Optional<String> chatTemplate() {
        return Optional.ofNullable(template);
    }

    @Override
    public String render(Prompt.Chat prompt) {
        return prompt.messages().getLast().content() + promptEnd;
    }

    @Override
    public List<Integer> encode(Prompt prompt) {
        return switch (prompt) {
            // As many tokens as words; which ones is of no interest here.
            case Prompt.Text text ->
                IntStream.range(0, text.text().split(" ").length).boxed().toList();
            case Prompt.Tokens tokens -> tokens.tokens();
            case Prompt.Chat chat -> throw new UnsupportedOperationException("not needed here");
        };
    }

    @Override
    public Generation generate(GenerationRequest request, GenerationListener listener) {
        if (closed.get()) {
            throw new IllegalStateException("the engine is closed");
        }
        RuntimeException refused = refusal;
        if (refused != null) {
            throw refused;
        }
        FakeGeneration generation = new FakeGeneration(request, listener);
        generations.add(generation);
        thread.execute(() -> script.accept(generation));
        return generation;
    }

    @Override
    public float[] logits(int[] tokens, boolean stepByStep) {
        throw new UnsupportedOperationException("not needed here");
    }

    @Override
    public Plan plan() {
        return new Plan(
                List.of(),
                8 << 20,
                3 << 20,
                0,
                0,
                0,
                0,
                0,
                0,
                CostModel.ASSUMED,
                new Plan.Forecast(1, 0, 0, 0),
                new Plan.Forecast(512, 0, 0, 0));
    }

    /** What {@link #status()} says from now on. */
    public FakeEngine withStatus(EngineStatus value) {
        status = value;
        return this;
    }

    @Override
    public EngineStatus status() {
        return status;
    }

    @Override
    public void setLookAheadBlocks(int blocks) {
        throw new IllegalStateException("nothing streams");
    }

    @Override
    public void chooseLookAhead() {
        throw new IllegalStateException("nothing streams");
    }

    @Override
    public boolean choosesLookAhead() {
        return false;
    }

    @Override
    public PrefetchStatistics statistics() {
        return PrefetchStatistics.NONE;
    }

    @Override
    public PrefetchStatistics statistics(Regime regime) {
        return PrefetchStatistics.NONE;
    }

    @Override
    public String chromeTrace() {
        return "";
    }

    @Override
    public void close() {
        closed.set(true);
        thread.shutdown();
    }

    /** A generation; each part of its text counts as one token. */
    public static final class FakeGeneration implements Generation {

        private final GenerationRequest request;
        private final GenerationListener listener;
        private final StringBuffer text = new StringBuffer();
        private final List<String> parts = new CopyOnWriteArrayList<>();
        private final CompletableFuture<GenerationResult> end = new CompletableFuture<>();
        private final AtomicBoolean cancelled = new AtomicBoolean();
        private final AtomicBoolean ended = new AtomicBoolean();

        private FakeGeneration(GenerationRequest request, GenerationListener listener) {
            this.request = request;
            this.listener = listener;
        }

        public GenerationRequest request() {
            return request;
        }

        public void text(String part) {
            text.append(part);
            parts.add(part);
            listener.onText(part);
        }

        public void complete(FinishReason reason) {
            List<Integer> tokens = IntStream.range(0, parts.size()).boxed().toList();
            GenerationResult result = new GenerationResult(
                    text.toString(), tokens, reason, PROMPT_TOKENS, CACHED_TOKENS, TIMINGS, PrefetchStatistics.NONE);
            if (ended.compareAndSet(false, true)) {
                // The listener first, as the engine does it: who waits for the result finds everything told.
                listener.onComplete(result);
                end.complete(result);
            }
        }

        public void fail(RuntimeException failure) {
            if (ended.compareAndSet(false, true)) {
                listener.onFailure(failure);
                end.completeExceptionally(failure);
            }
        }

        public boolean isCancelled() {
            return cancelled.get();
        }

        @Override
        public void cancel() {
            cancelled.set(true);
            complete(FinishReason.CANCELLED);
        }

        @Override
        public boolean isDone() {
            return end.isDone();
        }

        @Override
        public GenerationResult await() throws InterruptedException {
            try {
                return end.get();
            } catch (ExecutionException e) {
                if (e.getCause() instanceof RuntimeException failure) {
                    throw failure;
                }
                throw new CompletionException(e.getCause());
            }
        }
    }
}
