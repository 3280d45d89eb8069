package dev.prefetch.inference;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.ExpertChoice;
import dev.prefetch.backend.ExpertOps;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Weight;
import dev.prefetch.backend.WeightTable;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.model.ExpertRouting;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.model.TensorRole;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.ExpertsLease;
import dev.prefetch.prefetch.WeightSource;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The choice of experts by the device itself, and few decode rows put through them without the host.
 *
 * <p>How it works: the device always chooses, so that a row's experts and weights have the same bits wherever the weights
 * lie. Where it has all experts of a layer for good, and no more rows are to be computed than would read most experts once
 * anyway, every row takes its experts through a table of addresses, and the host learns nothing of the choice. Otherwise the
 * host fetches the choice and groups rows by expert. Used by the compute thread only.
 */
final class PickedExperts implements AutoCloseable {

    /** Most rows that are not grouped. */
    private static final int MOST_ROWS = 8;

    private static final int ADDRESS_BYTES = 8;
    private static final int ROLES = 6;

    private final Ops ops;
    private final ExpertOps picking;
    private final ModelConfig config;
    private final ModelGraph graph;
    private final WeightSource weights;
    private final int mostRows;
    private final List<DeviceBuffer> owned = new ArrayList<>();
    private final DeviceBuffer picks;
    private final DeviceBuffer sharedScores;
    private final DeviceBuffer gate;
    private final DeviceBuffer up;
    private final DeviceBuffer outputs;
    private final DeviceBuffer addresses;
    private final ExpertChoice how;
    private final int[] hostPicks;
    /** By layer; nothing for one whose experts the host has to name. */
    private final Map<Integer, Optional<Tables>> tables = new HashMap<>();

    private record Tables(
            List<WeightBlock> experts,
            WeightTable gate,
            WeightTable up,
            WeightTable down,
            @Nullable WeightTable gateBias,
            @Nullable WeightTable upBias,
            @Nullable WeightTable downBias) {}

    private PickedExperts(
            Device device, ExpertOps picking, ModelConfig config, ModelGraph graph, WeightSource weights, int maxRows) {
        this.ops = device.compute().ops();
        this.picking = picking;
        this.config = config;
        this.graph = graph;
        this.weights = weights;
        ExpertRouting routing = config.routing();
        how = new ExpertChoice(
                config.experts(),
                config.expertsUsed(),
                routing.score() == ExpertRouting.Score.SIGMOID,
                routing.normalised(),
                routing.scale(),
                routing.groups(),
                routing.groupsUsed());
        mostRows = mostRows(config, maxRows);
        int most = mostRows * config.expertsUsed();
        picks = allocate(device, 2L * maxRows * config.expertsUsed() * Float.BYTES, "choice of experts");
        sharedScores = allocate(device, (long) maxRows * Float.BYTES, "router scores");
        gate = allocate(device, (long) most * config.expertFfnDim() * Float.BYTES, "expert activations");
        up = allocate(device, (long) most * config.expertFfnDim() * Float.BYTES, "expert activations");
        outputs = allocate(device, (long) most * config.dim() * Float.BYTES, "expert outputs");
        addresses = allocate(device, addressBytes(config), "addresses of experts");
        hostPicks = new int[2 * maxRows * config.expertsUsed()];
    }

    private DeviceBuffer allocate(Device device, long bytes, String purpose) {
        DeviceBuffer buffer = device.allocate(bytes, purpose);
        owned.add(buffer);
        return buffer;
    }

    /** Null on a device that leaves the choice to the host. */
    static @Nullable PickedExperts of(
            Device device, ModelConfig config, ModelGraph graph, WeightSource weights, int maxRows) {
        ExpertOps picking = device.compute().ops().experts();
        return picking == null || config.experts() > picking.mostExperts()
                ? null
                : new PickedExperts(device, picking, config, graph, weights, maxRows);
    }

    /** So few rows that they seldom choose the same expert, of which each would read the weights anew. */
    private static int mostRows(ModelConfig config, int maxRows) {
        return Math.clamp(config.experts() / (2L * config.expertsUsed()), 1, Math.min(maxRows, MOST_ROWS));
    }

    private static long addressBytes(ModelConfig config) {
        return (long) ADDRESS_BYTES * ROLES * config.layers() * config.experts();
    }

    /** Bytes of what is allocated for sweeps of at most {@code maxRows} tokens, where the device chooses. */
    static long activationBytes(ModelConfig config, int maxRows) {
        long most = (long) mostRows(config, maxRows) * config.expertsUsed();
        return Float.BYTES
                        * (maxRows * (2L * config.expertsUsed() + 1)
                                + most * (2L * config.expertFfnDim() + config.dim()))
                + addressBytes(config);
    }

