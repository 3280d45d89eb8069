package dev.prefetch.gguf;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;

/**
 * An open GGUF model, version 2 or 3, little-endian: metadata and tensor directory read and checked, the weights mapped.
 *
 * <p>A model may lie in several files, {@code NAME-00001-of-00003.gguf} and so on; it is opened by the name of any of
 * them. Offsets are then those of the files laid one behind the other, each beginning at a multiple of
 * {@link #PART_ALIGNMENT}, so that whoever works with offsets need not know of files: {@link #parts()} says which
 * file an offset belongs to.
 *
 * <p>The mapping reads nothing by itself: pages come from the disk when they are touched. Safe for any number of
 * threads; {@link #close()} must come after the last access.
 *
 * @see <a href="https://github.com/ggml-org/ggml/blob/master/docs/gguf.md">GGUF specification</a>
 */
public final class GgufFile implements AutoCloseable {

    /** To a multiple of which the starts of a split model's files are rounded up: every alignment of direct reads. */
    public static final int PART_ALIGNMENT = 1 << 16;

    private static final String SPLIT_COUNT_KEY = "split.count";
    private static final String SPLIT_NUMBER_KEY = "split.no";
    private static final String SPLIT_TENSORS_KEY = "split.tensors.count";

    private final Path path;
    private final Arena arena;
    private final List<GgufPart> parts;
    private final HeaderParser.Header header;
    private final List<GgufTensor> tensors;
    private final Map<String, GgufTensor> byName;

    private GgufFile(Path path, Arena arena, List<Opened> files) {
        this.path = path;
        this.arena = arena;
        this.parts = files.stream().map(Opened::part).toList();
        this.header = files.getFirst().header();
        if (files.size() == 1) {
            this.tensors = header.tensors();
            this.byName = header.byName();
        } else {
            List<GgufTensor> all = new ArrayList<>();
            this.byName = new HashMap<>();
            for (Opened file : files) {
                for (GgufTensor tensor : file.header().tensors()) {
                    GgufTensor placed = tensor.movedBy(file.part().start());
                    if (byName.put(placed.name(), placed) != null) {
                        throw file.failure("has the tensor '" + placed.name() + "', which an earlier file has, too");
                    }
                    all.add(placed);
                }
            }
            this.tensors = Collections.unmodifiableList(all);
            long expected = header.metadata().requireInt(SPLIT_TENSORS_KEY);
            if (all.size() != expected) {
                throw files.getFirst()
                        .failure("key '" + SPLIT_TENSORS_KEY + "' says " + expected + ", but the " + files.size()
                                + " files have " + all.size() + " tensors");
            }
        }
    }

    /** A file whose head was read. */
    private record Opened(GgufPart part, HeaderParser.Header header) {

        int splitCount() {
            return header.metadata().intOr(SPLIT_COUNT_KEY, 0);
        }

        GgufFormatException failure(String problem) {
            return new GgufFormatException(part.path() + ": " + problem);
        }

        void requireSplit(int number, int count) {
            int foundNumber = header.metadata().intOr(SPLIT_NUMBER_KEY, -1) + 1;
            if (splitCount() != count || foundNumber != number) {
                throw failure("is named as file " + number + " of " + count + ", but says that it is file "
                        + foundNumber + " of " + splitCount());
            }
        }
    }

    /**
     * The files of the model that a file belongs to: of a split one all by their names, in order, whether they exist or not;
     * else the file itself.
     */
    public static List<Path> filesOf(Path file) {
        return SplitName.of(file)
                .map(name -> IntStream.rangeClosed(1, name.count())
                        .mapToObj(number -> file.resolveSibling(name.of(number)))
                        .toList())
                .orElse(List.of(file));
    }

    /**
     * Maps a file, and the others where it is one of a split model, and reads the heads. Nothing stays open or mapped when
     * it fails.
     *
     * @throws GgufFormatException when it is empty or not a valid GGUF file, or the files of a split model do not belong
     *     together; names file, byte offset and field
     * @throws UncheckedIOException when it cannot be read; wraps a {@link NoSuchFileException} when it or another file of
     *     a split model does not exist
     */
    public static GgufFile open(Path file) {
        Arena arena = Arena.ofShared();
        boolean opened = false;
        try {
            Opened named = open(file, 0, arena);
            List<Opened> files = named.splitCount() > 1 ? openAll(named, arena) : List.of(named);
            GgufFile result = new GgufFile(file, arena, files);
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

    private static Opened open(Path file, long start, Arena arena) throws IOException {
        MemorySegment mapping = map(file, arena);
        String source = file.toString();
        HeaderParser.Header header =
                new HeaderParser(source, new HeaderReader(source, mapping), mapping.byteSize()).parse();
        return new Opened(new GgufPart(file, start, mapping), header);
    }

    /** All files of the model that one of them names. */
    private static List<Opened> openAll(Opened named, Arena arena) throws IOException {
        Path file = named.part().path();
        SplitName name = SplitName.of(file)
                .orElseThrow(() -> named.failure("is one of " + named.splitCount()
                        + " files of a split model, but is not named NAME-00001-of-%05d.gguf, so the others cannot be found"
                                .formatted(named.splitCount())));
        named.requireSplit(name.number(), name.count());
        List<Opened> files = new ArrayList<>();
        long start = 0;
        for (int number = 1; number <= name.count(); number++) {
            Path path = file.resolveSibling(name.of(number));
            if (!Files.exists(path)) {
                throw new NoSuchFileException(
                        path.toString(),
                        null,
                        "the model is split into " + name.count() + " files, and this one is missing");
            }
            Opened part = open(path, start, arena);
            part.requireSplit(number, name.count());
            files.add(part);
            start = Math.ceilDiv(part.part().end(), PART_ALIGNMENT) * PART_ALIGNMENT;
        }
        return files;
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

    /** The file, as it was named when opened; of a split model any of its files. */
    public Path path() {
        return path;
    }

    /** The files, in order; one unless the model is split. */
    public List<GgufPart> parts() {
        return parts;
    }

    /** Version of the format: 2 or 3. */
    public int version() {
        return header.version();
    }

    /** Length in bytes, of all files together. */
    public long byteSize() {
        return parts.stream().mapToLong(GgufPart::byteSize).sum();
    }

    /** Where the data section of the (first) file starts, in bytes from the start of the file, which it may not exceed. */
    public long dataOffset() {
        return header.dataOffset();
    }

    /** Bytes to a multiple of which the data section and each tensor in it are aligned: a power of two from 8. */
    public int alignment() {
        return header.alignment();
    }

    /** The key-value pairs, of a split model those of the first file; usable after {@link #close()}. */
    public GgufMetadata metadata() {
        return header.metadata();
    }

    /** The tensor directory in file order, unmodifiable; usable after {@link #close()}. */
    public List<GgufTensor> tensors() {
        return tensors;
    }

    /** The tensor of that name. */
    public Optional<GgufTensor> find(String name) {
        return Optional.ofNullable(byName.get(name));
    }

    /**
     * The bytes of one of this model's tensors, read-only; valid until {@link #close()}.
     *
     * @throws IndexOutOfBoundsException when the tensor is of another model and does not lie inside this one
     */
    public MemorySegment slice(GgufTensor tensor) {
        GgufPart part = parts.get(GgufPart.indexAt(parts, tensor.offset()));
        return part.mapping().asSlice(tensor.offset() - part.start(), tensor.byteSize());
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
