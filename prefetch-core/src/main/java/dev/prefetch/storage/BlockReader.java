package dev.prefetch.storage;

import java.lang.foreign.MemorySegment;

/**
 * Reads runs of bytes from one file into native memory. Thread-safe: several threads reading at once is what keeps a
 * disk busy.
 */
public interface BlockReader extends AutoCloseable {

    /** Offsets, lengths and memory addresses are multiples of this power of two. */
    int alignment();

    /** Length of the file in bytes. */
    long fileSize();

    /** How it reads, in words, for the log. */
    String description();

    /**
     * Fills the target from the file; returns when the bytes are there. Where the target reaches past the end of the
     * file, what the rest of it holds is undefined.
     *
     * @param offset where to start in the file, aligned
     * @param target native memory, aligned, of an aligned length
     * @throws StorageException when the bytes cannot be read, or the file is no longer the one that was opened
     * @throws IllegalArgumentException when something is not aligned
     */
    void read(long offset, MemorySegment target);

    /** Closes the file; a read still in progress fails. Idempotent. */
    @Override
    void close();
}
