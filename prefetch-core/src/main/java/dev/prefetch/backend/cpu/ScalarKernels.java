package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.getFloat;
import static dev.prefetch.backend.cpu.Memory.putFloat;

import dev.prefetch.gguf.GgmlType;

/**
 * Kernels in plain Java: what serves without the Vector API, and the oracle of the tests of every other set. Weights are
 * expanded to f32 and activations stay f32, so nothing is lost but the rounding of the sums.
 */
final class ScalarKernels implements Kernels {

    private static final int TILE_TOKENS = 16;

    /** Columns that are expanded at a time. */
    private static final int CHUNK = 256;

    /** {@code sqrt(2 / pi)} of the tanh approximation of gelu. */
    static final double GELU_SCALE = 0.79788456080286535588;

    /** Weight of the cube in it. */
    static final double GELU_CUBE = 0.044715;

    @Override
    public String name() {
        return "scalar";
    }

    @Override
    public int tileTokens() {
        return TILE_TOKENS;
    }

    @Override
    public ActivationForm activationForm(GgmlType type, int cols, int count) {
        return ActivationForm.PLAIN;
    }

    @Override
    public long activationStride(ActivationForm form, int cols) {
        return 4L * cols;
    }

    @Override
    public void prepare(ActivationForm form, long x, int cols, int row, int count, long activations) {
        Memory.copy(x, activations + activationStride(form, cols) * row, 4L * cols);
    }

    @Override
    public long matvecScratchBytes(int cols) {
        return 4L * cols;
    }

    @Override
    public void matvec(
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
            long scratch) {
        long rowBytes = type.byteSize(cols);
        for (int r = 0; r < rows; r++) {
            ScalarDequantizer.expand(type, weights + r * rowBytes, cols, scratch);
            for (int t = 0; t < count; t++) {
                putFloat(y + yStride * t + 4L * r, dot(scratch, activations + activationStride * t, cols));
            }
        }
    }

    /** Four partial sums: they hide the latency of addition and keep the rounding error of long rows small. */
    private static float dot(long a, long b, int n) {
        float s0 = 0;
        float s1 = 0;
        float s2 = 0;
        float s3 = 0;
        int i = 0;
        for (; i + 4 <= n; i += 4) {
            long at = 4L * i;
            s0 += getFloat(a + at) * getFloat(b + at);
            s1 += getFloat(a + at + 4) * getFloat(b + at + 4);
            s2 += getFloat(a + at + 8) * getFloat(b + at + 8);
            s3 += getFloat(a + at + 12) * getFloat(b + at + 12);
        }
        for (; i < n; i++) {
            s0 += getFloat(a + 4L * i) * getFloat(b + 4L * i);
        }
        return (s0 + s1) + (s2 + s3);
    }

    @Override
    public void expand(GgmlType type, long weights, int elements, long out) {
        ScalarDequantizer.expand(type, weights, elements, out);
    }

    @Override
    public void packTokens(long x, long xStride, int tokens, int width, int depth, long packed) {
        for (int k = 0; k < depth; k++) {
            for (int t = 0; t < width; t++) {
                float value = t < tokens ? getFloat(x + t * xStride + 4L * k) : 0;
                putFloat(packed + 4L * (k * width + t), value);
            }
        }
    }

    @Override
    public int matmulTokens(GgmlType type, boolean packedWeights, int rows, int tokens) {
        return TILE_TOKENS;
    }

    @Override
    public long matmulScratchBytes(int tokens) {
        return 4L * CHUNK;
    }

    @Override
    public void matmul(
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
            long scratch) {
        float[] sums = new float[TILE_TOKENS];
        for (int r = 0; r < rows; r++) {
            for (int col = 0; col < cols; col += CHUNK) {
                int depth = Math.min(CHUNK, cols - col);
                expand(type, weights + type.byteSize(cols) * r + type.byteSize(col), depth, scratch);
                for (int first = 0; first < tokens; first += TILE_TOKENS) {
                    int present = Math.min(TILE_TOKENS, tokens - first);
                    long out = y + yStride * first + 4L * r;
                    for (int t = 0; t < present; t++) {
                        sums[t] = col > 0 ? getFloat(out + yStride * t) : 0;
                    }
                    addProducts(scratch, depth, packed + 4L * ((long) cols * first + (long) TILE_TOKENS * col), sums);
                    for (int t = 0; t < present; t++) {
                        putFloat(out + yStride * t, sums[t]);
                    }
                }
            }
        }
    }

