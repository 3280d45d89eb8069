package dev.prefetch.api;

import dev.prefetch.tokenizer.Tokenizer;
import java.util.List;

/** A loaded model that answers requests. Thread-safe; close it to give its memory back. */
public interface PrefetchEngine extends AutoCloseable {

    /**
     * Loads a model.
     *
     * @throws dev.prefetch.gguf.GgufFormatException when the file is not valid GGUF
     * @throws dev.prefetch.model.UnsupportedModelException when it is valid but needs something that is not supported
     * @throws java.io.UncheckedIOException when the file cannot be read
     * @throws BackendUnavailableException when the backend asked for cannot be used here
     */
    static PrefetchEngine open(EngineOptions options) {
        return LocalEngine.open(options);
    }

    /** What runs and how. */
    EngineInfo info();

    /** The model's tokenizer. */
    Tokenizer tokenizer();

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
     * @throws IllegalStateException when the engine is closed
     */
    Generation generate(GenerationRequest request, GenerationListener listener);

    /** Runs a generation to its end. */
    default GenerationResult generate(GenerationRequest request) throws InterruptedException {
        return generate(request, GenerationListener.NONE).await();
    }

    /**
     * The logits after each of the given tokens, for checks against other engines.
     *
     * @return {@code [tokens x vocabulary]}, row-major
     */
    float[] logits(int[] tokens) throws InterruptedException;

    /** Cancels what runs, waits for it, and releases everything. Idempotent. */
    @Override
    void close();
}
