package dev.prefetch.inference;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Rope;
import dev.prefetch.backend.Weight;
import dev.prefetch.model.LatentShape;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.TensorRole;
import dev.prefetch.prefetch.WeightLease;
import java.util.ArrayList;
import java.util.List;

/**
 * Queries, keys and values of multi-head latent attention (DeepSeek-AI 2024, arXiv 2405.04434): one short vector per token
 * stands for the keys and values of all heads, and one rotated key beside it serves all heads.
 *
 * <p>Where the file has the matrices of keys and values apart, attention works on the short vectors: the query goes through
 * the transposed matrix of keys, all heads share the one vector, and what they find goes through the matrix of values. So
 * the cache holds the short vectors only. Otherwise keys and values of all heads are made and cached. Used by the compute
 * thread only.
 */
final class LatentAttention implements AutoCloseable {

    private final Ops ops;
    private final LatentShape shape;
    private final Adapters adapters;
    private final int heads;
    private final float epsilon;
    private final Rope rope;
    private final List<DeviceBuffer> owned = new ArrayList<>();

    private final DeviceBuffer queryDown;
    private final DeviceBuffer queries;
    private final DeviceBuffer down;
    private final DeviceBuffer latents;
    private final DeviceBuffer rotatedQueries;
    private final DeviceBuffer rotatedKeys;
    private final DeviceBuffer keysAndValues;
    private final DeviceBuffer headInput;
    private final DeviceBuffer headOutput;
    private final DeviceBuffer results;

    LatentAttention(Device device, ModelConfig config, LatentShape shape, Adapters adapters, int maxRows) {
        this.ops = device.compute().ops();
        this.shape = shape;
        this.adapters = adapters;
        this.heads = config.attention().heads();
        this.epsilon = config.normEpsilon();
        this.rope = config.rope();
        queryDown = activations(device, maxRows, Math.max(1, shape.queryRank()));
        queries = activations(device, maxRows, heads * shape.keyDim());
        down = activations(device, maxRows, shape.rank() + shape.rotatedDim());
        latents = activations(device, maxRows, shape.rank());
        rotatedQueries = activations(device, maxRows, heads * shape.rotatedDim());
        rotatedKeys = activations(device, maxRows, shape.rotatedDim());
        keysAndValues = activations(device, maxRows, shape.absorbed() ? 1 : headColumns(config, shape));
        headInput = activations(device, maxRows, widestPart(shape));
        headOutput = activations(device, maxRows, widestPart(shape));
        results = activations(device, maxRows, heads * shape.valueDim());
    }

    private static int headColumns(ModelConfig config, LatentShape shape) {
        return config.attention().heads() * (shape.plainDim() + shape.valueDim());
    }

    private static int widestPart(LatentShape shape) {
        return Math.max(shape.rank(), Math.max(shape.plainDim(), shape.valueDim()));
    }

    /** Bytes of what is allocated for sweeps of at most {@code maxRows} tokens. */
    static long activationBytes(ModelConfig config, LatentShape shape, int maxRows) {
        long perHead = shape.keyDim() + shape.rotatedDim() + shape.valueDim();
        long columns = Math.max(1, shape.queryRank())
                + 2L * (shape.rank() + shape.rotatedDim())
                + perHead * config.attention().heads()
                + (shape.absorbed() ? 1 : headColumns(config, shape))
                + 2L * widestPart(shape);
        return Float.BYTES * maxRows * columns;
    }

    private DeviceBuffer activations(Device device, int rows, int columns) {
        DeviceBuffer buffer = device.allocate((long) rows * columns * Float.BYTES, "activations");
        owned.add(buffer);
        return buffer;
    }

    /**
     * Queries, keys and values in the shape of {@link ModelConfig#attention()}.
     *
     * @param w weights of the layer
     * @param input normalised residual stream
     */
    void project(WeightLease w, DeviceBuffer input, Batch batch, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v) {
        int n = batch.size();
        projectQueries(w, input, batch);
        ops.matmul(w.weight(TensorRole.ATTENTION_KV_DOWN), input, batch.decodeRows(), n, down);
        adapters.add(w.block(), TensorRole.ATTENTION_KV_DOWN, input, batch.decodeRows(), n, down);
        int rank = shape.rank();
        int rotated = shape.rotatedDim();
        ops.copyColumns(down, 0, rank + rotated, latents, 0, rank, rank, n);
        ops.rmsNorm(latents, n, rank, w.weight(TensorRole.ATTENTION_KV_DOWN_NORM), epsilon, latents);

        // rotation
        ops.copyColumns(down, rank, rank + rotated, rotatedKeys, 0, rotated, rotated, n);
        ops.copyColumns(queries, shape.plainDim(), shape.keyDim(), rotatedQueries, 0, rotated, rotated, n * heads);
        ops.rope(rotatedKeys, n, 1, rotated, rope, batch.positions());
        ops.rope(rotatedQueries, n, heads, rotated, rope, batch.positions());

        if (shape.absorbed()) {
            absorb(w, batch, q);
            ops.copyColumns(latents, 0, rank, k, 0, rank + rotated, rank, n);
            ops.copyColumns(rotatedKeys, 0, rotated, k, rank, rank + rotated, rotated, n);
            ops.copyColumns(latents, 0, rank, v, 0, rank, rank, n);
        } else {
            expand(w, batch, q, k, v);
        }
    }

