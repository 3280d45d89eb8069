package dev.prefetch.backend;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The operations of a forward pass. Activations are f32, row-major, one row per token, in buffers of the same device;
 * {@code count} says how many rows take part, so a buffer may be larger. Operations are queued on the stream they belong
 * to and see the results of earlier ones. Input and output must not overlap unless a method says so.
 *
 * <p>Sizes are the caller's responsibility and are checked against the buffers: {@link IndexOutOfBoundsException} when
 * one does not fit, {@link IllegalArgumentException} when shapes contradict each other or a weight's type is unsupported.
 *
 * <p>The result of a row never depends on where the weights lie or on the values of the other rows.
 */
public interface Ops {

    /** Most elements of a row that {@link #topK} finds. */
    int MOST_TOP_K = 64;

    /** {@code out[i] = table[tokens[i]]} for {@code i < count}; {@code out} is {@code [count x table.cols]}. */
    void embed(Weight table, int[] tokens, int count, DeviceBuffer out);

    /**
     * {@code y = x * w^T}: {@code x [count x w.cols]}, {@code y [count x w.rows]}. Rows {@code 0 .. decodeRows} are
     * computed by the decode kernels, which read weights at the speed of memory, the others by the prefill kernels, which
     * reuse each weight for many rows; for some formats they are the same. Which one serves a row is the caller's choice, never
     * the batch's size, so that a row's result is the same in every batch.
     */
    void matmul(Weight weight, DeviceBuffer x, int decodeRows, int count, DeviceBuffer y);

    /** Several products of the same input, which a backend may run as one. */
    default void matmuls(List<Weight> weights, DeviceBuffer x, int decodeRows, int count, List<DeviceBuffer> ys) {
        for (int i = 0; i < weights.size(); i++) {
            matmul(weights.get(i), x, decodeRows, count, ys.get(i));
        }
    }

    /**
     * The matrices of several parts, each times that part of every row: {@code y[i][p] = x[i][p] * w[p]^T}, the same bits as
     * {@link #matmul} of a part alone.
     *
     * @param all the matrices, one below the other
     * @param parts how many they are
     * @param x {@code [count x parts x xWidth]}, of whose parts the first {@code all.cols} elements are read
     * @param y {@code [count x parts x yWidth]}, of whose parts the first {@code all.rows / parts} elements are written
     * @param partOfX {@code [count x all.cols]}, what a backend may need meanwhile
     * @param partOfY {@code [count x all.rows / parts]}, too
     */
    default void matmulParts(
            Weight all,
            int parts,
            DeviceBuffer x,
            int xWidth,
            int decodeRows,
            int count,
            DeviceBuffer y,
            int yWidth,
            DeviceBuffer partOfX,
            DeviceBuffer partOfY) {
        OpsChecks.checkParts(all, parts, xWidth, yWidth);
        int cols = Math.toIntExact(all.cols());
        int rows = Math.toIntExact(all.rows() / parts);
        for (int part = 0; part < parts; part++) {
            copyColumns(x, (long) part * xWidth, parts * xWidth, partOfX, 0, cols, cols, count);
            matmul(all.part(part, parts), partOfX, decodeRows, count, partOfY);
            copyColumns(partOfY, 0, rows, y, (long) part * yWidth, parts * yWidth, rows, count);
        }
    }

    /**
     * {@code y[i] += bias} for every row; {@code y [count x bias.cols]}.
     *
     * @param bias a vector, or null for none, which changes nothing
     */
    void addBias(DeviceBuffer y, int count, @Nullable Weight bias);

    /**
     * Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467) of {@code rows} rows of {@code dim}
     * elements: {@code out = x / sqrt(mean(x^2) + epsilon) * gain}. {@code out} may be {@code x}.
     *
     * @param gain a vector of {@code dim} elements, or null for none
     */
    void rmsNorm(DeviceBuffer x, int rows, int dim, @Nullable Weight gain, float epsilon, DeviceBuffer out);

    /**
     * Layer normalisation (Ba et al. 2016, arXiv 1607.06450) of {@code rows} rows of {@code dim} elements:
     * {@code out = (x - mean(x)) / sqrt(variance(x) + epsilon) * gain + bias}. {@code out} may be {@code x}. Only where
     * {@link BackendProvider#supportsEncoders}.
     *
     * @param gain a vector of {@code dim} elements
     * @param bias a vector of {@code dim} elements
     */
    default void layerNorm(
            DeviceBuffer x, int rows, int dim, Weight gain, Weight bias, float epsilon, DeviceBuffer out) {
        throw new UnsupportedOperationException("layerNorm");
    }

