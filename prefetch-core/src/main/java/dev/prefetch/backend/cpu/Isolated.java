package dev.prefetch.backend.cpu;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;

/**
 * Calls kernels in such a way that each is compiled on its own.
 *
 * <p>The compiler inlines hot kernels into their callers. Two or three of them in one method exceed its limits, after which
 * it stops inlining the operations on vectors, and every vector becomes an object: a tenth of the speed, depending on which
 * types a model happens to use. It never inlines through a method handle that is not a constant, so these handles must not
 * be kept in static final fields.
 */
final class Isolated {

    private static final MethodType DOT =
            MethodType.methodType(void.class, long.class, int.class, long.class, long.class, int.class, long.class);

    private static final MethodType UNPACK =
            MethodType.methodType(void.class, long.class, long.class, int.class, long.class);

    private static final MethodType PANEL =
            MethodType.methodType(void.class, long.class, int.class, long.class, int.class, long.class);

    private static final MethodType PAIR =
            MethodType.methodType(void.class, long.class, long.class, int.class, long.class, long.class, long.class);

    private static final MethodType ROWS = MethodType.methodType(
            void.class, long.class, long.class, int.class, long.class, int.class, long.class, long.class);

    private static final MethodType PREPARE = MethodType.methodType(
            void.class, ActivationForm.class, long.class, int.class, int.class, int.class, long.class);

    private static final MethodType ATTENTION =
            MethodType.methodType(void.class, long.class, long.class, int.class, int.class, float.class, long.class);

    private static final MethodType SOFTMAX = MethodType.methodType(float.class, long.class, int.class, float.class);

    private static final MethodType IN_PLACE = MethodType.methodType(void.class, long.class, int.class, float.class);

    private static final MethodType MULTIPLY_LANES = MethodType.methodType(
            void.class,
            long.class,
            long.class,
            long.class,
            int.class,
            int.class,
            long.class,
            long.class,
            long.class,
            long.class,
            int.class,
            boolean.class);

    private static final MethodType SOFTMAX_LANES = MethodType.methodType(
            void.class,
            long.class,
            int.class,
            float.class,
            long.class,
            long.class,
            long.class,
            long.class,
            int.class,
            long.class);

    private static final MethodType GATE = MethodType.methodType(void.class, long.class, long.class, long.class);

    private static final MethodType FUNCTION = MethodType.methodType(void.class, long.class, long.class);

    private static final MethodType CLAMPED_GATE =
            MethodType.methodType(void.class, long.class, long.class, float.class, float.class, long.class);

    private static final MethodType EXPAND = MethodType.methodType(void.class, long.class, int.class, long.class);

    private static final MethodType STRIP_PRODUCT = MethodType.methodType(
            void.class, long.class, int.class, long.class, long.class, int.class, long.class, long.class, long.class);

    private static final MethodType STRIP =
            MethodType.methodType(void.class, long.class, long.class, int.class, long.class, long.class);

    private static final MethodType DELTA = MethodType.methodType(
            void.class,
            long.class,
            int.class,
            long.class,
            long.class,
            long.class,
            float.class,
            float.class,
            long.class);

    private Isolated() {}

    /** A static kernel {@code (weights, n, x, xStride, count, lanes)} of this package. */
    static MethodHandle dot(Class<?> owner, String name) {
        return find(owner, name, DOT);
    }

    /** A static kernel {@code (weights, long, int, out)} of this package: elements of {@link LaneUnpack}. */
    static MethodHandle unpack(Class<?> owner, String name) {
        return find(owner, name, UNPACK);
    }

    /** A static kernel {@code (weights, int, x, int, sums)} of this package: {@link LaneProducts}. */
    static MethodHandle panel(Class<?> owner, String name) {
        return find(owner, name, PANEL);
    }

    /** A static kernel {@code (words, apart, n, x, long, sums)} of this package for two groups of rows: {@link VectorBytes}, {@link VectorHalves}. */
    static MethodHandle pair(Class<?> owner, String name) {
        return find(owner, name, PAIR);
    }

    /** A static kernel {@code (words, apart, n, x, tokens, factors, results)} of this package for two groups of rows: {@link LaneRows}. */
    static MethodHandle rows(Class<?> owner, String name) {
        return find(owner, name, ROWS);
    }

    /** A static method {@code (form, x, cols, row, count, activations)} of this package. */
    static MethodHandle prepare(Class<?> owner, String name) {
        return find(owner, name, PREPARE);
    }

    /** A static kernel {@code (long, long, positions, dim, factor, out)} of this package. */
    static MethodHandle attention(Class<?> owner, String name) {
        return find(owner, name, ATTENTION);
    }

    /** A static kernel {@code (scores, n, max)} of this package that returns a sum. */
    static MethodHandle softmax(Class<?> owner, String name) {
        return find(owner, name, SOFTMAX);
    }

    /** A static kernel {@code (values, n, parameter)} of this package. */
    static MethodHandle inPlace(Class<?> owner, String name) {
        return find(owner, name, IN_PLACE);
    }

    /** A static kernel {@code (gate, up, n)} of this package. */
    static MethodHandle gate(Class<?> owner, String name) {
        return find(owner, name, GATE);
    }

