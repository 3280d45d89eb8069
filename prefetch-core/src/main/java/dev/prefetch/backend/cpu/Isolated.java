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

    private static final MethodType MATVEC =
            MethodType.methodType(void.class, long.class, int.class, int.class, long.class, long.class, long.class);

    private static final MethodType PASS =
            MethodType.methodType(void.class, long.class, int.class, long.class, long.class, long.class);

    private static final MethodType ATTENTION =
            MethodType.methodType(void.class, long.class, long.class, int.class, int.class, float.class, long.class);

    private static final MethodType EXPAND = MethodType.methodType(void.class, long.class, int.class, long.class);

    private Isolated() {}

    /** A static kernel {@code (weights, rows, cols, activation, y, scratch)} of this package. */
    static MethodHandle matvec(Class<?> owner, String name) {
        return find(owner, name, MATVEC);
    }

    /** A static method {@code (row, blocks, long, long, long)} of this package: one pass over a row. */
    static MethodHandle pass(Class<?> owner, String name) {
        return find(owner, name, PASS);
    }

    /** A static kernel {@code (long, long, positions, dim, factor, out)} of this package. */
    static MethodHandle attention(Class<?> owner, String name) {
        return find(owner, name, ATTENTION);
    }

    /** A static kernel {@code (weights, elements, out)} of this package. */
    static MethodHandle expand(Class<?> owner, String name) {
        return find(owner, name, EXPAND);
    }

    private static MethodHandle find(Class<?> owner, String name, MethodType type) {
        try {
            return MethodHandles.lookup().findStatic(owner, name, type);
        } catch (NoSuchMethodException | IllegalAccessException e) {
            throw new IllegalStateException("no kernel " + owner.getSimpleName() + "." + name, e);
        }
    }

    static void call(MethodHandle kernel, long weights, int rows, int cols, long activation, long y, long scratch) {
        try {
            kernel.invokeExact(weights, rows, cols, activation, y, scratch);
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    static void call(MethodHandle pass, long row, int blocks, long a, long b, long c) {
        try {
            pass.invokeExact(row, blocks, a, b, c);
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

    static void call(MethodHandle kernel, long weights, int elements, long out) {
        try {
            kernel.invokeExact(weights, elements, out);
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
