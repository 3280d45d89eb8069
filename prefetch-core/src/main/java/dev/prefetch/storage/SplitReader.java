package dev.prefetch.storage;

import dev.prefetch.gguf.GgufPart;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * Reads a model that lies in several files as if they lay one behind the other, at the offsets that its
 * {@link dev.prefetch.gguf.GgufFile} gives them. What lies between the end of one and the start of the next is undefined.
 */
public final class SplitReader implements BlockReader {

    private final List<GgufPart> parts;
    private final List<DirectReader> readers;
    private final int alignment;

    private SplitReader(List<GgufPart> parts, List<DirectReader> readers) {
        this.parts = List.copyOf(parts);
        this.readers = List.copyOf(readers);
        this.alignment =
                readers.stream().mapToInt(DirectReader::alignment).max().orElseThrow();
        for (GgufPart part : parts) {
            if (part.start() % alignment != 0) {
                throw new IllegalArgumentException(
                        part.path() + ": the start " + part.start() + " is not a multiple of " + alignment);
            }
        }
    }

    /**
     * Opens the files of a model, directly where possible.
     *
     * @param parts its files, in order
     * @return a plain reader when there is one file
     * @throws StorageException when one cannot be opened; none stays open then
     */
    public static BlockReader open(List<GgufPart> parts) {
        if (parts.size() == 1) {
            return DirectReader.open(parts.getFirst().path());
        }
        List<DirectReader> readers = new ArrayList<>();
        try {
            for (GgufPart part : parts) {
                readers.add(DirectReader.open(part.path()));
            }
            return new SplitReader(parts, readers);
        } catch (RuntimeException e) {
            closeAll(readers, e);
            throw e;
        }
    }

    @Override
    public int alignment() {
        return alignment;
    }

    @Override
    public long fileSize() {
        return parts.getLast().start() + readers.getLast().fileSize();
    }

    @Override
    public String description() {
        return readers.getFirst().description() + ", " + parts.size() + " files";
    }

    @Override
    public void read(long offset, MemorySegment target) {
        if (offset >= fileSize()) {
            throw new StorageException(parts.getLast().path(), offset, "the model ends at " + fileSize(), null);
        }
        long end = offset + target.byteSize();
        for (int i = 0; i < parts.size(); i++) {
            long start = parts.get(i).start();
            long next = i + 1 < parts.size() ? parts.get(i + 1).start() : Long.MAX_VALUE;
            long from = Math.max(offset, start);
            long to = Math.min(end, next);
            // A read into the padding behind a file alone has nothing to fetch.
            if (from < to && from - start < readers.get(i).fileSize()) {
                readers.get(i).read(from - start, target.asSlice(from - offset, to - from));
            }
        }
    }

    @Override
    public void close() {
        RuntimeException failure = new IllegalStateException("closing failed");
        closeAll(readers, failure);
        if (failure.getSuppressed().length > 0) {
            throw failure;
        }
    }

    private static void closeAll(List<DirectReader> readers, RuntimeException failure) {
        for (DirectReader reader : readers) {
            try {
                reader.close();
            } catch (RuntimeException e) {
                failure.addSuppressed(e);
            }
        }
    }
}