    /** A static kernel {@code (values, n)} of this package. */
    static MethodHandle function(Class<?> owner, String name) {
        return find(owner, name, FUNCTION);
    }

    /** A static kernel {@code (gate, up, slope, limit, n)} of this package. */
    static MethodHandle clampedGate(Class<?> owner, String name) {
        return find(owner, name, CLAMPED_GATE);
    }

    /** A static kernel {@code (weights, elements, out)} of this package. */
    static MethodHandle expand(Class<?> owner, String name) {
        return find(owner, name, EXPAND);
    }

    /** A static kernel {@code (strip, depth, x, tileBytes, tokens, sums, ahead, aheadStep)} of this package. */
    static MethodHandle stripProduct(Class<?> owner, String name) {
        return find(owner, name, STRIP_PRODUCT);
    }

    /** A static kernel {@code (weights, long, int, long, out)} of this package: {@link VectorStripExpand}, {@link LaneRow}, {@link LaneRows}, factors of {@link LaneUnpack}. */
    static MethodHandle strip(Class<?> owner, String name) {
        return find(owner, name, STRIP);
    }

    /** A static kernel {@code (matrix, dim, q, k, v, decay, beta, out)} of this package. */
    static MethodHandle delta(Class<?> owner, String name) {
        return find(owner, name, DELTA);
    }

    /** A static kernel with the arguments of {@link Kernels#multiplyLanes}. */
    static MethodHandle multiplyLanes(Class<?> owner, String name) {
        return find(owner, name, MULTIPLY_LANES);
    }

    /** A static kernel with the arguments of {@link Kernels#softmaxLanes}. */
    static MethodHandle softmaxLanes(Class<?> owner, String name) {
        return find(owner, name, SOFTMAX_LANES);
    }

    private static MethodHandle find(Class<?> owner, String name, MethodType type) {
        try {
            return MethodHandles.lookup().findStatic(owner, name, type);
        } catch (NoSuchMethodException | IllegalAccessException e) {
            throw new IllegalStateException("no kernel " + owner.getSimpleName() + "." + name, e);
        }
    }

    static void call(MethodHandle kernel, long weights, int n, long x, long xStride, int count, long lanes) {
        try {
            kernel.invokeExact(weights, n, x, xStride, count, lanes);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(
            MethodHandle kernel,
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
        try {
            kernel.invokeExact(w, wRow, wCol, rows, depth, x, xStride, c, cStride, lanes, accumulate);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(
            MethodHandle kernel,
            long scores,
            int positions,
            float scale,
            long limits,
            long maxima,
            long sums,
            long factors,
            int lanes,
            long weights) {
        try {
            kernel.invokeExact(scores, positions, scale, limits, maxima, sums, factors, lanes, weights);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(MethodHandle kernel, long weights, long rowStride, int rows, long out) {
        try {
            kernel.invokeExact(weights, rowStride, rows, out);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(MethodHandle kernel, long panel, int rows, long x, int count, long lanes) {
        try {
            kernel.invokeExact(panel, rows, x, count, lanes);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(MethodHandle kernel, long words, long apart, int n, long x, long parameter, long sums) {
        try {
            kernel.invokeExact(words, apart, n, x, parameter, sums);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(
            MethodHandle kernel, long words, long apart, int n, long x, int tokens, long factors, long results) {
        try {
            kernel.invokeExact(words, apart, n, x, tokens, factors, results);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(MethodHandle kernel, ActivationForm form, long x, int cols, int row, int count, long activations) {
        try {
            kernel.invokeExact(form, x, cols, row, count, activations);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(MethodHandle kernel, long a, long b, int positions, int dim, float factor, long out) {
        try {
            kernel.invokeExact(a, b, positions, dim, factor, out);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static float sum(MethodHandle kernel, long scores, int n, float max) {
        try {
            return (float) kernel.invokeExact(scores, n, max);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(MethodHandle kernel, long values, int n, float parameter) {
        try {
            kernel.invokeExact(values, n, parameter);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(MethodHandle kernel, long gate, long up, long n) {
        try {
            kernel.invokeExact(gate, up, n);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(MethodHandle kernel, long values, long n) {
        try {
            kernel.invokeExact(values, n);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(MethodHandle kernel, long gate, long up, float slope, float limit, long n) {
        try {
            kernel.invokeExact(gate, up, slope, limit, n);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(MethodHandle kernel, long weights, int elements, long out) {
        try {
            kernel.invokeExact(weights, elements, out);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(
            MethodHandle kernel,
            long strip,
            int depth,
            long x,
            long tileBytes,
            int tokens,
            long sums,
            long ahead,
            long aheadStep) {
        try {
            kernel.invokeExact(strip, depth, x, tileBytes, tokens, sums, ahead, aheadStep);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(MethodHandle kernel, long weights, long rowBytes, int depth, long scratch, long strip) {
        try {
            kernel.invokeExact(weights, rowBytes, depth, scratch, strip);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(
            MethodHandle kernel, long matrix, int dim, long q, long k, long v, float decay, float beta, long out) {
        try {
            kernel.invokeExact(matrix, dim, q, k, v, decay, beta, out);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    private static IllegalStateException unexpected(Throwable e) {
        return new IllegalStateException("a kernel threw a checked exception", e);
    }
}
