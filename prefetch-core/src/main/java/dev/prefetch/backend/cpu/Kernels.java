package dev.prefetch.backend.cpu;

import dev.prefetch.gguf.GgmlType;

/**
 * One set of compute kernels. Arguments are absolute addresses and sizes that the caller has checked; activations are f32.
 * Implementations are stateless and thread-safe, and never read or write outside
 * the ranges they are given.
 */
interface Kernels {

    /** Lanes that {@link #multiplyLanes} and {@link #softmaxLanes} treat at once. */
    int tileTokens();

    /** The name for logs. */
    String name();

    /**
     * How {@link #matvec} wants {@code count} rows of {@code cols} activations for that weight type: types with the same answer share the
     * prepared activations. {@link ActivationForm#PLAIN} needs no preparation.
     */
    ActivationForm activationForm(GgmlType type, int cols, int count);

    /** Bytes between the beginnings of prepared rows of {@code cols} activations. */
    long activationStride(ActivationForm form, int cols);

    /** Bytes of {@code count} prepared rows of {@code cols} activations. */
    default long activationBytes(ActivationForm form, int cols, int count) {
        return activationStride(form, cols) * count;
    }

    /**
     * Prepares the row {@code x} of {@code cols} activations as one of {@code count}.
     *
     * @param row which of them it is
     * @param activations 64-byte aligned memory of {@link #activationBytes} for all of them
     */
    void prepare(ActivationForm form, long x, int cols, int row, int count, long activations);

    /** Scratch bytes that {@link #matvec} needs. */
    long matvecScratchBytes(int cols);

    /**
     * {@code y[t][r] = weights[r] . x[t]} for {@code rows} consecutive rows, or two times as many, and {@code count} rows of activations. Every
     * result has the same bits whatever {@code rows}, {@code apart} and {@code count} are and wherever the weights lie.
     *
     * @param packed whether the weights are packed, see {@link #packs}; then the first row is the first of a group
     * @param apart 0, or what {@link #apart} says for the matrix: then as many rows that begin so many behind the first ones are multiplied too
     * @param activations the first prepared row, or the first plain row for {@link ActivationForm#PLAIN}
     * @param activationStride bytes between the rows of activations: {@link #activationStride} if they are prepared
     * @param yStride bytes between the rows of results
     * @param scratch {@link #matvecScratchBytes} bytes, 64-byte aligned
     */
    void matvec(
            GgmlType type,
            long weights,
            boolean packed,
            int rows,
            int apart,
            int cols,
            long activations,
            long activationStride,
            int count,
            long y,
            long yStride,
            long scratch);

    /**
     * How many rows behind a row of a matrix is the one that {@link #matvec} wants to multiply at the same time: two streams from memory, far from each other, are
     * read faster than one. So many rows, and those behind them, are then multiplied together, a whole number of packed groups at a time; rows beyond two times as
     * many by themselves. 0 if it wants none.
     */
    default int apart(GgmlType type, boolean packed, int rows) {
        return 0;
    }

    /**
     * How many of {@code rows} rows of activations, the first ones, are multiplied by {@link #matvec}, the others by
     * {@link #matmul}. Anything but {@code decodeRows} only where both, or {@link #matvec} alone, give the same bits to all.
     */
    default int matvecRows(GgmlType type, int cols, int decodeRows, int rows) {
        return decodeRows;
    }

    /** Whether {@link #matvec} and {@link #matmul} are faster with a matrix of that shape when it is packed. */
    default boolean packs(GgmlType type, long rows, long cols) {
        return false;
    }

    /** Packs a matrix in place: its size stays the same. */
    default void pack(GgmlType type, long weights, long rows, int cols) {
        throw new UnsupportedOperationException("these kernels pack no weights: " + type);
    }

    /** Expands {@code elements} weights (whole blocks) to f32. */
    void expand(GgmlType type, long weights, int elements, long out);

    /**
     * Packs {@code depth} columns of {@code tokens} (at most {@code width}) rows, {@code xStride} bytes apart, to
     * {@code [depth x width]}; absent tokens become zero.
     */
    void packTokens(long x, long xStride, int tokens, int width, int depth, long packed);

    /**
     * Tokens of the tiles that {@link #matmul} wants for a product of that shape; it takes those of another one as well, if they are wider.
     *
     * @param packedWeights whether the weights are packed, see {@link #packs}
     */
    int matmulTokens(GgmlType type, boolean packedWeights, int rows, int tokens);

    /** Scratch bytes that {@link #matmul} needs. */
    long matmulScratchBytes(int tokens);

    /**
     * {@code y[t][r] = sum over k of weights[r][k] * x[t][k]} for {@code rows} consecutive rows of weights, which it expands
     * to f32, and {@code tokens} rows of activations. Every sum runs in ascending order of {@code k}, so its bits do not depend
     * on {@code rows} and {@code tokens}.
     *
     * @param packedWeights whether the weights are packed, see {@link #packs}; then the first row is the first of a group
     * @param following how many rows behind these will be wanted next: they may be read ahead
     * @param packed the activations in tiles, {@code [tile][cols][tileTokens]}, see {@link #packTokens}
     * @param tileTokens see {@link #matmulTokens}
     * @param yStride bytes between the rows of results
     * @param scratch {@link #matmulScratchBytes} bytes, 64-byte aligned
     */
    void matmul(
            GgmlType type,
            long weights,
            boolean packedWeights,
            int rows,
            int following,
            int cols,
            long packed,
            int tileTokens,
            int tokens,
            long y,
            long yStride,
            long scratch);