    private void projectQueries(WeightLease w, DeviceBuffer input, Batch batch) {
        int n = batch.size();
        DeviceBuffer source = input;
        if (shape.queryRank() > 0) {
            Weight gain = w.weight(TensorRole.ATTENTION_Q_DOWN_NORM);
            ops.matmul(w.weight(TensorRole.ATTENTION_Q_DOWN), input, batch.decodeRows(), n, queryDown);
            adapters.add(w.block(), TensorRole.ATTENTION_Q_DOWN, input, batch.decodeRows(), n, queryDown);
            ops.rmsNorm(queryDown, n, shape.queryRank(), gain, epsilon, queryDown);
            source = queryDown;
        }
        ops.matmul(w.weight(TensorRole.ATTENTION_Q), source, batch.decodeRows(), n, queries);
        adapters.add(w.block(), TensorRole.ATTENTION_Q, source, batch.decodeRows(), n, queries);
    }

    /** Queries for the short vectors: {@code [rank | rotated]} per head. */
    private void absorb(WeightLease w, Batch batch, DeviceBuffer q) {
        int rank = shape.rank();
        int rotated = shape.rotatedDim();
        multiplyHeads(w, TensorRole.ATTENTION_K_UP_TRANSPOSED, queries, shape.keyDim(), batch, q, rank + rotated);
        ops.copyColumns(rotatedQueries, 0, rotated, q, rank, rank + rotated, rotated, batch.size() * heads);
    }

    /** Every head's part of {@code x [n x heads x xWidth]} times its own matrix, to {@code y [n x heads x yWidth]}. */
    private void multiplyHeads(
            WeightLease w, TensorRole role, DeviceBuffer x, int xWidth, Batch batch, DeviceBuffer y, int yWidth) {
        Weight all = w.weight(role);
        int n = batch.size();
        int decode = batch.decodeRows();
        ops.matmulParts(all, heads, x, xWidth, decode, n, y, yWidth, headInput, headOutput);
        int cols = (int) all.cols();
        int rows = (int) (all.rows() / heads);
        for (int head = 0; head < heads; head++) {
            if (adapters.changes(w.block(), role, head)) {
                long place = (long) head * yWidth;
                ops.copyColumns(x, (long) head * xWidth, heads * xWidth, headInput, 0, cols, cols, n);
                ops.copyColumns(y, place, heads * yWidth, headOutput, 0, rows, rows, n);
                adapters.add(w.block(), role, head, headInput, decode, n, headOutput);
                ops.copyColumns(headOutput, 0, rows, y, place, heads * yWidth, rows, n);
            }
        }
    }

    /** Keys and values of all heads: {@code [plain | rotated]} per head, the rotated part the same in all. */
    private void expand(WeightLease w, Batch batch, DeviceBuffer q, DeviceBuffer k, DeviceBuffer v) {
        int plain = shape.plainDim();
        int rotated = shape.rotatedDim();
        int keyDim = shape.keyDim();
        int valueDim = shape.valueDim();
        int n = batch.size();
        ops.matmul(w.weight(TensorRole.ATTENTION_KV_UP), latents, batch.decodeRows(), n, keysAndValues);
        adapters.add(w.block(), TensorRole.ATTENTION_KV_UP, latents, batch.decodeRows(), n, keysAndValues);
        ops.copyColumns(keysAndValues, 0, plain + valueDim, k, 0, keyDim, plain, n * heads);
        ops.copyColumns(keysAndValues, plain, plain + valueDim, v, 0, valueDim, valueDim, n * heads);
        for (int head = 0; head < heads; head++) {
            ops.copyColumns(rotatedKeys, 0, rotated, k, (long) head * keyDim + plain, heads * keyDim, rotated, n);
        }
        ops.copyColumns(queries, 0, keyDim, q, 0, keyDim, plain, n * heads);
        ops.copyColumns(rotatedQueries, 0, rotated, q, plain, keyDim, rotated, n * heads);
    }

    /** What attention found, {@code [n x heads x valueDim]}. */
    DeviceBuffer values(WeightLease w, DeviceBuffer attended, Batch batch) {
        if (!shape.absorbed()) {
            return attended;
        }
        multiplyHeads(w, TensorRole.ATTENTION_V_UP, attended, shape.rank(), batch, results, shape.valueDim());
        return results;
    }

    @Override
    public void close() {
        owned.forEach(DeviceBuffer::close);
    }
}