    /** Rotates {@code x [count x heads x headDim]} in place; row {@code i} is at {@code positions[i]}. */
    void rope(DeviceBuffer x, int count, int heads, int headDim, Rope rope, int[] positions);

    /**
     * Writes rows {@code firstRow .. firstRow + count} of {@code k [.. x kvHeads x keyDim]} and
     * {@code v [.. x kvHeads x valueDim]} to the positions {@code position ..} of a cache, converted to
     * {@link KvLayer#type()}: {@code F16} rounds to nearest even, {@code Q8_0} as the reference quantisation of ggml.
     */
    void storeKv(
            AttentionShape shape, KvLayer cache, DeviceBuffer k, DeviceBuffer v, int firstRow, int count, int position);

    /**
     * Attention of rows {@code firstRow .. firstRow + count} of {@code q [.. x heads x keyDim]}, which stand at the
     * positions {@code position ..} and see everything up to themselves; {@code out [.. x heads x valueDim]}, same rows.
     * Where the shape is not {@linkplain AttentionShape#causal() causal} each of them sees everything up to the last of
     * them.
     */
    void attention(
            AttentionShape shape,
            KvLayer cache,
            DeviceBuffer q,
            int firstRow,
            int count,
            int position,
            DeviceBuffer out);

    /**
     * {@link #attention} in which every head has one score more that belongs to no position: it takes its part of the
     * softmax and gives no value (Xiao et al. 2023, arXiv 2309.17453, learnt).
     *
     * @param sinks a vector of {@code shape.heads()} scores
     */
    void attentionWithSinks(
            AttentionShape shape,
            KvLayer cache,
            DeviceBuffer q,
            Weight sinks,
            int firstRow,
            int count,
            int position,
            DeviceBuffer out);

    /** {@code gate = silu(gate) * up}, {@code n} elements, in place. */
    void swiGlu(DeviceBuffer gate, DeviceBuffer up, long n);

    /**
     * {@code gate = gelu(gate) * up}, {@code n} elements, in place; gelu in its approximation by the hyperbolic tangent
     * (Hendrycks and Gimpel 2016, arXiv 1606.08415).
     */
    void geGlu(DeviceBuffer gate, DeviceBuffer up, long n);

    /** {@code x = gelu(x)}, {@code n} elements, as in {@link #geGlu}; only where {@link BackendProvider#supportsEncoders}. */
    default void gelu(DeviceBuffer x, long n) {
        throw new UnsupportedOperationException("gelu");
    }

    /**
     * The activation of gpt-oss, {@code n} elements, in place: with {@code g = min(gate, limit)} and {@code u} clamped to
     * {@code -limit .. limit}, {@code gate = g * sigmoid(slope * g) * (u + 1)}.
     */
    void clampedSwiGlu(DeviceBuffer gate, DeviceBuffer up, float slope, float limit, long n);

    /** {@code x *= sigmoid(gate)}, {@code n} elements; only where {@link Device#supportsDeltaRule}. */
    default void sigmoidGate(DeviceBuffer x, DeviceBuffer gate, long n) {
        throw new UnsupportedOperationException("sigmoidGate");
    }

    /**
     * Convolves every channel of a sequence over its own last positions and applies SiLU: for the rows {@code t} from
     * {@code firstRow} on, {@code out[t][c] = silu(sum over j of weights[c][j] * x[t - K + 1 + j][c])} with
     * {@code K = shape.kernel()}. Only where {@link Device#supportsDeltaRule}.
     *
     * <p>The rows before the first are read from the state, {@code [(K - 1) x channels]}, oldest first, which then holds the
     * last rows there are. At position 0 they are zero whatever the state holds. A row's result does not depend on how the
     * sequence is cut into calls.
     *
     * @param weights {@code [channels x K]}, F32
     * @param state holds the rows from byte {@code stateOffset} on
     * @param x {@code [.. x channels]}
     * @param position of the first row
     * @param out {@code [.. x channels]}, same rows
     */
    default void causalConvolution(
            DeltaShape shape,
            Weight weights,
            DeviceBuffer state,
            long stateOffset,
            DeviceBuffer x,
            int firstRow,
            int count,
            int position,
            DeviceBuffer out) {
        throw new UnsupportedOperationException("causalConvolution");
    }

