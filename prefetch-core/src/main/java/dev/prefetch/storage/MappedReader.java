package dev.prefetch.storage;

import dev.prefetch.gguf.GgufPart;
import java.lang.foreign.MemorySegment;
import java.util.List;

/** Copies from the mapped files of a model, whose pages the page cache keeps. Owns nothing. */
public final class MappedReader implements BlockReader {

    /** Alignment of {@link #read}, the same as that of direct reads: nothing here needs it. */
    private static final int ALIGNMENT = 4096;

    private final List<GgufPart> parts;

    public MappedReader(List<GgufPart> parts) {
        if (parts.isEmpty()) {
            throw new IllegalArgumentException("there is no mapped file to read from");
        }
        this.parts = List.copyOf(parts);
    }

    @Override
    public int alignment() {
        return ALIGNMENT;
    }

    @Override
    public long fileSize() {
        return parts.getLast().end();
    }

    @Override
    public String description() {
        return "through the page cache";
    }

    @Override
    public void read(long offset, MemorySegment target) {
        if (offset < 0 || offset >= fileSize()) {
            throw new StorageException(parts.getLast().path(), offset, "the model ends at " + fileSize(), null);
        }
        long end = offset + target.byteSize();
        for (GgufPart part : parts) {
            long from = Math.max(offset, part.start());
            long to = Math.min(end, part.end());
            if (from < to) {
                MemorySegment.copy(part.mapping(), from - part.start(), target, from - offset, to - from);
            }
        }
    }

    @Override
    public void close() {}
}
