package dev.prefetch.inference;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Devices;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Rope;
import dev.prefetch.backend.Weight;
import dev.prefetch.model.LoraAdapter;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.model.TensorRole;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.prefetch.WeightLease;
import dev.prefetch.prefetch.WeightSource;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/**
 * One sweep of a decoder-only transformer over all weight blocks for one batch (Vaswani et al. 2017, arXiv 1706.03762,
 * in the form of Touvron et al. 2023, arXiv 2302.13971): residual layers of grouped-query attention and a gated
 * feed-forward network, dense or of experts; or of an encoder (Devlin et al. 2018, arXiv 1810.04805), whose rows see all of
 * their text and give no logits. What an architecture does beyond that is a weight that is there or not, or a
 * number of the {@link ModelConfig}.
 *
 * <p>Every weight is read under a lease, so the same code runs whether the weights are resident or on their way. Used by
 * the compute thread only.
 */
final class ForwardPass implements AutoCloseable {

    /** Rows of logits computed at a time, so that a large vocabulary needs little memory. */
    private static final int OUTPUT_ROWS = 32;

    private final Device device;
    private final Ops ops;
    private final ModelConfig config;
    private final ModelGraph graph;
    private final WeightSource weights;
    private final List<DeviceBuffer> owned = new ArrayList<>();

    private final DeviceBuffer x;
    private final DeviceBuffer normed;
    private final DeviceBuffer q;
    private final DeviceBuffer k;
    private final DeviceBuffer v;
    private final DeviceBuffer attended;
    private final DeviceBuffer projected;
    private final DeviceBuffer outputX;
    private final DeviceBuffer logits;
    private final List<DeviceBuffer> qkv;
    /** Reused from layer to layer. */
    private final List<Weight> projections = Arrays.asList(new Weight[3]);

    private final int[] outputRows = new int[OUTPUT_ROWS];
    /** Of each row, the logit of the most likely token; then those tokens, so that both come with one copy. */
    private final DeviceBuffer best;

    private final DeviceBuffer bestTokens;
    private final float[] hostLogits;
    private final float[] hostState;
    private final float[] hostStates;
    private final int[] hostBest = new int[2 * OUTPUT_ROWS];
    private final Adapters adapters;
    private final @Nullable LatentAttention latent;
    private final @Nullable AttentionGate gate;
    private final @Nullable DeltaNetwork delta;
    private final FeedForward network;
    private final @Nullable HostNetworks host;

    ForwardPass(
            Devices devices,
            ModelConfig config,
            ModelGraph graph,
            WeightSource weights,
            List<LoraAdapter> lora,
            int maxRows) {
        this.device = devices.primary();
        this.ops = device.compute().ops();
        this.config = config;
        this.graph = graph;
        this.weights = weights;
        x = activations(maxRows, config.dim());
        normed = activations(maxRows, config.dim());
        q = activations(maxRows, config.queryDim());
        k = activations(maxRows, config.keyDim());
        v = activations(maxRows, config.valueDim());
        attended = activations(maxRows, attendedDim(config));
        projected = activations(maxRows, config.dim());
        outputX = activations(OUTPUT_ROWS, config.dim());
        logits = activations(OUTPUT_ROWS, Math.max(1, config.logits()));
        best = activations(OUTPUT_ROWS, 2);
        bestTokens = activations(OUTPUT_ROWS, 1);
        hostLogits = new float[config.logits()];
        hostState = new float[config.dim()];
        hostStates = new float[OUTPUT_ROWS * config.dim()];
        gate = config.gatesAttention() ? new AttentionGate(device, config, maxRows) : null;
        qkv = List.of(gate == null ? q : gate.projected(), k, v);
        adapters = new Adapters(device, lora, maxRows);
        latent = config.latent() == null
                ? null
                : new LatentAttention(device, config, config.latent(), adapters, maxRows);
        delta = config.delta() == null ? null : new DeltaNetwork(device, config, config.delta(), adapters, maxRows);
        network = new FeedForward(device, config, graph, weights, adapters, maxRows);
        host = devices.accelerated() ? new HostNetworks(devices, config, graph, weights, lora, maxRows) : null;
    }

    /** Elements of what attention itself finds for a token. */
    private static int attendedDim(ModelConfig config) {
        return config.attention().heads() * config.attention().valueDim();
    }

    /** Bytes of the host's memory this takes beside a device with memory of its own. */
    static long hostActivationBytes(ModelConfig config, int maxRows) {
        return HostNetworks.activationBytes(config, maxRows);
    }