    /**
     * The gated delta rule (Yang et al. 2024, arXiv 2412.06464), position by position. Every value head has a matrix
     * {@code S [headDim x headDim]}, of keys by values. With the query {@code q} and the key {@code k} of its key head,
     * each divided by its length (or by {@code epsilon} where that is more), its value {@code v},
     * {@code g = exp(decay * softplus(alpha + decayBias))} and {@code b = sigmoid(beta)}:
     *
     * <pre>
     * S = g S + k (b (v - g S^T k))^T
     * out = S^T q / sqrt(headDim)
     * </pre>
     *
     * <p>Only where {@link Device#supportsDeltaRule}. At position 0 all matrices are zero whatever the state holds. A row's
     * result does not depend on how the sequence is cut into calls.
     *
     * @param state holds the matrices, {@code [valueHeads x headDim x headDim]}, f32, from byte {@code stateOffset} on, and
     *     those behind the last row afterwards
     * @param qkv {@code [.. x channels]}: queries, keys, values
     * @param alpha {@code [.. x valueHeads]}
     * @param beta {@code [.. x valueHeads]}
     * @param decay a vector of {@code valueHeads}, F32
     * @param decayBias a vector of {@code valueHeads}, F32
     * @param position of the first row
     * @param out {@code [.. x valueHeads x headDim]}, same rows
     */
    default void gatedDeltaRule(
            DeltaShape shape,
            float epsilon,
            DeviceBuffer state,
            long stateOffset,
            DeviceBuffer qkv,
            DeviceBuffer alpha,
            DeviceBuffer beta,
            Weight decay,
            Weight decayBias,
            int firstRow,
            int count,
            int position,
            DeviceBuffer out) {
        throw new UnsupportedOperationException("gatedDeltaRule");
    }

    /** {@code x *= factor}, {@code n} elements. */
    void scale(DeviceBuffer x, float factor, long n);

    /** {@code x = cap * tanh(x / cap)}, {@code n} elements. */
    void softCap(DeviceBuffer x, float cap, long n);

    /** {@code x += y}, {@code n} elements. */
    void add(DeviceBuffer x, DeviceBuffer y, long n);

    /** {@code out[i] = x[rows[i]]} for {@code i < count}, rows of {@code dim} elements. */
    void gatherRows(DeviceBuffer x, int[] rows, int count, int dim, DeviceBuffer out);

    /**
     * Copies columns: for {@code i < rows}, {@code width} elements from {@code source[sourceOffset + i * sourceStride]} on
     * to {@code target[targetOffset + i * targetStride]} on. All but the buffers are numbers of elements. Source and target
     * are different buffers, or what is copied does not overlap.
     *
     * @throws IndexOutOfBoundsException when a row leaves its buffer
     */
    void copyColumns(
            DeviceBuffer source,
            long sourceOffset,
            int sourceStride,
            DeviceBuffer target,
            long targetOffset,
            int targetStride,
            int width,
            int rows);

    /**
     * Copies bytes between buffers, or parts of a buffer that do not overlap.
     *
     * @throws IndexOutOfBoundsException when a range leaves its buffer
     */
    void copy(DeviceBuffer source, long sourceOffset, DeviceBuffer target, long targetOffset, long bytes);

    /**
     * {@code target[rows[i]] += factors[i] * x[i]} for {@code i < count}, rows of {@code dim} elements, in ascending order
     * of {@code i}.
     */
    void scatterAddRows(DeviceBuffer x, int[] rows, float[] factors, int count, int dim, DeviceBuffer target);

    /**
     * The {@code k} largest of each row in descending order, equal ones by ascending index. A NaN counts as larger than
     * anything, so that it does not go unnoticed. Unless a backend can do better, the rows pass through the host.
     *
     * @param x rows of {@code stride} elements, of which the first {@code n} count
     * @param k at least 1, at most {@code n} and {@link #MOST_TOP_K}
     * @param values {@code [rows x k]}, f32
     * @param indices {@code [rows x k]}, 32-bit integers
     */
    default void topK(DeviceBuffer x, int rows, int stride, int n, int k, DeviceBuffer values, DeviceBuffer indices) {
        HostTopK.run(x, rows, stride, n, k, values, indices);
    }

    /** What a device needs that chooses experts itself; null where the host chooses. */
    default @Nullable ExpertOps experts() {
        return null;
    }
}
