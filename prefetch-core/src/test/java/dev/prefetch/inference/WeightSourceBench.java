package dev.prefetch.inference;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.Devices;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.prefetch.PlanRequest;
import dev.prefetch.prefetch.Planner;
import dev.prefetch.prefetch.StreamingOptions;
import dev.prefetch.prefetch.StreamingWeights;
import dev.prefetch.storage.SplitReader;
import dev.prefetch.testing.MeteredBackend;
import dev.prefetch.tokenizer.Tokenizer;
import dev.prefetch.tokenizer.Tokenizers;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;

/**
 * What plan, leases and accounts cost a model that fits: the same decode steps with them and with weights read straight
 * from the mapped file, in turns. Run {@code main} with a model, threads, steps per run and pairs of runs.
 */
final class WeightSourceBench {

    private WeightSourceBench() {}

    public static void main(String[] args) throws InterruptedException {
        Path path = Path.of(args[0]);
        int threads = Integer.parseInt(args[1]);
        int[] steps = IntStream.range(0, Integer.parseInt(args[2])).toArray();
        int pairs = Integer.parseInt(args[3]);
        try (GgufFile file = GgufFile.open(path);
                Device device = MeteredBackend.cpu().open(new DeviceOptions(threads))) {
            ModelConfig config = ModelConfig.read(file);
            ModelGraph graph = ModelGraph.of(file, config);
            Tokenizer tokenizer = Tokenizers.from(file.metadata());
            long kvBytes = BatchLoop.kvBytes(config, GgmlType.F32, steps.length, steps.length);
            BatchLimits limits = new BatchLimits(steps.length, steps.length, 1, kvBytes);
            TestWeights bypass = new TestWeights(device, file);
            try (StreamingWeights machinery = StreamingWeights.open(
                            Planner.plan(PlanRequest.of(graph.blocks(), Long.MAX_VALUE)),
                            Devices.of(device),
                            SplitReader.open(file.parts()),
                            file.parts(),
                            StreamingOptions.DEFAULT,
                            (done, total) -> {});
                    BatchLoop with = new BatchLoop(Devices.of(device), config, graph, machinery, tokenizer, limits);
                    BatchLoop without = new BatchLoop(Devices.of(device), config, graph, bypass, tokenizer, limits)) {
                // Both until the kernels are compiled.
                seconds(with, steps);
                seconds(without, steps);
                List<Double> ratios = new ArrayList<>();
                for (int pair = 0; pair < pairs; pair++) {
                    boolean withFirst = pair % 2 == 0;
                    double first = seconds(withFirst ? with : without, steps);
                    double second = seconds(withFirst ? without : with, steps);
                    ratios.add(withFirst ? first / second : second / first);
                }
                Collections.sort(ratios);
                System.out.printf(
                        Locale.ROOT,
                        "time with the machinery / without, %d pairs of %d steps: median %.4f, from %.4f to %.4f%n",
                        pairs,
                        steps.length,
                        ratios.get(pairs / 2),
                        ratios.getFirst(),
                        ratios.getLast());
            } finally {
                bypass.close();
            }
        }
    }

    private static double seconds(BatchLoop loop, int[] steps) throws InterruptedException {
        long begun = System.nanoTime();
        loop.logits(steps, true);
        return (System.nanoTime() - begun) / 1e9;
    }
}