    /** Gets the score of the network beside the experts, {@code [n]}. */
    DeviceBuffer sharedScores() {
        return sharedScores;
    }

    /** Adds the result of that network to {@code target}, by its scores; both {@code [n x dim]}. */
    void addShared(DeviceBuffer result, int n, DeviceBuffer target) {
        picking.addByScore(result, sharedScores, n, config.dim(), target);
    }

    /**
     * Chooses the experts of every row.
     *
     * @param scores {@code [n x experts]}
     */
    void choose(DeviceBuffer scores, @Nullable Weight bias, int n) {
        picking.choose(how, scores, bias, n, picks);
    }

    /** Takes an expert of a row and its weight. */
    @FunctionalInterface
    interface Chosen {
        void accept(int row, int expert, float weight);
    }

    /** Waits for the choice and tells it, row by row. */
    void fetch(int n, Chosen chosen) {
        int used = how.used();
        int count = n * used;
        picks.download(0, MemorySegment.ofArray(hostPicks).asSlice(0, 2L * count * Float.BYTES));
        for (int i = 0; i < count; i++) {
            chosen.accept(i / used, hostPicks[i], Float.intBitsToFloat(hostPicks[count + i]));
        }
    }

    /** Whether {@link #run} can put so many decode rows through a layer; otherwise the host says which experts are needed. */
    boolean takes(int layer, int n) {
        return n <= mostRows && tables.computeIfAbsent(layer, this::tabulate).isPresent();
    }

    /** Adds the chosen experts' results for {@code x} to {@code target}, both {@code [n x dim]}, of a layer that is taken. */
    void run(int layer, int n, DeviceBuffer x, DeviceBuffer target) {
        Tables of = Objects.requireNonNull(tables.get(layer)).orElseThrow();
        try (ExpertsLease lease = weights.acquireAll(of.experts, n * how.used())) {
            if (lease == null) {
                throw new IllegalStateException("the experts of layer " + layer + " have left the device");
            }
            compute(of, n, x, target);
        }
    }

    private Optional<Tables> tabulate(int layer) {
        List<WeightBlock> experts = IntStream.range(0, config.experts())
                .mapToObj(expert -> graph.expert(layer, expert))
                .toList();
        try (ExpertsLease lease = weights.acquireAll(experts, 0)) {
            if (lease == null || !hasPlainBiases(lease)) {
                return Optional.empty();
            }
            return Optional.of(new Tables(
                    experts,
                    require(table(layer, 0, lease, TensorRole.FFN_GATE)),
                    require(table(layer, 1, lease, TensorRole.FFN_UP)),
                    require(table(layer, 2, lease, TensorRole.FFN_DOWN)),
                    table(layer, 3, lease, TensorRole.FFN_GATE_BIAS),
                    table(layer, 4, lease, TensorRole.FFN_UP_BIAS),
                    table(layer, 5, lease, TensorRole.FFN_DOWN_BIAS)));
        }
    }

    private static boolean hasPlainBiases(ExpertsLease lease) {
        return Stream.of(TensorRole.FFN_GATE_BIAS, TensorRole.FFN_UP_BIAS, TensorRole.FFN_DOWN_BIAS)
                .flatMap(role -> lease.weights(role).stream())
                .allMatch(bias -> bias.type() == GgmlType.F32);
    }

    private @Nullable WeightTable table(int layer, int index, ExpertsLease lease, TensorRole role) {
        List<Weight> of = lease.weights(role);
        long offset = (long) ADDRESS_BYTES * config.experts() * ((long) ROLES * layer + index);
        return of.isEmpty() ? null : picking.tabulate(of, addresses, offset);
    }

    private static WeightTable require(@Nullable WeightTable table) {
        return Objects.requireNonNull(table, "experts without a matrix");
    }

    private void compute(Tables of, int n, DeviceBuffer x, DeviceBuffer target) {
        int count = n * how.used();
        picking.matmul(of.gate, picks, x, how.used(), count, gate);
        picking.matmul(of.up, picks, x, how.used(), count, up);
        addBias(of.gateBias, count, gate);
        addBias(of.upBias, count, up);
        Activations.run(ops, config, gate, up, (long) count * config.expertFfnDim());
        picking.matmul(of.down, picks, gate, 1, count, outputs);
        addBias(of.downBias, count, outputs);
        picking.addResults(outputs, picks, how.used(), n, config.dim(), target);
    }

    private void addBias(@Nullable WeightTable biases, int count, DeviceBuffer y) {
        if (biases != null) {
            picking.addBias(biases, picks, count, y);
        }
    }

    @Override
    public void close() {
        owned.forEach(DeviceBuffer::close);
    }
}
