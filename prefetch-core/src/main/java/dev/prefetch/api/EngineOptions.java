package dev.prefetch.api;

import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.function.Consumer;

/**
 * What an engine is opened with. Immutable; start from {@link #of(Path)}.
 *
 * @param model the GGUF file
 * @param contextLength most tokens of prompt and answer together; 0 for the model's own, at most
 *     {@value #DEFAULT_CONTEXT_LENGTH}
 * @param threads compute threads; 0 for one per available processor
 * @param backend {@code auto}, or a backend's identifier, for example {@code cpu}
 * @param ubatch most prompt tokens per sweep; 0 for {@value #DEFAULT_UBATCH}, or more where weights stream and that many
 *     do not hide the transfers
 * @param maxConcurrency most generations that run at the same time; more wait in the queue
 * @param kvCacheType what keys and values are kept as
 * @param memory budgets, and how weights that do not fit reach compute
 * @param accelerator how a device with memory of its own is used
 * @param serving how requests are served
 * @param lora adapters whose changes are added to the model's, in this order
 */
public record EngineOptions(
        Path model,
        int contextLength,
        int threads,
        String backend,
        int ubatch,
        int maxConcurrency,
        KvCacheType kvCacheType,
        MemoryOptions memory,
        AcceleratorOptions accelerator,
        ServingOptions serving,
        List<LoraSource> lora) {

    /** Context length used when none is given and the model allows more. */
    public static final int DEFAULT_CONTEXT_LENGTH = 4096;

    /** Tokens per sweep used when none is given. */
    public static final int DEFAULT_UBATCH = 512;

    /** Generations at the same time used when none is given. */
    public static final int DEFAULT_MAX_CONCURRENCY = 8;

    private static final int MAX_CONTEXT_LENGTH = 1 << 24;
    private static final int MAX_THREADS = 1024;
    static final int MAX_UBATCH = 1 << 14;
    private static final int MAX_MAX_CONCURRENCY = 1 << 12;

    /** @throws IllegalArgumentException naming the option that is out of its range */
    public EngineOptions {
        Objects.requireNonNull(model, "model");
        Objects.requireNonNull(backend, "backend");
        Objects.requireNonNull(kvCacheType, "kvCacheType");
        Objects.requireNonNull(memory, "memory");
        Objects.requireNonNull(accelerator, "accelerator");
        Objects.requireNonNull(serving, "serving");
        lora = List.copyOf(lora);
        requireBetween("contextLength", contextLength, 0, MAX_CONTEXT_LENGTH);
        requireBetween("threads", threads, 0, MAX_THREADS);
        requireBetween("ubatch", ubatch, 0, MAX_UBATCH);
        requireBetween("maxConcurrency", maxConcurrency, 1, MAX_MAX_CONCURRENCY);
    }

    /** Defaults for a model file. */
    public static EngineOptions of(Path model) {
        return new EngineOptions(
                model,
                0,
                0,
                "auto",
                0,
                DEFAULT_MAX_CONCURRENCY,
                KvCacheType.F32,
                MemoryOptions.AUTO,
                AcceleratorOptions.AUTO,
                ServingOptions.DEFAULT,
                List.of());
    }

    public EngineOptions withContextLength(int value) {
        return with(changed -> changed.contextLength = value);
    }

    public EngineOptions withThreads(int value) {
        return with(changed -> changed.threads = value);
    }

    public EngineOptions withBackend(String value) {
        return with(changed -> changed.backend = value);
    }

    public EngineOptions withUbatch(int value) {
        return with(changed -> changed.ubatch = value);
    }

    public EngineOptions withMaxConcurrency(int value) {
        return with(changed -> changed.maxConcurrency = value);
    }

    public EngineOptions withKvCacheType(KvCacheType value) {
        return with(changed -> changed.kvCacheType = value);
    }

    public EngineOptions withMemory(MemoryOptions value) {
        return with(changed -> changed.memory = value);
    }

    public EngineOptions withAccelerator(AcceleratorOptions value) {
        return with(changed -> changed.accelerator = value);
    }

    public EngineOptions withServing(ServingOptions value) {
        return with(changed -> changed.serving = value);
    }

    public EngineOptions withLora(List<LoraSource> value) {
        return with(changed -> changed.lora = value);
    }

    private EngineOptions with(Consumer<Changed> change) {
        Changed changed = new Changed(this);
        change.accept(changed);
        return new EngineOptions(
                model,
                changed.contextLength,
                changed.threads,
                changed.backend,
                changed.ubatch,
                changed.maxConcurrency,
                changed.kvCacheType,
                changed.memory,
                changed.accelerator,
                changed.serving,
                changed.lora);
    }

    /** What a copy may have otherwise. */
    private static final class Changed {

        private int contextLength;
        private int threads;
        private String backend;
        private int ubatch;
        private int maxConcurrency;
        private KvCacheType kvCacheType;
        private MemoryOptions memory;
        private AcceleratorOptions accelerator;
        private ServingOptions serving;
        private List<LoraSource> lora;

        Changed(EngineOptions from) {
            contextLength = from.contextLength;
            threads = from.threads;
            backend = from.backend;
            ubatch = from.ubatch;
            maxConcurrency = from.maxConcurrency;
            kvCacheType = from.kvCacheType;
            memory = from.memory;
            accelerator = from.accelerator;
            serving = from.serving;
            lora = from.lora;
        }
    }

    private static void requireBetween(String name, int value, int least, int most) {
        if (value < least || value > most) {
            throw new IllegalArgumentException(
                    name + " must be at least " + least + " and at most " + most + " but was " + value);
        }
    }
}
