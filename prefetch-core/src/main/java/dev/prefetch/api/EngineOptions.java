package dev.prefetch.api;

import java.nio.file.Path;
import java.util.Objects;

/**
 * What an engine is opened with. Immutable; start from {@link #of(Path)}.
 *
 * @param model the GGUF file
 * @param contextLength most tokens of prompt and answer together; 0 for the model's own, at most
 *     {@value #DEFAULT_CONTEXT_LENGTH}
 * @param threads compute threads; 0 for one per available processor
 * @param backend {@code auto}, or a backend's identifier, for example {@code cpu}
 * @param ubatch most tokens per sweep; 0 for {@value #DEFAULT_UBATCH}
 * @param maxConcurrency most generations that run at the same time; more wait in the queue
 */
public record EngineOptions(
        Path model, int contextLength, int threads, String backend, int ubatch, int maxConcurrency) {

    /** Context length used when none is given and the model allows more. */
    public static final int DEFAULT_CONTEXT_LENGTH = 4096;

    /** Tokens per sweep used when none is given. */
    public static final int DEFAULT_UBATCH = 512;

    /** Generations at the same time used when none is given. */
    public static final int DEFAULT_MAX_CONCURRENCY = 8;

    public EngineOptions {
        Objects.requireNonNull(model, "model");
        Objects.requireNonNull(backend, "backend");
        requireAtLeast("contextLength", contextLength, 0);
        requireAtLeast("threads", threads, 0);
        requireAtLeast("ubatch", ubatch, 0);
        requireAtLeast("maxConcurrency", maxConcurrency, 1);
    }

    /** Defaults for a model file. */
    public static EngineOptions of(Path model) {
        return new EngineOptions(model, 0, 0, "auto", 0, DEFAULT_MAX_CONCURRENCY);
    }

    public EngineOptions withContextLength(int value) {
        return new EngineOptions(model, value, threads, backend, ubatch, maxConcurrency);
    }

    public EngineOptions withThreads(int value) {
        return new EngineOptions(model, contextLength, value, backend, ubatch, maxConcurrency);
    }

    public EngineOptions withBackend(String value) {
        return new EngineOptions(model, contextLength, threads, value, ubatch, maxConcurrency);
    }

    public EngineOptions withUbatch(int value) {
        return new EngineOptions(model, contextLength, threads, backend, value, maxConcurrency);
    }

    public EngineOptions withMaxConcurrency(int value) {
        return new EngineOptions(model, contextLength, threads, backend, ubatch, value);
    }

    private static void requireAtLeast(String name, int value, int least) {
        if (value < least) {
            throw new IllegalArgumentException(name + " must be at least " + least + " but was " + value);
        }
    }
}
