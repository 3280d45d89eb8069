package dev.prefetch.backend;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Operations of a device that chooses the experts of a mixture itself, so that the host need not wait for the router's
 * scores. What {@link Ops} says of its operations holds here.
 *
 * <p><em>Picks</em> are a buffer with the numbers of the chosen experts as 32-bit integers, {@code [rows x used]}, in
 * ascending order within a row, followed by their weights, f32, in the same order.
 */
public interface ExpertOps {

    /** Most experts of a layer that it chooses among. */
    int mostExperts();

    /**
     * Chooses the experts of every row.
     *
     * @param scores {@code [rows x how.experts()]}
     * @param bias a vector of f32 that is added for the choice alone, or null for none
     * @param picks gets {@code 2 x rows x how.used()} words
     */
    void choose(ExpertChoice how, DeviceBuffer scores, @Nullable Weight bias, int rows, DeviceBuffer picks);

    /**
     * Notes where weights lie, which must stay there as long as the table is used.
     *
     * @param weights of one shape and format
     * @param addresses gets 8 bytes for each
     * @throws IllegalArgumentException when they differ in shape or format
     */
    WeightTable tabulate(List<Weight> weights, DeviceBuffer addresses, long offset);

    /**
     * {@code y[i] = x[i / perInput] * w^T} with the weight that pick {@code i} names, for {@code i < count}, with the bits
     * of the decode kernels: {@code y [count x table.rows]}.
     */
    void matmul(WeightTable table, DeviceBuffer picks, DeviceBuffer x, int perInput, int count, DeviceBuffer y);

    /** {@code y[i] += bias} with the vector of f32 that pick {@code i} names; {@code y [count x biases.cols]}. */
    void addBias(WeightTable biases, DeviceBuffer picks, int count, DeviceBuffer y);

    /**
     * Adds to every row of {@code target [rows x dim]} its {@code used} rows of {@code x [rows x used x dim]} by the weights
     * of the picks, in ascending order of experts.
     */
    void addResults(DeviceBuffer x, DeviceBuffer picks, int used, int rows, int dim, DeviceBuffer target);

    /** {@code target[i] += sigmoid(scores[i]) * x[i]} for {@code i < rows}, rows of {@code dim} elements. */
    void addByScore(DeviceBuffer x, DeviceBuffer scores, int rows, int dim, DeviceBuffer target);
}
