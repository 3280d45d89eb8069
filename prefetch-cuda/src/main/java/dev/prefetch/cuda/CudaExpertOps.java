package dev.prefetch.cuda;

import static dev.prefetch.backend.OpsChecks.checkCount;
import static dev.prefetch.backend.OpsChecks.checkPositive;
import static dev.prefetch.backend.OpsChecks.checkVector;
import static dev.prefetch.backend.OpsChecks.floats;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.ExpertChoice;
import dev.prefetch.backend.ExpertOps;
import dev.prefetch.backend.Weight;
import dev.prefetch.backend.WeightTable;
import dev.prefetch.gguf.GgmlType;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** Checks the arguments of what belongs to experts and launches the kernels, as {@link CudaOps} does for the rest. */
final class CudaExpertOps implements ExpertOps {

    /** So many probabilities, ranks and scores of groups fit the shared memory that every block gets. */
    private static final int MOST_EXPERTS = 1024;

    private static final int ADDRESS_BYTES = 8;

    private final CudaOps ops;
    private final KernelModules kernels;
    private final Launcher launcher;
    private final ArgumentRing ring;

    CudaExpertOps(CudaOps ops, KernelModules kernels, Launcher launcher, ArgumentRing ring) {
        this.ops = ops;
        this.kernels = kernels;
        this.launcher = launcher;
        this.ring = ring;
    }

    @Override
    public int mostExperts() {
        return MOST_EXPERTS;
    }

    @Override
    public void choose(ExpertChoice how, DeviceBuffer scores, @Nullable Weight bias, int rows, DeviceBuffer picks) {
        if (how.experts() > MOST_EXPERTS) {
            throw new IllegalArgumentException(
                    "the CUDA backend chooses among at most " + MOST_EXPERTS + " experts, not " + how.experts());
        }
        checkCount(rows, Integer.MAX_VALUE, "rows");
        long source = ops.address(scores, floats(rows, how.experts()), "scores");
        long chosen = ops.address(picks, floats(2L * rows, how.used()), "picks");
        long added = bias == null ? 0 : plainVector(bias, how.experts());
        if (rows == 0) {
            return;
        }
        launcher.begin().arg(source).arg(added).arg(chosen).arg(chosen + floats(rows, how.used()));
        launcher.arg(how.experts()).arg(how.used()).arg(how.sigmoid() ? 1 : 0).arg(how.normalised() ? 1 : 0);
        launcher.arg(how.scale()).arg(how.groups()).arg(how.groupsUsed());
        int sharedBytes = Double.BYTES * (2 * how.experts() + how.groups()) + Integer.BYTES * how.used();
        launcher.launch(kernels.chooseExperts, rows, 1, 1, 32, sharedBytes);
    }

    private long plainVector(Weight bias, int dim) {
        checkVector(bias, dim, "bias");
        if (bias.type() != GgmlType.F32) {
            throw new IllegalArgumentException("a bias of the choice must be F32 but is " + bias.type());
        }
        return ops.weight(bias);
    }

    @Override
    public WeightTable tabulate(List<Weight> weights, DeviceBuffer addresses, long offset) {
        Weight first = weights.getFirst();
        int cols = Math.toIntExact(first.cols());
        long bytes = (long) ADDRESS_BYTES * weights.size();
        long target = ops.own(addresses, "addresses").range(offset, bytes);
        if (target % ADDRESS_BYTES != 0) {
            throw new IllegalArgumentException("addresses must start at a multiple of 8 bytes, not at " + offset);
        }
        long[] values = new long[weights.size()];
        boolean wide = true;
        for (int i = 0; i < values.length; i++) {
            Weight weight = weights.get(i);
            if (weight.type() != first.type() || weight.rows() != first.rows() || weight.cols() != first.cols()) {
                throw new IllegalArgumentException("weights of a table must be alike but are " + first.type() + " "
                        + first.rows() + " x " + first.cols() + " and " + weight.type() + " " + weight.rows() + " x "
                        + weight.cols());
            }
            values[i] = ops.weight(weight);
            wide &= CudaOps.wide(weight.type(), values[i], cols) != 0;
        }
        ring.copy(values, values.length, target);
        return new WeightTable(
                first.type(), Math.toIntExact(first.rows()), cols, values.length, wide, addresses, offset);
    }

