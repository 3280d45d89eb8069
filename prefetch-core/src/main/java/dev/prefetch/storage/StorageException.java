package dev.prefetch.storage;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** Bytes could not be read from a file. The message names the file and the offset. */
public final class StorageException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    private final String file;
    private final long offset;

    /**
     * @param file the file
     * @param offset where in it, in bytes
     * @param what what went wrong, as the rest of a sentence
     */
    public StorageException(Path file, long offset, String what, @Nullable Throwable cause) {
        super(file + ", offset " + offset + ": " + what, cause);
        this.file = file.toString();
        this.offset = offset;
    }

    /** The file. */
    public Path file() {
        return Path.of(file);
    }

    /** Where in the file, in bytes. */
    public long offset() {
        return offset;
    }
}
