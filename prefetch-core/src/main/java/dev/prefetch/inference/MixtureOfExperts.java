package dev.prefetch.inference;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Weight;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.model.TensorRole;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.WeightLease;
import dev.prefetch.prefetch.WeightSource;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The feed-forward network of a layer as a sparse mixture of experts (Jiang et al. 2024, arXiv 2401.04088): a router
 * scores the experts, the best few serve a token, and their results are added with weights that come from the scores. Some models have a network beside them that serves every token, with a weight of its own.
 *
 * <p>Rows are grouped by expert, so each expert's weights are used once per sweep for all rows that chose it. With few rows
 * the experts are computed in the order in which their weights arrive, which hides the reading of some behind computing
 * others. A row adds its experts in ascending order all the same, whatever the batch holds. A device that chooses experts
 * itself may spare all that: see {@link PickedExperts}. Used by the compute thread only.
 */
final class MixtureOfExperts implements AutoCloseable {

    /** Most rows for which every expert has an output of its own. */
    private static final int MOST_ROWS_APART = 8;

    private final Ops ops;
    private final ModelConfig config;
    private final ModelGraph graph;
    private final WeightSource weights;
    private final Adapters adapters;
    private final DeviceBuffer scores;
    private final DeviceBuffer input;
    private final boolean gated;
    /** What the activation is applied to. */
    private final DeviceBuffer gate;

    private final DeviceBuffer up;
    private final List<DeviceBuffer> gateAndUp;
    private final List<DeviceBuffer> outputs = new ArrayList<>();
    /** Reused from expert to expert. */
    private final List<Weight> gateAndUpWeights = Arrays.asList(new Weight[2]);

    private final float[] hostScores;
    private final Router router;
    private final ExpertRows[] rowsOf;
    private final ExpertRows sharedRows;
    /** Null where the host chooses. */
    private final @Nullable PickedExperts picked;

    private boolean scoresShared;
    /** The layer that the device puts through experts of its choice, or -1. */
    private int pickedLayer = -1;

    private final List<WeightBlock> needed = new ArrayList<>();
    private final List<WeightBlock> left = new ArrayList<>();
    private int decodeRows;

    MixtureOfExperts(
            Device device, ModelConfig config, ModelGraph graph, WeightSource weights, Adapters adapters, int maxRows) {
        this.ops = device.compute().ops();
        this.config = config;
        this.graph = graph;
        this.weights = weights;
        this.adapters = adapters;
        scores = device.allocate((long) maxRows * config.experts() * Float.BYTES, "router scores");
        input = device.allocate((long) maxRows * config.dim() * Float.BYTES, "expert inputs");
        gated = config.architecture().traits().activation().gated();
        gate = device.allocate((long) maxRows * config.expertFfnDim() * Float.BYTES, "expert activations");
        up = device.allocate((long) maxRows * config.expertFfnDim() * Float.BYTES, "expert activations");
        gateAndUp = List.of(gate, up);
        outputs.add(device.allocate((long) maxRows * config.dim() * Float.BYTES, "expert outputs"));
        for (int i = 1; i < outputsApart(config, maxRows); i++) {
            outputs.add(device.allocate((long) MOST_ROWS_APART * config.dim() * Float.BYTES, "expert outputs"));
        }
        hostScores = new float[maxRows * config.experts()];
        router = new Router(config);
        rowsOf = new ExpertRows[config.experts()];
        for (int expert = 0; expert < rowsOf.length; expert++) {
            rowsOf[expert] = new ExpertRows(maxRows);
        }
        sharedRows = new ExpertRows(maxRows);
        picked = PickedExperts.of(device, config, graph, weights, maxRows);
    }