    /** Bytes this takes, with an allowance for what kernels pack and convert. */
    static long activationBytes(ModelConfig config, int maxRows) {
        long widest = Math.max(
                Math.max(config.dim(), config.queryDim()), Math.max(config.expertFfnDim(), config.widestDenseFfnDim()));
        long columns =
                3L * config.dim() + config.queryDim() + config.keyDim() + config.valueDim() + attendedDim(config);
        long latent = config.latent() == null ? 0 : LatentAttention.activationBytes(config, config.latent(), maxRows);
        long gate = config.gatesAttention() ? AttentionGate.activationBytes(config, maxRows) : 0;
        long delta = config.delta() == null ? 0 : DeltaNetwork.activationBytes(config.delta(), maxRows);
        long output = OUTPUT_ROWS * ((long) config.dim() + Math.max(1, config.logits()) + 3);
        return Float.BYTES * (maxRows * (columns + 2 * widest) + output)
                + FeedForward.activationBytes(config, maxRows)
                + latent
                + gate
                + delta;
    }

    private DeviceBuffer activations(int rows, int columns) {
        DeviceBuffer buffer = device.allocate((long) rows * columns * Float.BYTES, "activations");
        owned.add(buffer);
        return buffer;
    }

    /** Takes what the output rows give, row by row. */
    @FunctionalInterface
    interface LogitsConsumer {

        /** Takes the logits of a row; the array is reused for the next. */
        void accept(int output, float[] logits);

        /**
         * Among how many of the first tokens the most likely one is enough, where having it alone is cheaper; 0 when all
         * logits of the row are wanted. There may be more logits than tokens, since some models pad their output.
         */
        default int bestOf(int output) {
            return 0;
        }

        /** Takes the most likely token of a row and its logit, which is NaN when any of the row is. */
        default void acceptBest(int output, int token, float logit) {
            throw new UnsupportedOperationException();
        }
    }

    /** Takes the hidden state of one row behind the last norm; the array is reused for the next. */
    @FunctionalInterface
    interface HiddenConsumer {
        void accept(int hidden, float[] state);
    }

    /** Runs a batch of which only logits are wanted. */
    boolean run(Batch batch, BooleanSupplier abandoned, LogitsConsumer consumer) {
        return run(batch, abandoned, consumer, (hidden, state) -> {});
    }

    /**
     * Runs the batch.
     *
     * @param abandoned asked between blocks; once true the sweep ends early
     * @return false when the sweep was abandoned
     */
    boolean run(Batch batch, BooleanSupplier abandoned, LogitsConsumer consumer, HiddenConsumer hiddenConsumer) {
        boolean decodesOnly = batch.decodeRows() == batch.size();
        weights.beginSweep(decodesOnly ? Regime.DECODE : Regime.PREFILL, batch.size());
        try {
            return sweep(batch, abandoned, consumer, hiddenConsumer);
        } finally {
            weights.endSweep();
        }
    }

    private boolean sweep(
            Batch batch, BooleanSupplier abandoned, LogitsConsumer consumer, HiddenConsumer hiddenConsumer) {
        try (WeightLease w = weights.acquireOnHost(graph.embedding())) {
            Weight table = w.weight(TensorRole.TOKEN_EMBEDDING);
            if (host == null) {
                ops.embed(table, batch.tokens(), batch.size(), x);
            } else {
                host.embed(table, batch.tokens(), batch.size(), x);
            }
            adapters.addEmbedding(w.block(), batch.tokens(), batch.decodeRows(), batch.size(), x);
            if (config.encoder()) {
                addToEmbedding(w, batch);
            }
        }
        Activations.scale(ops, x, config.scaling().embedding(), (long) batch.size() * config.dim());
        for (int layer = 0; layer < config.layers(); layer++) {
            if (abandoned.getAsBoolean()) {
                return false;
            }
            attention(batch, layer);
            feedForward(batch, layer);
        }
        if (batch.outputs() > 0 || batch.hiddens() > 0) {
            output(batch, consumer, hiddenConsumer);
        }
        return true;
    }

    /** What encoders add to the embedding of a token, and its norm. */
    private void addToEmbedding(WeightLease w, Batch batch) {
        int n = batch.size();
        ops.addBias(x, n, w.find(TensorRole.TYPE_EMBEDDING));
        Weight positions = w.find(TensorRole.POSITION_EMBEDDING);
        if (positions != null) {
            ops.embed(positions, batch.positions(), n, normed);
            ops.add(x, normed, (long) n * config.dim());
        }
        Activations.normSum(
                ops, config, x, n, w.find(TensorRole.EMBEDDING_NORM), w.find(TensorRole.EMBEDDING_NORM_BIAS));
    }