    private static void addProducts(long weights, int depth, long packed, float[] sums) {
        for (int k = 0; k < depth; k++) {
            float w = getFloat(weights + 4L * k);
            for (int t = 0; t < TILE_TOKENS; t++) {
                sums[t] += w * getFloat(packed + 4L * (k * TILE_TOKENS + t));
            }
        }
    }

    @Override
    public void add(long x, long y, long n) {
        for (long i = 0; i < n; i++) {
            putFloat(x + 4 * i, getFloat(x + 4 * i) + getFloat(y + 4 * i));
        }
    }

    @Override
    public void addScaled(long x, long y, float factor, int n) {
        for (int i = 0; i < n; i++) {
            putFloat(x + 4L * i, getFloat(x + 4L * i) + factor * getFloat(y + 4L * i));
        }
    }

    @Override
    public void swiGlu(long gate, long up, long n) {
        for (long i = 0; i < n; i++) {
            float g = getFloat(gate + 4 * i);
            putFloat(gate + 4 * i, (float) (g / (1 + Math.exp(-g))) * getFloat(up + 4 * i));
        }
    }

    @Override
    public void geGlu(long gate, long up, long n) {
        for (long i = 0; i < n; i++) {
            putFloat(gate + 4 * i, gelu(getFloat(gate + 4 * i)) * getFloat(up + 4 * i));
        }
    }

    @Override
    public void gelu(long x, long n) {
        for (long i = 0; i < n; i++) {
            putFloat(x + 4 * i, gelu(getFloat(x + 4 * i)));
        }
    }

    private static float gelu(double x) {
        return (float) (0.5 * x * (1 + Math.tanh(GELU_SCALE * x * (1 + GELU_CUBE * x * x))));
    }

    @Override
    public void clampedSwiGlu(long gate, long up, float slope, float limit, long n) {
        for (long i = 0; i < n; i++) {
            float g = Math.min(getFloat(gate + 4 * i), limit);
            float u = Math.clamp(getFloat(up + 4 * i), -limit, limit);
            putFloat(gate + 4 * i, (float) (g / (1 + Math.exp(-slope * g))) * (u + 1));
        }
    }

    @Override
    public void silu(long x, long n) {
        for (long i = 0; i < n; i++) {
            float v = getFloat(x + 4 * i);
            putFloat(x + 4 * i, (float) (v / (1 + Math.exp(-v))));
        }
    }

    @Override
    public void sigmoidGate(long x, long gate, long n) {
        for (long i = 0; i < n; i++) {
            putFloat(x + 4 * i, (float) (getFloat(x + 4 * i) / (1 + Math.exp(-getFloat(gate + 4 * i)))));
        }
    }

    @Override
    public void addProduct(long x, long a, long b, int n) {
        for (int i = 0; i < n; i++) {
            putFloat(x + 4L * i, getFloat(x + 4L * i) + getFloat(a + 4L * i) * getFloat(b + 4L * i));
        }
    }

    @Override
    public void deltaStep(long matrix, int dim, long q, long k, long v, float decay, float beta, long out) {
        for (int j = 0; j < dim; j++) {
            float found = 0;
            for (int i = 0; i < dim; i++) {
                found += getFloat(matrix + 4L * dim * i + 4L * j) * getFloat(k + 4L * i);
            }
            float delta = beta * (getFloat(v + 4L * j) - decay * found);
            float result = 0;
            for (int i = 0; i < dim; i++) {
                long at = matrix + 4L * dim * i + 4L * j;
                float entry = decay * getFloat(at) + getFloat(k + 4L * i) * delta;
                putFloat(at, entry);
                result += entry * getFloat(q + 4L * i);
            }
            putFloat(out + 4L * j, result);
        }
    }

    @Override
    public void rmsNorm(long x, int dim, long gain, float epsilon, long out) {
        double squares = 0;
        for (int i = 0; i < dim; i++) {
            double v = getFloat(x + 4L * i);
            squares += v * v;
        }
        float factor = (float) (1 / Math.sqrt(squares / dim + epsilon));
        for (int i = 0; i < dim; i++) {
            float v = getFloat(x + 4L * i) * factor;
            putFloat(out + 4L * i, gain == 0 ? v : v * getFloat(gain + 4L * i));
        }
    }

    @Override
    public void layerNorm(long x, int dim, long gain, long bias, float epsilon, long out) {
        double sum = 0;
        for (int i = 0; i < dim; i++) {
            sum += getFloat(x + 4L * i);
        }
        double mean = sum / dim;
        double squares = 0;
        for (int i = 0; i < dim; i++) {
            double deviation = getFloat(x + 4L * i) - mean;
            squares += deviation * deviation;
        }
        double factor = 1 / Math.sqrt(squares / dim + epsilon);
        for (int i = 0; i < dim; i++) {
            float v = (float) ((getFloat(x + 4L * i) - mean) * factor);
            putFloat(out + 4L * i, v * getFloat(gain + 4L * i) + getFloat(bias + 4L * i));
        }
    }

