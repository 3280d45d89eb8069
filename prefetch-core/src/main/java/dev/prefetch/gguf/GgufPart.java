package dev.prefetch.gguf;

import java.lang.foreign.MemorySegment;
import java.nio.file.Path;

/**
 * One file of a model, which may lie in several.
 *
 * @param path the file, as it was named when opened
 * @param start where the file begins in the model's offsets: 0 for the first, a multiple of
 *     {@link GgufFile#PART_ALIGNMENT} for the others
 * @param mapping the whole file, read-only; valid until the {@link GgufFile} is closed, for all threads
 */
public record GgufPart(Path path, long start, MemorySegment mapping) {

    /** Length of the file in bytes. */
    public long byteSize() {
        return mapping.byteSize();
    }

    /** One past the model's offset of the file's last byte. */
    public long end() {
        return start + byteSize();
    }
}
