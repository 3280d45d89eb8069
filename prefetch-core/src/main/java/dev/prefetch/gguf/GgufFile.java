package dev.prefetch.gguf;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.List;
import java.util.Optional;

/**
 * An open GGUF file, version 2 or 3, little-endian: metadata and tensor directory read and checked, the weights mapped.
 *
 * <p>The mapping reads nothing by itself: pages come from the disk when they are touched. Safe for any number of
 * threads; {@link #close()} must come after the last access.
 *
 * @see <a href="https://github.com/ggml-org/ggml/blob/master/docs/gguf.md">GGUF specification</a>
 */
public final class GgufFile implements AutoCloseable {

    private final Path path;
    private final Arena arena;
    private final MemorySegment mapping;
    private final HeaderParser.Header header;

    private GgufFile(Path path, Arena arena, MemorySegment mapping, HeaderParser.Header header) {
        this.path = path;
        this.arena = arena;
        this.mapping = mapping;
        this.header = header;
    }

    /**
     * Maps a file and reads its head. Nothing stays open or mapped when it fails.
     *
     * @throws GgufFormatException when it is empty or not a valid GGUF file; names file, byte offset and field
     * @throws UncheckedIOException when it cannot be read; wraps a {@link java.nio.file.NoSuchFileException} when it
     *     does not exist
     */
    public static GgufFile open(Path file) {
        Arena arena = Arena.ofShared();
        boolean opened = false;
        try {
            MemorySegment mapping = map(file, arena);
            String source = file.toString();
            HeaderParser.Header header =
                    new HeaderParser(source, new HeaderReader(source, mapping), mapping.byteSize()).parse();
            GgufFile result = new GgufFile(file, arena, mapping, header);
            opened = true;
            return result;
        } catch (IOException e) {
            throw new UncheckedIOException("cannot open the GGUF file " + file + ": " + e.getMessage(), e);
        } finally {
            if (!opened) {
                arena.close();
            }
        }
    }

    private static MemorySegment map(Path file, Arena arena) throws IOException {
        // Opening a pipe would wait for a writer, and a folder fails only when it is mapped, with an obscure message.
        if (!Files.readAttributes(file, BasicFileAttributes.class).isRegularFile()) {
            throw new FileSystemException(file.toString(), null, "not a regular file");
        }
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            long size = channel.size();
            if (size == 0) {
                throw new GgufFormatException(file + ": offset 0, magic: the file is empty");
            }
            return channel.map(FileChannel.MapMode.READ_ONLY, 0, size, arena);
        } catch (UnsupportedOperationException e) {
            throw new IOException("its file system cannot map files into memory, copy it to a disk", e);
        }
    }

    /** The file, as it was named when opened. */
    public Path path() {
        return path;
    }

    /** Version of the format: 2 or 3. */
    public int version() {
        return header.version();
    }

    /** Length of the file in bytes. */
    public long byteSize() {
        return mapping.byteSize();
    }

    /** Where the data section starts, in bytes from the start of the file; at most {@link #byteSize()}. */
    public long dataOffset() {
        return header.dataOffset();
    }

    /** Bytes to a multiple of which the data section and each tensor in it are aligned: a power of two from 8. */
    public int alignment() {
        return header.alignment();
    }

    /** The key-value pairs; usable after {@link #close()}. */
    public GgufMetadata metadata() {
        return header.metadata();
    }

    /** The tensor directory in file order, unmodifiable; usable after {@link #close()}. */
    public List<GgufTensor> tensors() {
        return header.tensors();
    }

    /** The tensor of that name. */
    public Optional<GgufTensor> find(String name) {
        return Optional.ofNullable(header.byName().get(name));
    }

    /** The whole file, read-only; valid until {@link #close()}, for all threads. */
    public MemorySegment mapping() {
        return mapping;
    }

    /**
     * The bytes of one of this file's tensors, read-only; valid until {@link #close()}.
     *
     * @throws IndexOutOfBoundsException when the tensor is of another file and does not lie inside this one
     */
    public MemorySegment slice(GgufTensor tensor) {
        return mapping.asSlice(tensor.offset(), tensor.byteSize());
    }

    /**
     * Ends the mapping; further calls do nothing. Touching the segments afterwards is an {@link IllegalStateException}.
     *
     * @throws IllegalStateException when another thread is just reading from the mapping
     */
    @Override
    public synchronized void close() {
        if (arena.scope().isAlive()) {
            arena.close();
        }
    }
}
