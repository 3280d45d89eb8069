package dev.prefetch.inference;

import dev.prefetch.backend.DeltaShape;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Weight;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.TensorRole;
import dev.prefetch.prefetch.WeightLease;
import java.util.ArrayList;
import java.util.List;

/**
 * Linear attention by a gated delta network (Yang et al. 2024, arXiv 2412.06464): queries, keys and values go through a
 * short convolution, and each head keeps what it learns of them in one matrix, which forgets. What stands between two sweeps
 * is the sequence's state, see {@link KvCache#stateOffset}. Used by the compute thread only.
 */
final class DeltaNetwork implements AutoCloseable {

    private final Ops ops;
    private final DeltaShape shape;
    private final float epsilon;
    private final Adapters adapters;
    private final List<DeviceBuffer> owned = new ArrayList<>();

    private final DeviceBuffer qkv;
    /** Also what is projected to be taken apart, before anything is convolved. */
    private final DeviceBuffer convolved;

    private final DeviceBuffer gate;
    private final DeviceBuffer betaAlpha;
    private final DeviceBuffer beta;
    private final DeviceBuffer alpha;
    private final DeviceBuffer found;

    DeltaNetwork(Device device, ModelConfig config, DeltaShape shape, Adapters adapters, int maxRows) {
        this.ops = device.compute().ops();
        this.shape = shape;
        this.epsilon = config.normEpsilon();
        this.adapters = adapters;
        qkv = activations(device, maxRows, shape.channels());
        convolved = activations(device, maxRows, shape.channels() + shape.valueDim());
        gate = activations(device, maxRows, shape.valueDim());
        betaAlpha = activations(device, maxRows, 2 * shape.valueHeads());
        beta = activations(device, maxRows, shape.valueHeads());
        alpha = activations(device, maxRows, shape.valueHeads());
        found = activations(device, maxRows, shape.valueDim());
    }

    /** Bytes of what is allocated for sweeps of at most {@code maxRows} tokens. */
    static long activationBytes(DeltaShape shape, int maxRows) {
        long columns = 2L * shape.channels() + 3L * shape.valueDim() + 4L * shape.valueHeads();
        return Float.BYTES * maxRows * columns;
    }

    private DeviceBuffer activations(Device device, int rows, int columns) {
        DeviceBuffer buffer = device.allocate((long) rows * columns * Float.BYTES, "activations");
        owned.add(buffer);
        return buffer;
    }

    /**
     * What the output projection takes, {@code [n x valueDim]}; every sequence of the batch goes on from its state.
     *
     * @param w weights of the layer
     * @param input normalised residual stream
     */
    DeviceBuffer run(WeightLease w, DeviceBuffer input, Batch batch, int layer) {
        int n = batch.size();
        queriesKeysValuesAndGates(w, input, batch);
        scores(w, input, batch);

        // sequence by sequence, in parts where the state in between is wanted
        for (Batch.Segment s : batch.segments()) {
            int done = 0;
            for (StateSnapshots.Snapshot snapshot : s.cache().snapshots()) {
                int until = snapshot.position() - s.position();
                advance(w, s, done, until, layer);
                long place = s.cache().stateOffset(layer);
                ops.copy(s.cache().state(), place, snapshot.buffer(), place, stateBytes());
                done = until;
            }
            advance(w, s, done, s.count(), layer);
        }

        // norm per head, and gate
        Weight gain = w.weight(TensorRole.DELTA_NORM);
        ops.rmsNorm(found, n * shape.valueHeads(), shape.headDim(), gain, epsilon, found);
        ops.swiGlu(gate, found, (long) n * shape.valueDim());
        return gate;
    }

    private long stateBytes() {
        return shape.convolutionBytes() + shape.matrixBytes();
    }

    /** The rows {@code from .. to} of a sequence, which go on from its state and leave it behind them. */
    private void advance(WeightLease w, Batch.Segment s, int from, int to, int layer) {
        if (from == to) {
            return;
        }
        Weight convolution = w.weight(TensorRole.DELTA_CONVOLUTION);
        Weight decay = w.weight(TensorRole.DELTA_DECAY);
        Weight decayBias = w.weight(TensorRole.DELTA_DECAY_BIAS);
        DeviceBuffer state = s.cache().state();
        long rows = s.cache().stateOffset(layer);
        long matrices = rows + shape.convolutionBytes();
        int first = s.firstRow() + from;
        int count = to - from;
        int position = s.position() + from;
        ops.causalConvolution(shape, convolution, state, rows, qkv, first, count, position, convolved);
        ops.gatedDeltaRule(
                shape, epsilon, state, matrices, convolved, alpha, beta, decay, decayBias, first, count, position,
                found);
    }

    private void queriesKeysValuesAndGates(WeightLease w, DeviceBuffer input, Batch batch) {
        if (w.find(TensorRole.DELTA_QKV_GATE) == null) {
            project(w, TensorRole.DELTA_QKV, input, batch, qkv);
            project(w, TensorRole.DELTA_GATE, input, batch, gate);
            return;
        }
        DeviceBuffer mixed = convolved;
        project(w, TensorRole.DELTA_QKV_GATE, input, batch, mixed);
        int n = batch.size();
        int dim = shape.headDim();
        int values = shape.valueDim() / shape.keyHeads();
        int all = shape.channels() + shape.valueDim();
        for (int head = 0; head < shape.keyHeads(); head++) {
            long from = (long) head * (2 * dim + 2 * values);
            long key = shape.keyDim() + (long) head * dim;
            long value = 2L * shape.keyDim() + (long) head * values;
            ops.copyColumns(mixed, from, all, qkv, (long) head * dim, shape.channels(), dim, n);
            ops.copyColumns(mixed, from + dim, all, qkv, key, shape.channels(), dim, n);
            ops.copyColumns(mixed, from + 2 * dim, all, qkv, value, shape.channels(), values, n);
            ops.copyColumns(
                    mixed, from + 2 * dim + values, all, gate, (long) head * values, shape.valueDim(), values, n);
        }
    }

    /** What every value head learns and forgets of a token. */
    private void scores(WeightLease w, DeviceBuffer input, Batch batch) {
        if (w.find(TensorRole.DELTA_BETA_ALPHA) == null) {
            project(w, TensorRole.DELTA_BETA, input, batch, beta);
            project(w, TensorRole.DELTA_ALPHA, input, batch, alpha);
            return;
        }
        project(w, TensorRole.DELTA_BETA_ALPHA, input, batch, betaAlpha);
        int heads = shape.valueHeads() / shape.keyHeads();
        int rows = batch.size() * shape.keyHeads();
        ops.copyColumns(betaAlpha, 0, 2 * heads, beta, 0, heads, heads, rows);
        ops.copyColumns(betaAlpha, heads, 2 * heads, alpha, 0, heads, heads, rows);
    }

    private void project(WeightLease w, TensorRole role, DeviceBuffer input, Batch batch, DeviceBuffer output) {
        ops.matmul(w.weight(role), input, batch.decodeRows(), batch.size(), output);
        adapters.add(w.block(), role, input, batch.decodeRows(), batch.size(), output);
    }

    @Override
    public void close() {
        owned.forEach(DeviceBuffer::close);
    }
}
