package dev.prefetch.api;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.prefetch.MeasuredCosts;
import java.util.OptionalLong;
import java.util.function.Supplier;

/** A file read far enough to plan with it. */
record Model(GgufFile file, ModelConfig config, ModelGraph graph) {

    static Model read(GgufFile file, EngineOptions options) {
        int context = options.contextLength() > 0 ? options.contextLength() : EngineOptions.DEFAULT_CONTEXT_LENGTH;
        ModelConfig config = ModelConfig.read(file, context);
        return new Model(file, config, ModelGraph.of(file, config));
    }

    int contextLength(EngineOptions options) {
        return options.contextLength() > 0
                ? options.contextLength()
                : Math.min(config.trainedContextLength(), EngineOptions.DEFAULT_CONTEXT_LENGTH);
    }

    MemoryPlanner.Division divide(
            EngineOptions options, OptionalLong deviceFreeBytes, Supplier<MeasuredCosts> measure) {
        return MemoryPlanner.divide(options, config, graph, contextLength(options), deviceFreeBytes, measure);
    }
}
