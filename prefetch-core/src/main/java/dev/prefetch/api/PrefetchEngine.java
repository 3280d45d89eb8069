package dev.prefetch.api;

import dev.prefetch.prefetch.LoadListener;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.tokenizer.Tokenizer;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** A loaded model that answers requests. Thread-safe; close it to give its memory back. */
public interface PrefetchEngine extends AutoCloseable {

    /**
     * Loads a model.
     *
     * @throws dev.prefetch.gguf.GgufFormatException when the file is not valid GGUF
     * @throws dev.prefetch.model.UnsupportedModelException when it is valid but needs something that is not supported
     * @throws java.io.UncheckedIOException when the file cannot be read
     * @throws BackendUnavailableException when the backend asked for cannot be used here
     * @throws dev.prefetch.prefetch.PlanException when the model cannot run within the memory budget
     * @throws dev.prefetch.backend.OutOfDeviceMemoryException when the system refuses memory that the budget allows
     * @throws dev.prefetch.prefetch.WeightUnavailableException when the weights cannot be read
     */
    static PrefetchEngine open(EngineOptions options) {
        return open(options, LoadListener.logging());
    }

    /**
     * The same for an application that shows the progress of loading itself, instead of a log line at every tenth.
     *
     * @param listener hears how many bytes of the weights that stay are in memory, on the calling thread; nothing when the
     *     model fits, since it is then mapped and not loaded
     */
    static PrefetchEngine open(EngineOptions options, LoadListener listener) {
        return LocalEngine.open(options, listener);
    }

    /**
     * The plan an engine with these options would make now: what stays in memory, what streams, and what speed to expect.
     * Reads the head of the file only, and where a large part does not fit a few hundred megabytes to measure the disk and
     * the kernels, unless {@link MemoryOptions#costs()} says what they give.
     *
     * @throws dev.prefetch.prefetch.PlanException when the model cannot run within the budget
     */
    static Plan plan(EngineOptions options) {
        return LocalEngine.plan(options);
    }

    /** What runs and how. */
    EngineInfo info();

    /** The model's tokenizer. */
    Tokenizer tokenizer();

    /** Source of the model's chat template; empty when the file has none, or one that cannot be read. */
    Optional<String> chatTemplate();

    /**
     * The text a conversation becomes with the model's chat template, before it is made into tokens.
     *
     * @throws dev.prefetch.template.TemplateException when the chat template refuses the conversation
     * @throws IllegalStateException when the model has no chat template
     * @throws UnsupportedOperationException when the model is an encoder, which {@link EngineInfo#generates} says
     */
    String render(Prompt.Chat prompt);

    /**
     * The token ids a prompt becomes, begin token included where the model wants one.
     *
     * @throws dev.prefetch.template.TemplateException when the chat template refuses the conversation
     * @throws IllegalStateException for a chat prompt when the model has no chat template
     */
    List<Integer> encode(Prompt prompt);

    /**
     * Starts a generation and returns at once.
     *
     * @throws ContextLengthExceededException when the prompt leaves no room for an answer
     * @throws UnsupportedOperationException when the model is an encoder, which {@link EngineInfo#generates} says
     * @throws dev.prefetch.inference.QueueFullException when as many generations wait as may
     * @throws IllegalStateException when the engine is closed
     */
    Generation generate(GenerationRequest request, GenerationListener listener);

    /** Runs a generation to its end. */
    default GenerationResult generate(GenerationRequest request) throws InterruptedException {
        return generate(request, GenerationListener.NONE).await();
    }

    /**
     * Makes a vector of every text, and waits for all of them. The texts share sweeps with each other and with what is
     * generated. Works with every model; one that was trained for embeddings gives vectors that mean more.
     *
     * @throws ContextLengthExceededException when a text does not fit the context
     * @throws IllegalArgumentException when a text is empty
     * @throws IllegalStateException when the engine is closed, the caller is a listener, or neither the model nor the options
     *     say how to pool
     * @throws java.util.concurrent.CancellationException when the engine is closed meanwhile
     */
    EmbeddingResult embed(List<String> texts, EmbeddingOptions options) throws InterruptedException;

    /** Vectors as the model's file wants them, of length 1. */
    default EmbeddingResult embed(List<String> texts) throws InterruptedException {
        return embed(texts, EmbeddingOptions.DEFAULT);
    }

    /**
     * The logits after each of the given tokens, for checks against other engines.
     *
     * @param stepByStep one token per sweep through the decode kernels, as generation does, instead of all as a prompt
     * @return {@code [tokens x vocabulary]}, row-major
     * @throws IllegalArgumentException when a token is outside the vocabulary, or there are none or too many of them
     * @throws UnsupportedOperationException when the model is an encoder, which {@link EngineInfo#generates} says
     * @throws IllegalStateException when the engine is closed, or the caller is a listener, which would wait for itself
     * @throws java.util.concurrent.CancellationException when the engine is closed meanwhile
     */
    float[] logits(int[] tokens, boolean stepByStep) throws InterruptedException;

    /** Which weights stay in memory and which stream. */
    Plan plan();

    /**
     * Answers prompts of its own until that gets no faster: that brings mapped weights into memory and has the kernels compiled,
     * which the first requests would wait for otherwise. Nothing else has to wait for it; requests share the sweeps with it.
     *
     * @param limit when to end at the latest, within a token; 0 for not at all
     * @return how long it took, as {@link EngineInfo#warmUpNanos()} says from then on
     * @throws IllegalArgumentException when the limit is negative
     * @throws IllegalStateException when the engine is closed
     * @throws java.util.concurrent.CancellationException when the engine is closed meanwhile
     */
    default Duration warmUp(Duration limit) throws InterruptedException {
        return new WarmUp(this, limit).run();
    }

    /** How the engine is doing now: for display, since it changes all the time. Also of a closed engine. */
    EngineStatus status();

    /**
     * Fixes how many streamed blocks may be on their way while compute holds one, from now on. An engine that chooses the
     * look-ahead itself stops doing so until {@link #chooseLookAhead()}.
     *
     * @param blocks between 0 and the plan's slots - 1
     * @throws IllegalArgumentException when out of range
     * @throws IllegalStateException when nothing streams, or when the engine is closed
     */
    void setLookAheadBlocks(int blocks);

    /**
     * Lets the engine choose the look-ahead itself from now on, by measuring, beginning with the present one
     * or, where that is 0, with 1.
     *
     * @throws IllegalStateException when nothing streams, or when the engine is closed
     */
    void chooseLookAhead();

    /** Whether the engine chooses the look-ahead itself; false also when nothing streams. */
    boolean choosesLookAhead();

    /** What moved so far and how well it was hidden; all requests together. */
    PrefetchStatistics statistics();

    /** The same for the finished sweeps of one regime: sweeps that carry prompt tokens, or sweeps that only generate. */
    PrefetchStatistics statistics(Regime regime);

    /** The last sweeps as a Chrome trace (Perfetto shows it); empty unless {@link MemoryOptions#traceSweeps()} is set. */
    String chromeTrace();

    /**
     * Cancels what runs, waits for it, and releases everything. Idempotent.
     *
     * @throws IllegalStateException when called by a listener, which runs on the thread that is waited for
     */
    @Override
    void close();
}