    /** {@code x += y}. */
    void add(long x, long y, long n);

    /** {@code x += factor * y}. */
    void addScaled(long x, long y, float factor, int n);

    /** {@code gate = silu(gate) * up}; an element's result does not depend on its place. */
    void swiGlu(long gate, long up, long n);

    /** {@code gate = gelu(gate) * up} by the tanh approximation; an element's result does not depend on its place. */
    void geGlu(long gate, long up, long n);

    /** {@code x = gelu(x)} as in {@link #geGlu}; an element's result does not depend on its place. */
    void gelu(long x, long n);

    /** See {@link dev.prefetch.backend.Ops#clampedSwiGlu}; an element's result does not depend on its place. */
    void clampedSwiGlu(long gate, long up, float slope, float limit, long n);

    /** {@code x = silu(x)}; an element's result does not depend on its place. */
    void silu(long x, long n);

    /** {@code x *= sigmoid(gate)}; an element's result does not depend on its place. */
    void sigmoidGate(long x, long gate, long n);

    /** {@code x += a * b}. */
    void addProduct(long x, long a, long b, int n);

    /**
     * One step of the delta rule of one head: with the matrix {@code S [dim x dim]}, {@code d = beta * (v - decay * S^T k)},
     * {@code S = decay * S + k d^T}, {@code out = S^T q}.
     */
    void deltaStep(long matrix, int dim, long q, long k, long v, float decay, float beta, long out);

    /** Root-mean-square normalisation of one row; {@code gain} is 0 for none. */
    void rmsNorm(long x, int dim, long gain, float epsilon, long out);

    /** Layer normalisation of one row. */
    void layerNorm(long x, int dim, long gain, long bias, float epsilon, long out);

    /** Rotates the pairs (i, i + pairs) by the angles whose cosines and sines are {@code table = [cos x pairs, sin x pairs]}. */
    void rotateHalves(long x, int pairs, long table);

    /**
     * Rotates the pairs (2i, 2i + 1); {@code table = [cos, sin]}, each of {@code 2 * pairs} elements with every cosine
     * twice and every sine once negated, once not.
     */
    void rotateAdjacent(long x, int pairs, long table);

    /**
     * {@code scores[j] = scale * (q . k[j])}, keys {@code dim} floats apart. Here and in {@link #expAndSum} the
     * memory of the scores reaches to their number rounded up to a multiple of 16; what lies beyond the number is undefined
     * afterwards.
     */
    void scores(long q, long k, int positions, int dim, float scale, long scores);

    /** {@code scores[j] = cap * tanh(scores[j] / cap)}. */
    void softCap(long scores, int n, float cap);

    /** Largest score; {@code n} at least 1. */
    float max(long scores, int n);

    /** {@code scores[j] = exp(scores[j] - max)}; returns the sum. */
    float expAndSum(long scores, int n, float max);

    /** {@code out = out * factor + sum over j of weights[j] * v[j]}, values {@code dim} floats apart. */
    void accumulate(long weights, long v, int positions, int dim, float factor, long out);

    /**
     * {@code c[r][t] (+)= sum over k of w[r][k] * x[k][t]} for {@link #tileTokens} lanes {@code t}, in ascending order of
     * {@code k}.
     *
     * @param wRow bytes between rows of {@code w}
     * @param wCol bytes between its columns
     * @param xStride bytes between rows of {@code x}
     * @param cStride bytes between rows of {@code c}
     * @param lanes how many of the lanes count; the others, which are there all the same, are undefined afterwards
     * @param accumulate whether to start from {@code c} instead of zero
     */
    void multiplyLanes(
            long w,
            long wRow,
            long wCol,
            int rows,
            int depth,
            long x,
            long xStride,
            long c,
            long cStride,
            int lanes,
            boolean accumulate);

    /**
     * Takes a block of positions into the running softmax of {@link #tileTokens} lanes: with
     * {@code m = max(maximum, scale * score[j])}, {@code weight[j] = exp(scale * score[j] - m)},
     * {@code factor = exp(maximum - m)}, {@code sum = sum * factor + the weights}, {@code maximum = m}. A lane's results do
     * not depend on the others.
     *
     * @param scores {@code [positions x tileTokens]}
     * @param limits how many of the positions each lane sees, as floats; the weights of the others are 0. An address of 0
     *     when all see all
     * @param factors {@code [tileTokens]}, what is to be multiplied with what was found before
     * @param lanes how many of the lanes count
     * @param weights {@code [positions x tileTokens]}; may be {@code scores}
     */
    void softmaxLanes(
            long scores,
            int positions,
            float scale,
            long limits,
            long maxima,
            long sums,
            long factors,
            int lanes,
            long weights);

    /** {@code out = x * factor}; {@code out} may be {@code x}. */
    void scale(long x, int n, float factor, long out);
}