    @Override
    public void matmul(WeightTable table, DeviceBuffer picks, DeviceBuffer x, int perInput, int count, DeviceBuffer y) {
        checkPositive(perInput, "picks per input");
        checkCount(count, Integer.MAX_VALUE, "picks");
        long chosen = ops.address(picks, floats(1, count), "picks");
        long input = ops.address(x, floats(Math.ceilDiv(count, perInput), table.cols()), "x");
        long output = ops.address(y, floats(count, table.rows()), "y");
        long addresses = addresses(table);
        if (count == 0) {
            return;
        }
        launcher.begin().arg(addresses).arg(chosen).arg(perInput).arg(input).arg(output);
        launcher.arg(table.rows()).arg(table.cols()).arg(table.wide() ? 1 : 0);
        launcher.launch(
                Objects.requireNonNull(kernels.matvecPicked.get(table.type())),
                Math.ceilDiv(table.rows(), CudaOps.MATVEC_ROWS),
                count,
                CudaOps.matvecThreads(table.cols()));
    }

    private long addresses(WeightTable table) {
        return ops.own(table.addresses(), "addresses").range(table.offset(), (long) ADDRESS_BYTES * table.count());
    }

    @Override
    public void addBias(WeightTable biases, DeviceBuffer picks, int count, DeviceBuffer y) {
        if (biases.rows() != 1 || biases.type() != GgmlType.F32) {
            throw new IllegalArgumentException(
                    "biases must be vectors of F32 but are " + biases.type() + " of " + biases.rows() + " rows");
        }
        checkCount(count, Integer.MAX_VALUE, "picks");
        long chosen = ops.address(picks, floats(1, count), "picks");
        long target = ops.address(y, floats(count, biases.cols()), "y");
        long addresses = addresses(biases);
        if (count > 0) {
            launcher.begin().arg(target).arg(addresses).arg(chosen).arg(biases.cols());
            launcher.launch(kernels.addPickedBias, Math.ceilDiv(biases.cols(), 256), count, 256);
        }
    }

    @Override
    public void addResults(DeviceBuffer x, DeviceBuffer picks, int used, int rows, int dim, DeviceBuffer target) {
        checkPositive(used, "experts of a row");
        checkPositive(dim, "dim");
        checkCount(rows, Integer.MAX_VALUE, "rows");
        long picked = floats(rows, used);
        long weights = ops.address(picks, 2 * picked, "picks") + picked;
        long source = ops.address(x, Math.multiplyExact(picked, (long) dim), "x");
        long sums = ops.address(target, floats(rows, dim), "target");
        if (rows > 0) {
            launcher.begin().arg(source).arg(weights).arg(sums).arg(used).arg(dim);
            launcher.launch(kernels.addPicked, Math.ceilDiv(dim, 256), rows, 256);
        }
    }

    @Override
    public void addByScore(DeviceBuffer x, DeviceBuffer scores, int rows, int dim, DeviceBuffer target) {
        checkPositive(dim, "dim");
        checkCount(rows, Integer.MAX_VALUE, "rows");
        long source = ops.address(x, floats(rows, dim), "x");
        long factors = ops.address(scores, floats(1, rows), "scores");
        long sums = ops.address(target, floats(rows, dim), "target");
        if (rows > 0) {
            launcher.begin().arg(source).arg(factors).arg(sums).arg(dim);
            launcher.launch(kernels.addByScore, Math.ceilDiv(dim, 256), rows, 256);
        }
    }
}
