package dev.prefetch.sample.cli;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.KvCacheType;
import dev.prefetch.api.MemoryOptions;
import dev.prefetch.prefetch.MemoryAmount;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/** Options of commands that run a model. */
final class EngineMixin {

    @Option(
            names = "--threads",
            paramLabel = "N",
            description = "Compute threads; 0 for one per processor (default: ${DEFAULT-VALUE}).")
    private int threads;

    @Option(
            names = "--context-length",
            paramLabel = "N",
            description = "Most tokens of prompt and answer together; 0 for the model's own, at most "
                    + EngineOptions.DEFAULT_CONTEXT_LENGTH + " (default: ${DEFAULT-VALUE}).")
    private int contextLength;

    @Option(
            names = "--backend",
            paramLabel = "ID",
            defaultValue = "auto",
            description = "What computes: auto, or a backend, for example cpu (default: ${DEFAULT-VALUE}).")
    private String backend = "auto";

    @Option(
            names = "--kv-type",
            paramLabel = "TYPE",
            defaultValue = "f32",
            description = "What the KV cache keeps keys and values as: f32, f16 or q8_0 (default: ${DEFAULT-VALUE}).",
            converter = KvTypeConverter.class)
    private KvCacheType kvType = KvCacheType.F32;

    @Option(
            names = "--ram",
            paramLabel = "SIZE",
            description = "Memory for everything the engine needs, for example 3GiB (default: what is free).",
            converter = MemoryAmountConverter.class)
    private @Nullable MemoryAmount ram;

    @Option(
            names = "--weights",
            paramLabel = "SIZE",
            description = "Memory for weights, for example 2GiB or 40%% of the model; less than the model streams.",
            converter = MemoryAmountConverter.class)
    private @Nullable MemoryAmount weights;

    @Option(
            names = "--look-ahead",
            paramLabel = "N",
            split = ",",
            defaultValue = "auto",
            description = "Streamed blocks on their way while one is computed, or auto (default: auto).",
            converter = LookAheadConverter.class)
    private List<Integer> lookAheads = List.of();

    @Option(
            names = "--buffer-size",
            paramLabel = "SIZE",
            description = "Memory for blocks on their way (default: chosen by the engine).",
            converter = MemoryAmountConverter.class)
    private @Nullable MemoryAmount bufferSize;

    @Option(
            names = "--expert-cache",
            paramLabel = "SIZE",
            description = "Memory for experts that are kept because they are asked for often, for example 1GiB, or 0 to"
                    + " keep none (default: what is left).",
            converter = MemoryAmountConverter.class)
    private @Nullable MemoryAmount expertCache;

    /** Reads amounts of memory. */
    static final class MemoryAmountConverter implements ITypeConverter<MemoryAmount> {

        @Override
        public MemoryAmount convert(String value) {
            try {
                return MemoryAmount.parse(value);
            } catch (IllegalArgumentException e) {
                throw new TypeConversionException(e.getMessage());
            }
        }
    }

    /** Reads the type of a KV cache. */
    static final class KvTypeConverter implements ITypeConverter<KvCacheType> {

        @Override
        public KvCacheType convert(String value) {
            try {
                return KvCacheType.ofId(value);
            } catch (IllegalArgumentException e) {
                throw new TypeConversionException(e.getMessage());
            }
        }
    }

    /** Reads a number of blocks, or {@code auto}. */
    static final class LookAheadConverter implements ITypeConverter<Integer> {

        @Override
        public Integer convert(String value) {
            if (value.equalsIgnoreCase("auto")) {
                return MemoryOptions.CHOOSE;
            }
            try {
                int blocks = Integer.parseInt(value);
                if (blocks >= 0) {
                    return blocks;
                }
            } catch (NumberFormatException e) {
                // Refused below, like a negative number.
            }
            throw new TypeConversionException("'" + value + "' is neither auto nor a number of blocks");
        }
    }

    /** Every look-ahead asked for; only {@code bench} takes several. */
    List<Integer> lookAheads() {
        return lookAheads;
    }

    /** The engine options for one of the look-aheads asked for. */
    EngineOptions options(Path model, int lookAhead) {
        MemoryOptions memory = MemoryOptions.AUTO
                .withRam(ram)
                .withWeights(weights)
                .withExpertCache(expertCache)
                .withLookAheadBlocks(lookAhead);
        return EngineOptions.of(model)
                .withThreads(threads)
                .withContextLength(contextLength)
                .withBackend(backend)
                .withKvCacheType(kvType)
                .withMemory(bufferSize == null ? memory : memory.withBufferBytes(bufferSize.of(0)));
    }

    /** The memory properties given, as arguments of a Spring application. */
    List<String> memoryArguments() {
        List<String> arguments = new ArrayList<>();
        if (kvType != KvCacheType.F32) {
            arguments.add("--spring.ai.prefetch.kv-cache-type=" + kvType.id());
        }
        add(arguments, "memory.ram", ram);
        add(arguments, "memory.weights", weights);
        add(arguments, "memory.expert-cache", expertCache);
        if (onlyLookAhead() != MemoryOptions.CHOOSE) {
            arguments.add("--spring.ai.prefetch.look-ahead=" + onlyLookAhead());
        }
        if (bufferSize != null) {
            arguments.add("--spring.ai.prefetch.buffer-size=" + bufferSize.of(0) + "B");
        }
        return arguments;
    }

    private static void add(List<String> arguments, String name, @Nullable MemoryAmount amount) {
        if (amount != null) {
            arguments.add("--spring.ai.prefetch." + name + "=" + amount);
        }
    }

    private int onlyLookAhead() {
        if (lookAheads.size() != 1) {
            throw new CommandFailedException("--look-ahead takes one value here");
        }
        return lookAheads.getFirst();
    }

    int contextLength() {
        return contextLength;
    }

    int threads() {
        return threads;
    }

    String backend() {
        return backend;
    }

    EngineOptions options(Path model) {
        return options(model, onlyLookAhead());
    }
}
