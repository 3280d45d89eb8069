package dev.prefetch.inference;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.Devices;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.testing.MeteredBackend;
import dev.prefetch.tokenizer.Tokenizer;
import dev.prefetch.tokenizer.Tokenizers;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicLong;
import org.awaitility.Awaitility;
import org.jspecify.annotations.Nullable;

/** A model and batch loops over it, which count the tokens of their sweeps. */
final class LoopFixture implements AutoCloseable {

    final AtomicLong kvPagesAllocated = new AtomicLong();
    final Device device = MeteredBackend.metered(MeteredBackend.cpu().open(new DeviceOptions(2)), purpose -> {
        if (purpose.contains("KV cache")) {
            kvPagesAllocated.incrementAndGet();
        }
        return false;
    });
    final GgufFile file;
    final ModelConfig config;
    final ModelGraph graph;
    final Tokenizer tokenizer;
    final TestWeights weights;
    final AtomicLong prefillTokens = new AtomicLong();
    final AtomicLong prefillSweeps = new AtomicLong();
    final AtomicLong decodeSweeps = new AtomicLong();
    private final List<BatchLoop> loops = new ArrayList<>();

    LoopFixture(Path model) {
        file = GgufFile.open(model);
        config = ModelConfig.read(file);
        graph = ModelGraph.of(file, config);
        tokenizer = Tokenizers.from(file.metadata());
        weights = new TestWeights(device, file);
        weights.onSweep = (regime, tokens) -> {
            switch (regime) {
                case PREFILL -> {
                    prefillTokens.addAndGet(tokens);
                    prefillSweeps.incrementAndGet();
                }
                case DECODE -> decodeSweeps.incrementAndGet();
            }
        };
    }

    BatchLoop loop(BatchLimits limits) {
        return loop(limits, null);
    }

    BatchLoop loop(BatchLimits limits, @Nullable PromptCacheFile file) {
        BatchLoop loop = new BatchLoop(
                new Workplace(Devices.of(device), weights, List.of()),
                Failover.NONE,
                config,
                graph,
                tokenizer,
                limits,
                file);
        loops.add(loop);
        return loop;
    }

    /** How keys, values and states lie, in f32. */
    KvLayout layout() {
        return new KvLayout(
                config.layerConfigs().stream().map(layer -> layer.attention()).toList(), GgmlType.F32, config.delta());
    }

    /** Bytes of the KV cache of one sequence. */
    long kvBytes(int tokens, int ubatch) {
        return kvBytes(GgmlType.F32, tokens, ubatch);
    }

    /** Bytes of the KV cache of one sequence, keys and values kept as that type. */
    long kvBytes(GgmlType type, int tokens, int ubatch) {
        return BatchLoop.kvBytes(config, type, tokens, ubatch);
    }

    Running submit(BatchLoop loop, int[] prompt, int maxTokens, SamplingOptions sampling) {
        Running running = new Running();
        running.cancel = loop.submit(new SequenceRequest(prompt, maxTokens, sampling, List.of(), true, running));
        return running;
    }

    SequenceListener.End generate(BatchLoop loop, int[] prompt, int maxTokens) {
        return submit(loop, prompt, maxTokens, SamplingOptions.GREEDY).end();
    }

    /** Waits until a loop has nothing to do and has done what it does when it has nothing to do. */
    static void awaitIdle(BatchLoop loop, long answerTokens) {
        Awaitility.await()
                .until(() -> loop.load().totals().answerTokens() >= answerTokens
                        && loop.load().running() == 0);
    }

    @Override
    public void close() {
        loops.forEach(BatchLoop::close);
        weights.close();
        device.close();
        file.close();
    }

    /** A sequence on its way. */
    static final class Running implements SequenceListener {

        final CompletableFuture<End> result = new CompletableFuture<>();
        final StringBuffer text = new StringBuffer();
        Runnable cancel = () -> {};

        @Override
        public void onText(String piece) {
            text.append(piece);
        }

        @Override
        public void onEnd(End end) {
            result.complete(end);
        }

        @Override
        public void onFailure(RuntimeException failure) {
            result.completeExceptionally(failure);
        }

        End end() {
            try {
                return result.get();
            } catch (ExecutionException e) {
                throw new AssertionError(e.getCause());
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
        }
    }
}
