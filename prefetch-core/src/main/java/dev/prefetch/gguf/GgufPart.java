package dev.prefetch.gguf;

import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;

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

    /** Place in the list of the file that holds the byte at one of the model's offsets: the last that does not begin behind it. */
    public static int indexAt(List<GgufPart> parts, long offset) {
        int index = parts.size() - 1;
        while (index > 0 && parts.get(index).start() > offset) {
            index--;
        }
        return index;
    }

    /** One past the model's offset of the file's last byte. */
    public long end() {
        return start + byteSize();
    }
}