    private void attention(Batch batch, int layer) {
        int n = batch.size();
        AttentionShape shape = config.layerConfigs().get(layer).attention();
        try (WeightLease w = weights.acquire(graph.attention(layer))) {
            DeviceBuffer input = norm(n, w.find(TensorRole.ATTENTION_NORM));

            // attention, linear in some layers of some models
            DeviceBuffer values =
                    shape == null ? delta.run(w, input, batch, layer) : attend(w, input, batch, layer, shape);

            // output projection and residual
            ops.matmul(w.weight(TensorRole.ATTENTION_OUTPUT), values, batch.decodeRows(), n, projected);
            adapters.add(w.block(), TensorRole.ATTENTION_OUTPUT, values, batch.decodeRows(), n, projected);
            ops.addBias(projected, n, w.find(TensorRole.ATTENTION_OUTPUT_BIAS));
            Activations.addToResidual(ops, config, projected, n, w.find(TensorRole.ATTENTION_POST_NORM), x);
            Activations.normSum(
                    ops,
                    config,
                    x,
                    n,
                    w.find(TensorRole.ATTENTION_SUM_NORM),
                    w.find(TensorRole.ATTENTION_SUM_NORM_BIAS));
        }
    }

    private DeviceBuffer attend(WeightLease w, DeviceBuffer input, Batch batch, int layer, AttentionShape shape) {
        // queries, keys, values
        if (latent != null) {
            latent.project(w, input, batch, q, k, v);
        } else {
            project(w, input, batch, layer, shape);
        }

        // sequence by sequence; an encoder never comes back to a layer, so they all keep keys and values in the same
        // place
        Weight sinks = w.find(TensorRole.ATTENTION_SINKS);
        for (Batch.Segment s : batch.segments()) {
            var cache = s.cache().layer(shape.causal() ? layer : 0);
            ops.storeKv(shape, cache, k, v, s.firstRow(), s.count(), s.position());
            if (sinks == null) {
                ops.attention(shape, cache, q, s.firstRow(), s.count(), s.position(), attended);
            } else {
                ops.attentionWithSinks(shape, cache, q, sinks, s.firstRow(), s.count(), s.position(), attended);
            }
        }
        if (gate != null) {
            gate.apply(batch.size(), attended);
        }
        return latent != null ? latent.values(w, attended, batch) : attended;
    }

    /** Queries, keys and values, each by a matrix of its own. */
    private void project(WeightLease w, DeviceBuffer input, Batch batch, int layer, AttentionShape shape) {
        int n = batch.size();
        projections.set(0, w.weight(TensorRole.ATTENTION_Q));
        projections.set(1, w.weight(TensorRole.ATTENTION_K));
        projections.set(2, w.weight(TensorRole.ATTENTION_V));
        ops.matmuls(projections, input, batch.decodeRows(), n, qkv);
        adapters.add(w.block(), TensorRole.ATTENTION_Q, input, batch.decodeRows(), n, qkv.getFirst());
        adapters.add(w.block(), TensorRole.ATTENTION_K, input, batch.decodeRows(), n, k);
        adapters.add(w.block(), TensorRole.ATTENTION_V, input, batch.decodeRows(), n, v);
        ops.addBias(qkv.getFirst(), n, w.find(TensorRole.ATTENTION_Q_BIAS));
        ops.addBias(k, n, w.find(TensorRole.ATTENTION_K_BIAS));
        ops.addBias(v, n, w.find(TensorRole.ATTENTION_V_BIAS));
        if (gate != null) {
            gate.split(n, q);
        }
        normHeads(q, n * config.queryDim(), w.find(TensorRole.ATTENTION_Q_NORM));
        normHeads(k, n * config.keyDim(), w.find(TensorRole.ATTENTION_K_NORM));
        Rope rope = config.layerConfigs().get(layer).rope();
        if (rope != null) {
            ops.rope(q, n, shape.heads(), shape.keyDim(), rope, batch.positions());
            ops.rope(k, n, shape.kvHeads(), shape.keyDim(), rope, batch.positions());
        }
    }

    private void feedForward(Batch batch, int layer) {
        boolean onHost = host != null && batch.decodeRows() > 0 && weights.decodesOnHost(graph.network(layer));
        if (!onHost) {
            network.run(layer, x, batch.decodeRows(), batch.size());
            return;
        }
        host.take(x, batch.decodeRows());
        if (batch.decodeRows() < batch.size()) {
            // Decode rows take part, since rows are independent, and what becomes of them is replaced.
            network.run(layer, x, batch.decodeRows(), batch.size());
        }
        host.run(layer, batch.decodeRows());
        host.give(batch.decodeRows(), x);
    }

