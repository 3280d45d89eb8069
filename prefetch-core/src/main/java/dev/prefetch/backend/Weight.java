package dev.prefetch.backend;

import dev.prefetch.gguf.GgmlType;

/**
 * A weight matrix in a device's memory, in its file format: {@code rows} rows of {@code cols} elements, row after row unless packed.
 *
 * @param type format of the elements
 * @param rows number of rows (outputs of a matrix product); 1 for a vector
 * @param cols elements per row, a multiple of the type's block size
 * @param buffer the memory
 * @param offset where the first row starts in {@code buffer}, in bytes
 * @param packed whether the device has brought the rows into an order of its own, see {@link Device#pack}
 */
public record Weight(GgmlType type, long rows, long cols, DeviceBuffer buffer, long offset, boolean packed) {

    /** In the order of the file. */
    public Weight(GgmlType type, long rows, long cols, DeviceBuffer buffer, long offset) {
        this(type, rows, cols, buffer, offset, false);
    }

    public Weight {
        if (rows < 1 || cols < 1 || offset < 0) {
            throw new IllegalArgumentException(
                    "weight needs positive rows and cols but was " + rows + " x " + cols + " at offset " + offset);
        }
        long bytes = Math.multiplyExact(rows, type.byteSize(cols));
        if (offset > buffer.byteSize() - bytes) {
            throw new IllegalArgumentException("weight of " + bytes + " bytes at offset " + offset
                    + " leaves its buffer of " + buffer.byteSize() + " bytes");
        }
    }

    /**
     * One of several matrices that are one below the other.
     *
     * @param parts how many they are, a divisor of the rows
     */
    public Weight part(int index, int parts) {
        if (packed) {
            throw new IllegalArgumentException("a packed weight has no parts");
        }
        long each = rows / parts;
        return new Weight(type, each, cols, buffer, offset + index * each * type.byteSize(cols));
    }
}
