package dev.prefetch.api;

import dev.prefetch.backend.Device;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.model.LoraAdapter;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.model.UnsupportedModelException;
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

    /** @throws UnsupportedModelException when the options ask for more positions than the model has vectors for */
    int contextLength(EngineOptions options) {
        int trained = config.trainedContextLength();
        if (config.architecture().traits().learntPositions()) {
            requireAtMost(trained, "the positions that the model has learnt", options);
        }
        if (config.encoder()) {
            requireAtMost(EngineOptions.MAX_UBATCH, "what an encoder computes at once", options);
        }
        return options.contextLength() > 0
                ? options.contextLength()
                : Math.min(trained, EngineOptions.DEFAULT_CONTEXT_LENGTH);
    }

    private void requireAtMost(int most, String what, EngineOptions options) {
        if (options.contextLength() > most) {
            throw new UnsupportedModelException(file.path() + ": the context length " + options.contextLength()
                    + " is beyond " + what + "; set spring.ai.prefetch.context-length to at most " + most);
        }
    }

    /** The options as this model needs them: an encoder computes a text as a whole, so a sweep takes the longest. */
    EngineOptions fitted(EngineOptions options) {
        int ubatch = options.ubatch() > 0 ? options.ubatch() : EngineOptions.DEFAULT_UBATCH;
        return config.encoder() ? options.withUbatch(Math.max(ubatch, contextLength(options))) : options;
    }

    MemoryPlanner.Division divide(
            EngineOptions options, @Nullable Device accelerator, Supplier<MeasuredCosts> measure) {
        return MemoryPlanner.divide(options, this, contextLength(options), accelerator, measure);
    }
}
