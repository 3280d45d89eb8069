package dev.prefetch.api;

import dev.prefetch.backend.Device;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.model.LoraAdapter;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.prefetch.MeasuredCosts;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** A file read far enough to plan with it. */
record Model(GgufFile file, ModelConfig config, ModelGraph graph, List<LoraAdapter> adapters) {

    /** @param resources take the adapters' files */
    static Model read(GgufFile file, EngineOptions options, Resources resources) {
        int context = options.contextLength() > 0 ? options.contextLength() : EngineOptions.DEFAULT_CONTEXT_LENGTH;
        ModelConfig config = ModelConfig.read(file, context);
        ModelGraph graph = ModelGraph.of(file, config);
        List<LoraAdapter> adapters = new ArrayList<>();
        for (LoraSource source : options.lora()) {
            GgufFile adapter = resources.add(GgufFile.open(source.path()));
            adapters.add(LoraAdapter.read(adapter, file, config, graph, source.scale()));
        }
        return new Model(file, config, graph, adapters);
    }

    int contextLength(EngineOptions options) {
        return options.contextLength() > 0
                ? options.contextLength()
                : Math.min(config.trainedContextLength(), EngineOptions.DEFAULT_CONTEXT_LENGTH);
    }

    MemoryPlanner.Division divide(
            EngineOptions options, @Nullable Device accelerator, Supplier<MeasuredCosts> measure) {
        return MemoryPlanner.divide(options, this, contextLength(options), accelerator, measure);
    }
}
