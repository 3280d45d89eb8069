package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.LoraSource;
import dev.prefetch.api.MemoryOptions;
import dev.prefetch.prefetch.MemoryAmount;
import java.io.FileNotFoundException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import org.springframework.util.ResourceUtils;
import org.springframework.util.unit.DataSize;

/** The one place where properties become engine options. */
final class EngineSettings {

    private static final String AUTO = "auto";

    private EngineSettings() {}

    /**
     * @param model where the model's file is
     * @throws org.springframework.boot.diagnostics.FailureAnalyzedException for a value out of its range
     */
    static EngineOptions toEngineOptions(PrefetchProperties properties, Path model) {
        EngineOptions options = EngineOptions.of(model);
        Integer contextLength = atLeast("context-length", properties.contextLength(), 1);
        if (contextLength != null) {
            options = options.withContextLength(contextLength);
        }
        Integer threads = atLeast("threads", properties.threads(), 1);
        if (threads != null) {
            options = options.withThreads(threads);
        }
        if (properties.backend() != null) {
            options = options.withBackend(backend(properties.backend()));
        }
        Integer maxConcurrency = atLeast("max-concurrency", properties.maxConcurrency(), 1);
        if (maxConcurrency != null) {
            options = options.withMaxConcurrency(maxConcurrency);
        }
        Integer ubatch = atLeast("ubatch", properties.ubatch(), 1);
        if (ubatch != null) {
            options = options.withUbatch(ubatch);
        }
        return options.withMemory(memory(properties)).withLora(lora(properties.lora()));
    }

    private static List<LoraSource> lora(List<PrefetchProperties.Lora> adapters) {
        List<LoraSource> sources = new ArrayList<>();
        for (int i = 0; i < adapters.size(); i++) {
            PrefetchProperties.Lora adapter = adapters.get(i);
            if (!Float.isFinite(adapter.scale())) {
                throw StartupFailure.invalidProperty("lora[" + i + "].scale", adapter.scale(), "a number");
            }
            sources.add(new LoraSource(adapterFile("lora[" + i + "].path", adapter.path()), adapter.scale()));
        }
        return sources;
    }

    private static Path adapterFile(String name, @Nullable String location) {
        try {
            Path file = location == null || location.isBlank()
                    ? null
                    : location.startsWith("file:")
                            ? ResourceUtils.getFile(location).toPath()
                            : Path.of(location);
            if (file != null && Files.isRegularFile(file)) {
                return file;
            }
            throw StartupFailure.invalidProperty(name, location, "the GGUF file of a LoRA adapter, which exists");
        } catch (InvalidPathException | FileNotFoundException e) {
            throw StartupFailure.invalidProperty(name, location, "a path: " + e.getMessage());
        }
    }

    private static MemoryOptions memory(PrefetchProperties properties) {
        MemoryOptions memory = MemoryOptions.AUTO
                .withRam(amount("memory.ram", properties.memory().ram()))
                .withWeights(amount("memory.weights", properties.memory().weights()))
                .withExpertCache(
                        amount("memory.expert-cache", properties.memory().expertCache()));
        Integer traceSweeps = atLeast("trace-sweeps", properties.traceSweeps(), 0);
        if (traceSweeps != null) {
            memory = memory.withTraceSweeps(traceSweeps);
        }
        Integer lookAhead = lookAhead(properties.lookAhead());
        if (lookAhead != null) {
            memory = memory.withLookAheadBlocks(lookAhead);
        }
        DataSize bufferSize = bufferSize(properties.bufferSize());
        return bufferSize == null ? memory : memory.withBufferBytes(bufferSize.toBytes());
    }

    private static @Nullable MemoryAmount amount(String name, @Nullable String value) {
        if (value == null || value.equalsIgnoreCase(AUTO)) {
            return null;
        }
        try {
            return MemoryAmount.parse(value);
        } catch (IllegalArgumentException e) {
            throw StartupFailure.invalidProperty(name, value, "'auto', a size such as '3GiB' or a share such as '40%'");
        }
    }

    private static String backend(String value) {
        if (value.isBlank()) {
            throw StartupFailure.invalidProperty("backend", value, "'auto' or the identifier of a backend");
        }
        return value.strip().toLowerCase(Locale.ROOT);
    }

    private static @Nullable Integer lookAhead(@Nullable String value) {
        if (value == null || value.equalsIgnoreCase(AUTO)) {
            return null;
        }
        try {
            return atLeast("look-ahead", Integer.valueOf(value.strip()), 0);
        } catch (NumberFormatException e) {
            throw StartupFailure.invalidProperty("look-ahead", value, "'auto' or a number of blocks of at least 0");
        }
    }

    private static @Nullable DataSize bufferSize(@Nullable String value) {
        if (value == null || value.equalsIgnoreCase(AUTO)) {
            return null;
        }
        DataSize size;
        try {
            size = DataSize.parse(value.strip());
        } catch (IllegalArgumentException e) {
            throw StartupFailure.invalidProperty("buffer-size", value, "'auto' or a size, for example '256MB'");
        }
        if (size.toBytes() < 1) {
            throw StartupFailure.invalidProperty("buffer-size", value, "'auto' or a size above 0");
        }
        return size;
    }

    private static @Nullable Integer atLeast(String name, @Nullable Integer value, int least) {
        if (value != null && value < least) {
            throw StartupFailure.invalidProperty(name, value, "at least " + least);
        }
        return value;
    }
}
