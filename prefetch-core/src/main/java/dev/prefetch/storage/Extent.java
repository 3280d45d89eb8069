package dev.prefetch.storage;

/**
 * A run of bytes of a file.
 *
 * @param offset first byte
 * @param length number of bytes, positive
 */
public record Extent(long offset, long length) {

    public Extent {
        if (offset < 0 || length < 1 || offset > Long.MAX_VALUE - length) {
            throw new IllegalArgumentException("bad extent: offset " + offset + ", length " + length);
        }
    }

    /** One past the last byte. */
    public long end() {
        return offset + length;
    }

    /**
     * The smallest extent that holds this one and whose bounds are multiples of {@code alignment}. It may end past the
     * end of the file.
     *
     * @param alignment a power of two
     */
    public Extent alignedTo(int alignment) {
        long start = offset & -alignment;
        long alignedEnd = Math.addExact(end(), alignment - 1) & -alignment;
        return new Extent(start, alignedEnd - start);
    }
}
