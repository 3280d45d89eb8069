package dev.prefetch.backend;

import java.util.List;
import java.util.Objects;

/** Checks of arguments that every implementation of {@link Ops} makes, with the same words. */
public final class OpsChecks {

    private OpsChecks() {}

    /**
     * Bytes of f32 elements.
     *
     * @throws IllegalArgumentException when a size is negative
     * @throws ArithmeticException when they are beyond a long
     */
    public static long floats(long rows, long cols) {
        if (rows < 0 || cols < 0) {
            throw new IllegalArgumentException("sizes must not be negative but were " + rows + " and " + cols);
        }
        return Math.multiplyExact(Math.multiplyExact(rows, cols), 4L);
    }

    /** @throws IndexOutOfBoundsException when there are not so many */
    public static void checkCount(int count, int available, String what) {
        if (count < 0 || count > available) {
            throw new IndexOutOfBoundsException("count " + count + " does not fit " + available + " " + what);
        }
    }

    /** @throws IllegalArgumentException when the value is below 1 */
    public static void checkPositive(int value, String what) {
        if (value < 1) {
            throw new IllegalArgumentException(what + " must be positive but was " + value);
        }
    }

    /** @throws IndexOutOfBoundsException when rows or positions are negative, or too many to count */
    public static void checkRange(int firstRow, int count, int position) {
        if (firstRow < 0 || count < 0 || position < 0 || (long) position + count > Integer.MAX_VALUE) {
            throw new IndexOutOfBoundsException(
                    "bad range: firstRow " + firstRow + ", count " + count + ", position " + position);
        }
    }

    /**
     * Bytes that {@code rows} stretches of {@code width} f32 elements reach to, {@code stride} apart, the first from
     * {@code offset} on.
     *
     * @throws IndexOutOfBoundsException when a number is negative
     */
    public static long columns(long offset, int stride, int width, int rows) {
        if (offset < 0 || stride < 0 || width < 0 || rows < 0) {
            throw new IndexOutOfBoundsException("columns must not be negative but were " + width + " of " + rows
                    + " rows, " + stride + " apart, from " + offset);
        }
        return rows == 0 || width == 0 ? 0 : floats(1, Math.addExact(offset, (rows - 1L) * stride + width));
    }

    /** @throws IndexOutOfBoundsException when one of the first {@code count} is no row of those available */
    public static void checkRows(int[] rows, int count, long available) {
        for (int i = 0; i < count; i++) {
            Objects.checkIndex(rows[i], available);
        }
    }

    /** @throws IllegalArgumentException when there are no weights, or not an output for each */
    public static void checkOutputs(List<Weight> weights, List<DeviceBuffer> ys) {
        if (weights.isEmpty() || weights.size() != ys.size()) {
            throw new IllegalArgumentException(
                    "as many outputs as weights are needed but there are " + weights.size() + " and " + ys.size());
        }
    }

    /** @throws IllegalArgumentException when there are no such parts, or they do not fit their places */
    public static void checkParts(Weight all, int parts, int xWidth, int yWidth) {
        if (parts < 1 || all.rows() % parts != 0 || all.cols() > xWidth || all.rows() / parts > yWidth) {
            throw new IllegalArgumentException(parts + " parts of a weight of " + all.rows() + " x " + all.cols()
                    + " do not fit widths of " + xWidth + " and " + yWidth);
        }
    }

    /** @throws IllegalArgumentException when the weight is none of an input of so many columns */
    public static void checkCols(Weight weight, int cols) {
        if (weight.cols() != cols) {
            throw new IllegalArgumentException(
                    "weights of one input need the same cols but have " + cols + " and " + weight.cols());
        }
    }

    /** @throws IllegalArgumentException when the weight is no vector of so many elements */
    public static void checkVector(Weight vector, int dim, String what) {
        if (vector.rows() != 1 || vector.cols() != dim) {
            throw new IllegalArgumentException(
                    what + " must be a vector of " + dim + " elements but is " + vector.rows() + " x " + vector.cols());
        }
    }
}