    /** Logits and hidden states of the wanted rows. */
    private void output(Batch batch, LogitsConsumer consumer, HiddenConsumer hiddenConsumer) {
        int[] rows = outputRows;
        try (WeightLease w = weights.acquire(graph.output())) {
            for (int from = 0; from < batch.hiddens(); from += OUTPUT_ROWS) {
                int count = Math.min(OUTPUT_ROWS, batch.hiddens() - from);
                for (int i = 0; i < count; i++) {
                    rows[i] = batch.hiddenRow(from + i);
                }
                lastNorm(w, rows, count);
                MemorySegment states = MemorySegment.ofArray(hostStates);
                outputX.download(0, states.asSlice(0, (long) count * config.dim() * Float.BYTES));
                for (int i = 0; i < count; i++) {
                    System.arraycopy(hostStates, i * hostState.length, hostState, 0, hostState.length);
                    hiddenConsumer.accept(from + i, hostState);
                }
            }
            for (int from = 0; from < batch.outputs(); from += OUTPUT_ROWS) {
                int count = Math.min(OUTPUT_ROWS, batch.outputs() - from);
                for (int i = 0; i < count; i++) {
                    rows[i] = batch.outputRow(from + i);
                }
                lastNorm(w, rows, count);
                logits(w, count);
                findBest(consumer, from, count);
                for (int i = 0; i < count; i++) {
                    if (host != null && consumer.bestOf(from + i) > 0) {
                        consumer.acceptBest(from + i, hostBest[count + i], Float.intBitsToFloat(hostBest[i]));
                        continue;
                    }
                    logits.download((long) i * hostLogits.length * Float.BYTES, MemorySegment.ofArray(hostLogits));
                    consumer.accept(from + i, hostLogits);
                }
            }
        }
    }

    /** Finds the most likely tokens on a device with memory of its own, for those whom they are enough. */
    private void findBest(LogitsConsumer consumer, int from, int count) {
        int among = 0;
        for (int i = 0; i < count && host != null; i++) {
            among = Math.max(among, consumer.bestOf(from + i));
        }
        if (among > 0) {
            long bytes = (long) count * Float.BYTES;
            ops.topK(logits, count, hostLogits.length, among, 1, best, bestTokens);
            ops.copy(bestTokens, 0, best, bytes, bytes);
            best.download(0, MemorySegment.ofArray(hostBest).asSlice(0, 2 * bytes));
        }
    }

    /** Rows of the residual stream, normalised, in {@link #outputX}. */
    private void lastNorm(WeightLease w, int[] rows, int count) {
        ops.gatherRows(x, rows, count, config.dim(), outputX);
        Weight gain = w.weight(TensorRole.OUTPUT_NORM);
        if (config.encoder()) {
            Activations.normSum(ops, config, outputX, count, gain, w.weight(TensorRole.OUTPUT_NORM_BIAS));
        } else {
            ops.rmsNorm(outputX, count, config.dim(), gain, config.normEpsilon(), outputX);
        }
    }

    /** Logits of {@link #outputX}. They always take the decode kernels, so that they do not depend on the batch. */
    private void logits(WeightLease w, int count) {
        ops.matmul(w.weight(TensorRole.OUTPUT), outputX, count, count, logits);
        adapters.add(w.block(), TensorRole.OUTPUT, outputX, count, count, logits);
        long n = (long) count * hostLogits.length;
        Activations.scale(ops, logits, config.scaling().logits(), n);
        if (config.scaling().logitSoftCap() > 0) {
            ops.softCap(logits, config.scaling().logitSoftCap(), n);
        }
    }

    /** The residual stream, normalised where the layer does so in front. */
    private DeviceBuffer norm(int n, @Nullable Weight gain) {
        if (gain == null) {
            return x;
        }
        ops.rmsNorm(x, n, config.dim(), gain, config.normEpsilon(), normed);
        return normed;
    }

    /** Normalises every stretch as long as the gain: a head, or all heads of a token. */
    private void normHeads(DeviceBuffer heads, int elements, @Nullable Weight gain) {
        if (gain != null) {
            int length = (int) gain.cols();
            ops.rmsNorm(heads, elements / length, length, gain, config.normEpsilon(), heads);
        }
    }

    @Override
    public void close() {
        if (host != null) {
            host.close();
        }
        network.close();
        if (latent != null) {
            latent.close();
        }
        if (gate != null) {
            gate.close();
        }
        if (delta != null) {
            delta.close();
        }
        adapters.close();
        owned.forEach(DeviceBuffer::close);
    }
}
