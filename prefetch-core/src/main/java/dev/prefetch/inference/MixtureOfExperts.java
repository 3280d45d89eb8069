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
import java.util.List;

/**
 * The feed-forward network of a layer as a sparse mixture of experts (Jiang et al. 2024, arXiv 2401.04088): a router
 * scores the experts, the best few serve a token, and their results are added with the softmax of their scores as
 * weights, renormalised over the chosen ones.
 *
 * <p>Rows are grouped by expert, so each expert's weights are used once per sweep for all rows that chose it. A row adds
 * its experts in ascending order whatever the batch holds. Used by the compute thread only.
 */
final class MixtureOfExperts implements AutoCloseable {

    private final Ops ops;
    private final ModelConfig config;
    private final ModelGraph graph;
    private final WeightSource weights;
    private final DeviceBuffer scores;
    private final DeviceBuffer input;
    private final DeviceBuffer gate;
    private final DeviceBuffer up;
    private final DeviceBuffer output;

    private final float[] hostScores;
    private final ExpertRows[] rowsOf;
    private int decodeRows;

    MixtureOfExperts(Device device, ModelConfig config, ModelGraph graph, WeightSource weights, int maxRows) {
        this.ops = device.compute().ops();
        this.config = config;
        this.graph = graph;
        this.weights = weights;
        scores = device.allocate((long) maxRows * config.experts() * Float.BYTES, "router scores");
        input = device.allocate((long) maxRows * config.dim() * Float.BYTES, "expert inputs");
        gate = device.allocate((long) maxRows * config.ffnDim() * Float.BYTES, "expert activations");
        up = device.allocate((long) maxRows * config.ffnDim() * Float.BYTES, "expert activations");
        output = device.allocate((long) maxRows * config.dim() * Float.BYTES, "expert outputs");
        hostScores = new float[maxRows * config.experts()];
        rowsOf = new ExpertRows[config.experts()];
        for (int expert = 0; expert < rowsOf.length; expert++) {
            rowsOf[expert] = new ExpertRows(maxRows);
        }
    }

    /** Chooses the experts of every row of {@code x [n x dim]}. */
    void route(Weight router, DeviceBuffer x, int decodeRows, int n) {
        this.decodeRows = decodeRows;
        ops.matmul(router, x, decodeRows, n, scores);
        int experts = config.experts();
        scores.download(0, MemorySegment.ofArray(hostScores).asSlice(0, (long) n * experts * Float.BYTES));
        for (ExpertRows rows : rowsOf) {
            rows.count = 0;
        }
        int[] chosen = new int[config.expertsUsed()];
        for (int row = 0; row < n; row++) {
            chooseBest(row * experts, chosen);
            double total = 0;
            float best = hostScores[row * experts + chosen[0]];
            for (int expert : chosen) {
                total += Math.exp(hostScores[row * experts + expert] - best);
            }
            for (int expert : chosen) {
                rowsOf[expert].add(row, (float) (Math.exp(hostScores[row * experts + expert] - best) / total));
            }
        }
    }

    /** The highest scores, best first; ties go to the lower expert. */
    private void chooseBest(int offset, int[] chosen) {
        for (int i = 0; i < chosen.length; i++) {
            int best = -1;
            for (int expert = 0; expert < config.experts(); expert++) {
                if ((best < 0 || hostScores[offset + expert] > hostScores[offset + best])
                        && !contains(chosen, i, expert)) {
                    best = expert;
                }
            }
            chosen[i] = best;
        }
    }

    private static boolean contains(int[] chosen, int count, int expert) {
        for (int i = 0; i < count; i++) {
            if (chosen[i] == expert) {
                return true;
            }
        }
        return false;
    }

    /** Adds the chosen experts' results for {@code x} to {@code target}; both {@code [n x dim]}. */
    void run(int layer, DeviceBuffer x, DeviceBuffer target) {
        List<WeightBlock> needed = new ArrayList<>();
        for (int expert = 0; expert < rowsOf.length; expert++) {
            ExpertRows rows = rowsOf[expert];
            if (rows.count > 0) {
                needed.add(graph.expert(layer, expert));
            }
        }
        weights.prefetch(needed);
        for (WeightBlock block : needed) {
            try (WeightLease w = weights.acquire(block)) {
                compute(w, rowsOf[block.expert()], x, target);
            }
        }
    }

    private void compute(WeightLease w, ExpertRows rows, DeviceBuffer x, DeviceBuffer target) {
        int decode = rows.countBelow(decodeRows);
        ops.gatherRows(x, rows.rows, rows.count, config.dim(), input);
        ops.matmuls(
                List.of(w.weight(TensorRole.FFN_GATE), w.weight(TensorRole.FFN_UP)),
                input,
                decode,
                rows.count,
                List.of(gate, up));
        ops.swiGlu(gate, up, (long) rows.count * config.ffnDim());
        ops.matmul(w.weight(TensorRole.FFN_DOWN), gate, decode, rows.count, output);
        ops.scatterAddRows(output, rows.rows, rows.factors, rows.count, config.dim(), target);
    }

    @Override
    public void close() {
        List.of(scores, input, gate, up, output).forEach(DeviceBuffer::close);
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