    @Override
    public void rotateHalves(long x, int pairs, long table) {
        for (int i = 0; i < pairs; i++) {
            float cos = getFloat(table + 4L * i);
            float sin = getFloat(table + 4L * (pairs + i));
            float a = getFloat(x + 4L * i);
            float b = getFloat(x + 4L * (pairs + i));
            putFloat(x + 4L * i, a * cos - b * sin);
            putFloat(x + 4L * (pairs + i), a * sin + b * cos);
        }
    }

    @Override
    public void rotateAdjacent(long x, int pairs, long table) {
        for (int i = 0; i < pairs; i++) {
            float cos = getFloat(table + 8L * i);
            float sin = getFloat(table + 8L * pairs + 8L * i + 4);
            float a = getFloat(x + 8L * i);
            float b = getFloat(x + 8L * i + 4);
            putFloat(x + 8L * i, a * cos - b * sin);
            putFloat(x + 8L * i + 4, a * sin + b * cos);
        }
    }

    @Override
    public void scores(long q, long k, int positions, int dim, float scale, long scores) {
        for (int j = 0; j < positions; j++) {
            putFloat(scores + 4L * j, scale * dot(q, k + 4L * dim * j, dim));
        }
    }

    @Override
    public void softCap(long scores, int n, float cap) {
        for (int j = 0; j < n; j++) {
            putFloat(scores + 4L * j, (float) (cap * Math.tanh(getFloat(scores + 4L * j) / cap)));
        }
    }

    @Override
    public float max(long scores, int n) {
        float max = Float.NEGATIVE_INFINITY;
        for (int j = 0; j < n; j++) {
            max = Math.max(max, getFloat(scores + 4L * j));
        }
        return max;
    }

    @Override
    public float expAndSum(long scores, int n, float max) {
        float sum = 0;
        for (int j = 0; j < n; j++) {
            float e = (float) Math.exp(getFloat(scores + 4L * j) - max);
            putFloat(scores + 4L * j, e);
            sum += e;
        }
        return sum;
    }

    @Override
    public void multiplyLanes(
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
            boolean accumulate) {
        for (int r = 0; r < rows; r++) {
            for (int t = 0; t < lanes; t++) {
                float sum = accumulate ? getFloat(c + r * cStride + 4L * t) : 0;
                for (int k = 0; k < depth; k++) {
                    sum += getFloat(w + r * wRow + k * wCol) * getFloat(x + k * xStride + 4L * t);
                }
                putFloat(c + r * cStride + 4L * t, sum);
            }
        }
    }

    @Override
    public void softmaxLanes(
            long scores,
            int positions,
            float scale,
            long limits,
            long maxima,
            long sums,
            long factors,
            int lanes,
            long weights) {
        for (long at = 0; at < 4L * lanes; at += 4) {
            int seen = limits == 0 ? positions : Math.min(positions, (int) getFloat(limits + at));
            float before = getFloat(maxima + at);
            float max = before;
            for (int j = 0; j < seen; j++) {
                max = Math.max(max, scale * getFloat(scores + 4L * TILE_TOKENS * j + at));
            }
            float factor = before == max ? 1 : (float) Math.exp(before - max);
            float sum = 0;
            for (int j = 0; j < positions; j++) {
                long place = 4L * TILE_TOKENS * j + at;
                float e = j < seen ? (float) Math.exp(scale * getFloat(scores + place) - max) : 0;
                putFloat(weights + place, e);
                sum += e;
            }
            putFloat(maxima + at, max);
            putFloat(factors + at, factor);
            putFloat(sums + at, getFloat(sums + at) * factor + sum);
        }
    }

    @Override
    public void accumulate(long weights, long v, int positions, int dim, float factor, long out) {
        for (int d = 0; d < dim; d++) {
            float sum = getFloat(out + 4L * d) * factor;
            for (int j = 0; j < positions; j++) {
                sum += getFloat(weights + 4L * j) * getFloat(v + 4L * ((long) j * dim + d));
            }
            putFloat(out + 4L * d, sum);
        }
    }

    @Override
    public void scale(long x, int n, float factor, long out) {
        for (int i = 0; i < n; i++) {
            putFloat(out + 4L * i, getFloat(x + 4L * i) * factor);
        }
    }
}
