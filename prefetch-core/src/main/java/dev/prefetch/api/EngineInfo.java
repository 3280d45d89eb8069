package dev.prefetch.api;

import dev.prefetch.backend.Device.SlowPath;
import dev.prefetch.inference.Pooling;
import dev.prefetch.prefetch.LinkReport;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What an engine runs and how.
 *
 * @param modelName {@code general.name} of the file, or the file's name
 * @param modelFile the file
 * @param fileBytes its length
 * @param architecture for example {@code qwen3}
 * @param generates whether it continues texts; an encoder only makes vectors of them
 * @param parameters number of weights
 * @param quantization for example {@code Q8_0}
 * @param layers number of layers
 * @param vocabularySize number of tokens
 * @param embeddingDimensions elements of a vector that {@link PrefetchEngine#embed} gives
 * @param pooling how the file wants the hidden states of a text to become one vector; the mean where it does not say. Null
 *     where it wants something that gives no vector, as rerankers do
 * @param contextLength tokens the engine was opened for
 * @param trainedContextLength tokens the model was trained for
 * @param kvCacheType what keys and values are kept as
 * @param backend the backend's identifier
 * @param device the device in words
 * @param threads compute threads
 * @param loadNanos how long opening took
 * @param slowPaths slow paths in use, each with its remedy
 * @param link what was measured of the link to the device's memory; null where the host computes alone
 */
public record EngineInfo(
        String modelName,
        Path modelFile,
        long fileBytes,
        String architecture,
        boolean generates,
        long parameters,
        String quantization,
        int layers,
        int vocabularySize,
        int embeddingDimensions,
        @Nullable Pooling pooling,
        int contextLength,
        int trainedContextLength,
        KvCacheType kvCacheType,
        String backend,
        String device,
        int threads,
        long loadNanos,
        List<SlowPath> slowPaths,
        @Nullable LinkReport link) {

    public EngineInfo {
        slowPaths = List.copyOf(slowPaths);
    }
}