    /**
     * Chooses the experts of every row of {@code x [n x dim]}.
     *
     * @param w holds the router
     */
    void route(WeightLease w, DeviceBuffer x, int decodeRows, int n) {
        this.decodeRows = decodeRows;
        weighShared(w, x, n);
        ops.matmul(w.weight(TensorRole.FFN_ROUTER), x, decodeRows, n, scores);
        adapters.add(w.block(), TensorRole.FFN_ROUTER, x, decodeRows, n, scores);
        ops.addBias(scores, n, w.find(TensorRole.FFN_ROUTER_BIAS));
        if (picked != null) {
            picked.choose(scores, w.find(TensorRole.FFN_ROUTER_CHOICE_BIAS), n);
        } else {
            chooseOnHost(w, n);
        }
    }

    private void chooseOnHost(WeightLease w, int n) {
        int experts = config.experts();
        scores.download(0, MemorySegment.ofArray(hostScores).asSlice(0, (long) n * experts * Float.BYTES));
        clearRows();
        float[] choiceBias = choiceBias(w);
        for (int row = 0; row < n; row++) {
            router.route(hostScores, row * experts, choiceBias);
            for (int i = 0; i < router.chosen().length; i++) {
                rowsOf[router.chosen()[i]].add(row, router.weights()[i]);
            }
        }
    }

    private void clearRows() {
        for (ExpertRows rows : rowsOf) {
            rows.count = 0;
        }
    }

    private float @Nullable [] choiceBias(WeightLease w) {
        Weight bias = w.find(TensorRole.FFN_ROUTER_CHOICE_BIAS);
        if (bias == null) {
            return null;
        }
        float[] values = new float[config.experts()];
        bias.buffer().download(bias.offset(), MemorySegment.ofArray(values));
        return values;
    }

    /** The weight of the network beside the experts for every row: the sigmoid of its score, or 1 where it has none. */
    private void weighShared(WeightLease w, DeviceBuffer x, int n) {
        if (config.sharedFfnDim() == 0) {
            return;
        }
        Weight score = w.find(TensorRole.FFN_SHARED_SCORE);
        scoresShared = score != null;
        if (score != null && picked != null) {
            ops.matmul(score, x, decodeRows, n, picked.sharedScores());
            return;
        }
        if (score != null) {
            ops.matmul(score, x, decodeRows, n, scores);
            adapters.add(w.block(), TensorRole.FFN_SHARED_SCORE, x, decodeRows, n, scores);
            scores.download(0, MemorySegment.ofArray(hostScores).asSlice(0, (long) n * Float.BYTES));
        }
        sharedRows.count = 0;
        for (int row = 0; row < n; row++) {
            sharedRows.add(row, score == null ? 1 : (float) (1 / (1 + Math.exp(-hostScores[row]))));
        }
    }

    /** Adds the result of the network beside the experts to {@code target}, by its weights; both {@code [n x dim]}. */
    void addShared(DeviceBuffer result, int n, DeviceBuffer target) {
        if (picked != null && scoresShared) {
            picked.addShared(result, n, target);
            return;
        }
        ops.scatterAddRows(result, sharedRows.rows, sharedRows.factors, n, config.dim(), target);
    }

    /** Experts that few rows can choose together. */
    private static int outputsApart(ModelConfig config, int maxRows) {
        return Math.min(config.experts(), Math.min(maxRows, MOST_ROWS_APART) * config.expertsUsed());
    }

    /** Bytes of what is allocated for sweeps of at most {@code maxRows} tokens. */
    static long activationBytes(ModelConfig config, int maxRows) {
        long columns = 2L * config.dim() + 2L * config.expertFfnDim() + 2L * config.experts();
        long apart = (outputsApart(config, maxRows) - 1L) * MOST_ROWS_APART * config.dim();
        return Float.BYTES * (maxRows * columns + apart) + PickedExperts.activationBytes(config, maxRows);
    }

    /** Says which experts {@link #run} will need, where the host has to. */
    void prefetch(int layer, int n) {
        needed.clear();
        pickedLayer = -1;
        if (picked != null) {
            if (decodeRows == n && adapters.isEmpty() && picked.takes(layer, n)) {
                pickedLayer = layer;
                return;
            }
            clearRows();
            picked.fetch(n, (row, expert, weight) -> rowsOf[expert].add(row, weight));
        }
        for (int expert = 0; expert < rowsOf.length; expert++) {
            if (rowsOf[expert].count > 0) {
                needed.add(graph.expert(layer, expert));
            }
        }
        weights.prefetch(needed);
    }

