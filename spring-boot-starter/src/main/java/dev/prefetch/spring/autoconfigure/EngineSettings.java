package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.AcceleratorOptions;
import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.LoraSource;
import dev.prefetch.api.MemoryOptions;
import dev.prefetch.api.ServingOptions;
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

/** The one place where the properties of an engine become its options. */
final class EngineSettings {

    private static final String AUTO = "auto";

    private final EngineDefinition definition;

    EngineSettings(EngineDefinition definition) {
        this.definition = definition;
    }

    /**
     * @param model where the model's file is
     * @throws org.springframework.boot.diagnostics.FailureAnalyzedException for a value out of its range
     */
    EngineOptions toEngineOptions(Path model) {
        PrefetchProperties.Model properties = definition.properties();
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
        if (properties.kvCacheType() != null) {
            options = options.withKvCacheType(properties.kvCacheType());
        }
        Integer ubatch = atLeast("ubatch", properties.ubatch(), 1);
        if (ubatch != null) {
            options = options.withUbatch(ubatch);
        }
        return options.withMemory(memory(properties))
                .withAccelerator(accelerator(properties.cuda()))
                .withServing(serving(properties))
                .withLora(lora(properties.lora()));
    }

    private List<LoraSource> lora(List<PrefetchProperties.Lora> adapters) {
        List<LoraSource> sources = new ArrayList<>();
        for (int i = 0; i < adapters.size(); i++) {
            PrefetchProperties.Lora adapter = adapters.get(i);
            if (!Float.isFinite(adapter.scale())) {
                throw definition.invalid("lora[" + i + "].scale", adapter.scale(), "a number");
            }
            sources.add(new LoraSource(adapterFile("lora[" + i + "].path", adapter.path()), adapter.scale()));
        }
        return sources;
    }

    private Path adapterFile(String name, @Nullable String location) {
        try {
            Path file = location == null || location.isBlank()
                    ? null
                    : location.startsWith("file:")
                            ? ResourceUtils.getFile(location).toPath()
                            : Path.of(location);
            if (file != null && Files.isRegularFile(file)) {
                return file;
            }
            throw definition.invalid(name, location, "the GGUF file of a LoRA adapter, which exists");
        } catch (InvalidPathException | FileNotFoundException e) {
            throw definition.invalid(name, location, "a path: " + e.getMessage());
        }
    }

    private ServingOptions serving(PrefetchProperties.Model properties) {
        ServingOptions serving =
                ServingOptions.DEFAULT.withPromptCache(amount("prompt-cache", properties.promptCache()));
        Integer queueLimit = atLeast("queue-limit", properties.queueLimit(), 0);
        if (queueLimit != null) {
            serving = serving.withQueueLimit(queueLimit);
        }
        Integer ubatchBesideDecode = atLeast("ubatch-beside-decode", properties.ubatchBesideDecode(), 1);
        if (ubatchBesideDecode != null) {
            serving = serving.withUbatchBesideDecode(ubatchBesideDecode);
        }
        Path promptCacheFile = properties.promptCacheFile();
        if (promptCacheFile != null) {
            if (promptCacheFile.getFileName() == null
                    || promptCacheFile.toString().isBlank()
                    || Files.isDirectory(promptCacheFile)) {
                throw definition.invalid("prompt-cache-file", promptCacheFile, "a file, which need not exist");
            }
            serving = serving.withPromptCacheFile(promptCacheFile);
        }
        return properties.speculation() == null ? serving : serving.withSpeculation(properties.speculation());
    }

    private MemoryOptions memory(PrefetchProperties.Model properties) {
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

    private AcceleratorOptions accelerator(PrefetchProperties.Cuda cuda) {
        if (cuda.device() < 0) {
            throw definition.invalid("cuda.device", cuda.device(), "at least 0");
        }
        if (cuda.retryAfter().isNegative() || cuda.retryAfter().isZero()) {
            throw definition.invalid("cuda.retry-after", cuda.retryAfter(), "a duration above 0, for example '30s'");
        }
        return new AcceleratorOptions(
                cuda.device(),
                amount("cuda.vram", cuda.vram()),
                cuda.decodeOnHost(),
                cuda.pageLock(),
                cuda.retryAfter());
    }

    private @Nullable MemoryAmount amount(String name, @Nullable String value) {
        if (value == null || value.equalsIgnoreCase(AUTO)) {
            return null;
        }
        try {
            return MemoryAmount.parse(value);
        } catch (IllegalArgumentException e) {
            throw definition.invalid(name, value, "'auto', a size such as '3GiB' or a share such as '40%'");
        }
    }

    private String backend(String value) {
        if (value.isBlank()) {
            throw definition.invalid("backend", value, "'auto' or the identifier of a backend");
        }
        return value.strip().toLowerCase(Locale.ROOT);
    }

    private @Nullable Integer lookAhead(@Nullable String value) {
        if (value == null || value.equalsIgnoreCase(AUTO)) {
            return null;
        }
        try {
            return atLeast("look-ahead", Integer.valueOf(value.strip()), 0);
        } catch (NumberFormatException e) {
            throw definition.invalid("look-ahead", value, "'auto' or a number of blocks of at least 0");
        }
    }

    private @Nullable DataSize bufferSize(@Nullable String value) {
        if (value == null || value.equalsIgnoreCase(AUTO)) {
            return null;
        }
        DataSize size;
        try {
            size = DataSize.parse(value.strip());
        } catch (IllegalArgumentException e) {
            throw definition.invalid("buffer-size", value, "'auto' or a size, for example '256MB'");
        }
        if (size.toBytes() < 1) {
            throw definition.invalid("buffer-size", value, "'auto' or a size above 0");
        }
        return size;
    }

    private @Nullable Integer atLeast(String name, @Nullable Integer value, int least) {
        if (value != null && value < least) {
            throw definition.invalid(name, value, "at least " + least);
        }
        return value;
    }
}
