package dev.prefetch.inference;

import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.prefetch.WeightSource;

/** What a {@link BatchLoop} has at its present {@link Workplace}. Used by the compute thread only. */
final class Machine implements AutoCloseable {

    final ForwardPass forward;
    final KvPool kvPool;
    final AnswerPrefill answers;
    final WeightSource weights;

    Machine(
            Workplace place,
            ModelConfig config,
            ModelGraph graph,
            KvLayout layout,
            int mostRows,
            Batch batch,
            BatchLimits limits) {
        this.weights = place.weights();
        int rows = limits.ubatch() + limits.maxConcurrency();
        this.forward = new ForwardPass(place.devices(), config, graph, weights, place.adapters(), rows);
        this.kvPool =
                new KvPool(place.devices().primary(), layout, mostRows, limits.kvBytes(), limits.promptCacheBytes());
        this.answers = new AnswerPrefill(forward, kvPool, batch, limits.ubatch(), limits.maxConcurrency());
    }

    @Override
    public void close() {
        forward.close();
        kvPool.close();
    }
}