    /** Adds the chosen experts' results for {@code x} to {@code target}; both {@code [n x dim]}. */
    void run(int n, DeviceBuffer x, DeviceBuffer target) {
        if (picked != null && pickedLayer >= 0) {
            picked.run(pickedLayer, n, x, target);
            return;
        }
        if (n <= MOST_ROWS_APART) {
            runAsTheyArrive(x, target);
            return;
        }
        for (WeightBlock block : needed) {
            compute(block, x, outputs.getFirst());
            add(block, outputs.getFirst(), target);
        }
    }

    private void runAsTheyArrive(DeviceBuffer x, DeviceBuffer target) {
        left.clear();
        left.addAll(needed);
        while (!left.isEmpty()) {
            WeightBlock block = left.remove(weights.readiest(left));
            compute(block, x, outputs.get(needed.indexOf(block)));
        }
        for (int i = 0; i < needed.size(); i++) {
            add(needed.get(i), outputs.get(i), target);
        }
    }

    /** An expert's results for the rows that chose it. */
    private void compute(WeightBlock block, DeviceBuffer x, DeviceBuffer output) {
        ExpertRows rows = rowsOf[block.expert()];
        try (WeightLease w = weights.acquire(block)) {
            int decode = rows.countBelow(decodeRows);
            ops.gatherRows(x, rows.rows, rows.count, config.dim(), input);
            if (gated) {
                gateAndUp(w, decode, rows.count);
            } else {
                ops.matmul(w.weight(TensorRole.FFN_UP), input, decode, rows.count, gate);
                adapters.add(block, TensorRole.FFN_UP, input, decode, rows.count, gate);
                ops.addBias(gate, rows.count, w.find(TensorRole.FFN_UP_BIAS));
            }
            Activations.run(ops, config, gate, up, (long) rows.count * config.expertFfnDim());
            ops.matmul(w.weight(TensorRole.FFN_DOWN), gate, decode, rows.count, output);
            adapters.add(block, TensorRole.FFN_DOWN, gate, decode, rows.count, output);
            ops.addBias(output, rows.count, w.find(TensorRole.FFN_DOWN_BIAS));
        }
    }

    private void gateAndUp(WeightLease w, int decode, int count) {
        gateAndUpWeights.set(0, w.weight(TensorRole.FFN_GATE));
        gateAndUpWeights.set(1, w.weight(TensorRole.FFN_UP));
        ops.matmuls(gateAndUpWeights, input, decode, count, gateAndUp);
        adapters.add(w.block(), TensorRole.FFN_GATE, input, decode, count, gate);
        adapters.add(w.block(), TensorRole.FFN_UP, input, decode, count, up);
        ops.addBias(gate, count, w.find(TensorRole.FFN_GATE_BIAS));
        ops.addBias(up, count, w.find(TensorRole.FFN_UP_BIAS));
    }

    private void add(WeightBlock block, DeviceBuffer output, DeviceBuffer target) {
        ExpertRows rows = rowsOf[block.expert()];
        ops.scatterAddRows(output, rows.rows, rows.factors, rows.count, config.dim(), target);
    }

    @Override
    public void close() {
        List.of(scores, input, gate, up).forEach(DeviceBuffer::close);
        outputs.forEach(DeviceBuffer::close);
        if (picked != null) {
            picked.close();
        }
    }

    /** The rows that chose an expert, ascending, with its weight for each. */
    private static final class ExpertRows {

        private final int[] rows;
        private final float[] factors;
        private int count;

        ExpertRows(int maxRows) {
            rows = new int[maxRows];
            factors = new float[maxRows];
        }

        void add(int row, float factor) {
            rows[count] = row;
            factors[count++] = factor;
        }

        int countBelow(int limit) {
            int below = 0;
            while (below < count && rows[below] < limit) {
                below++;
            }
            return below;
        }
    }
}
