package dev.prefetch.inference;

import dev.prefetch.backend.Devices;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.model.ModelConfig;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * Speed of decoding behind a long context by the type of the KV cache: run {@code main}. Arguments: a model and the lengths
 * of the context. The context is left empty, as reading it takes as long whatever is in it; types take turns.
 */
final class KvTypeBench {

    private static final int ROUNDS = 15;
    private static final List<GgmlType> TYPES = List.of(GgmlType.F32, GgmlType.F16, GgmlType.Q8_0);

    private KvTypeBench() {}

    public static void main(String[] args) {
        try (LoopFixture fixture = new LoopFixture(Path.of(args[0]));
                ForwardPass forward = new ForwardPass(
                        Devices.of(fixture.device), fixture.config, fixture.graph, fixture.weights, List.of(), 1)) {
            for (String length : Arrays.copyOfRange(args, 1, args.length)) {
                int context = Integer.parseInt(length);
                double[][] millis = new double[TYPES.size()][ROUNDS];
                for (int round = -2; round < ROUNDS; round++) {
                    for (int type = 0; type < TYPES.size(); type++) {
                        double taken = token(fixture, forward, TYPES.get(type), context);
                        if (round >= 0) {
                            millis[type][round] = taken;
                        }
                    }
                }
                for (int type = 0; type < TYPES.size(); type++) {
                    Arrays.sort(millis[type]);
                    System.out.printf(
                            Locale.ROOT,
                            "context %d, %s: median %.2f ms, best %.2f ms, %d bytes of KV cache%n",
                            context,
                            TYPES.get(type),
                            millis[type][ROUNDS / 2],
                            millis[type][0],
                            fixture.kvBytes(TYPES.get(type), context, 1));
                }
            }
        }
    }

    private static double token(LoopFixture fixture, ForwardPass forward, GgmlType type, int context) {
        KvLayout layout = new KvLayout(
                fixture.config.layerConfigs().stream()
                        .map(ModelConfig.LayerConfig::attention)
                        .toList(),
                type);
        try (KvPool pool = new KvPool(fixture.device, layout, context, Long.MAX_VALUE, 0);
                KvCache cache = pool.open(context)) {
            cache.ensure(0, context);
            Batch batch = new Batch(1);
            double best = Double.MAX_VALUE;
            // The first one touches the pages.
            for (int i = 0; i < 3; i++) {
                batch.clear();
                batch.addDecode(cache, 5 + i, context - 1);
                long start = System.nanoTime();
                forward.run(batch, () -> false, (output, logits) -> {});
                best = Math.min(best, (System.nanoTime() - start) / 1e6);
            }
            return best;
        }
    }
}
