package dev.prefetch.storage;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.jspecify.annotations.Nullable;

/**
 * Reads a file past the page cache where the file system allows it, else through it, dropping the pages behind.
 *
 * <p>Weights that stream are read once per sweep in a circle, the worst case of every page cache: it would evict memory
 * that is used to keep bytes that are gone before their turn comes again.
 *
 * <p>A thread must not be interrupted while it reads: the JDK closes the channel of an interrupted thread.
 */
public final class DirectReader implements BlockReader {

    /** Smallest alignment used: the page, which also satisfies every common logical sector size. */
    public static final int MIN_ALIGNMENT = 4096;

    /** Largest alignment for which direct reads are used; beyond it the padding would cost more than it saves. */
    public static final int MAX_ALIGNMENT = 64 * 1024;

    /**
     * Dropped again before every read: the kernel reads ahead in folios of up to 2 MiB and keeps those that a dropped
     * range covers in part (measured: unaligned ranges alone leave the whole file cached).
     */
    private static final long DROP_BEFORE_BYTES = 4L << 20;

    private static final long MAX_READ_BYTES = 1L << 30;

    private final Path file;
    private final FileChannel channel;
    private final FileIdentity identity;
    private final int alignment;
    private final ReadMode mode;
    private final String description;
    private final @Nullable PageCache pageCache;

    private DirectReader(
            Path file,
            FileChannel channel,
            FileIdentity identity,
            int alignment,
            ReadMode mode,
            String description,
            @Nullable PageCache pageCache) {
        this.file = file;
        this.channel = channel;
        this.identity = identity;
        this.alignment = alignment;
        this.mode = mode;
        this.description = description;
        this.pageCache = pageCache;
    }

    /**
     * Opens the file directly where possible.
     *
     * @throws StorageException when the file cannot be opened at all
     */
    public static DirectReader open(Path file) {
        FileIdentity identity = identify(file);
        try {
            return openDirect(file, identity);
        } catch (IOException | UnsupportedOperationException e) {
            return openBuffered(file, identity, "no direct reads here: " + e.getMessage());
        }
    }

    /**
     * Opens the file through the page cache, dropping the pages behind where possible.
     *
     * @throws StorageException when the file cannot be opened
     */
    public static DirectReader openBuffered(Path file) {
        return openBuffered(file, identify(file), "as asked");
    }

    private static FileIdentity identify(Path file) {
        try {
            return FileIdentity.of(file);
        } catch (IOException e) {
            throw new StorageException(file, 0, "the file cannot be opened: " + e, e);
        }
    }

    private static DirectReader openDirect(Path file, FileIdentity identity) throws IOException {
        long blockSize = Files.getFileStore(file).getBlockSize();
        if (Long.bitCount(blockSize) != 1 || blockSize > MAX_ALIGNMENT) {
            throw new UnsupportedOperationException("the file system's block size is " + blockSize);
        }
        int alignment = (int) Math.max(MIN_ALIGNMENT, blockSize);
        FileChannel channel = FileChannel.open(file, StandardOpenOption.READ, directOption());
        try (Arena arena = Arena.ofConfined()) {
            // Some file systems accept the flag and refuse the first read.
            channel.read(arena.allocate(alignment, alignment).asByteBuffer(), 0);
        } catch (IOException e) {
            channel.close();
            throw e;
        }
        String description = "direct, aligned to " + alignment + " bytes";
        return new DirectReader(file, channel, identity, alignment, ReadMode.DIRECT, description, null);
    }

    /**
     * {@code ExtendedOpenOption.DIRECT}, looked up by name: its module is exported but optional in a runtime image, and
     * the compiler warns about every mention of it.
     */
    private static OpenOption directOption() {
        try {
            for (Object option :
                    Class.forName("com.sun.nio.file.ExtendedOpenOption").getEnumConstants()) {
                if (option instanceof OpenOption direct && option.toString().equals("DIRECT")) {
                    return direct;
                }
            }
        } catch (ClassNotFoundException e) {
            throw new UnsupportedOperationException("this Java runtime lacks the module jdk.unsupported", e);
        }
        throw new UnsupportedOperationException("this Java runtime has no direct open option");
    }

    private static DirectReader openBuffered(Path file, FileIdentity identity, String why) {
        FileChannel channel;
        try {
            channel = FileChannel.open(file, StandardOpenOption.READ);
        } catch (IOException e) {
            throw new StorageException(file, 0, "the file cannot be opened: " + e, e);
        }
        PageCache pageCache = null;
        ReadMode mode = ReadMode.BUFFERED;
        String description = "through the page cache (" + why + ")";
        try {
            pageCache = PageCache.open(file);
            mode = ReadMode.BUFFERED_DROPPED;
            description += ", pages dropped behind";
        } catch (UnsupportedOperationException e) {
            description += ", pages not dropped: " + e.getMessage();
        }
        return new DirectReader(file, channel, identity, MIN_ALIGNMENT, mode, description, pageCache);
    }

    @Override
    public int alignment() {
        return alignment;
    }

    @Override
    public long fileSize() {
        return identity.size();
    }

    /** How the file is read. */
    public ReadMode mode() {
        return mode;
    }

    @Override
    public String description() {
        return description;
    }

    @Override
    public void read(long offset, MemorySegment target) {
        long length = target.byteSize();
        requireAligned("offset", offset);
        requireAligned("length", length);
        requireAligned("address", target.address());
        if (offset < 0 || length < 1 || length > MAX_READ_BYTES) {
            throw new IllegalArgumentException("bad read: offset " + offset + ", length " + length);
        }
        long wanted = Math.min(length, identity.size() - offset);
        if (wanted <= 0) {
            throw new StorageException(file, offset, "the file ends at " + identity.size(), null);
        }
        ByteBuffer buffer = target.asByteBuffer();
        long done = 0;
        while (done < wanted) {
            long count = readOnce(offset + done, buffer.slice((int) done, (int) (length - done)));
            if (done + count >= wanted) {
                break;
            }
            // A direct read must go on from an aligned place; the few bytes behind it are simply read again.
            long progress = count & -alignment;
            if (progress <= 0) {
                identity.requireUnchanged(file, offset + done);
                throw new StorageException(
                        file,
                        offset + done,
                        "short read: " + Math.max(0, count) + " of " + (wanted - done) + " bytes",
                        null);
            }
            done += progress;
        }
        // After the bytes, not before: what was read is only good if the file had not changed by then.
        identity.requireUnchanged(file, offset);
        if (pageCache != null) {
            long from = Math.max(0, offset - DROP_BEFORE_BYTES);
            pageCache.drop(from, offset + length - from);
        }
    }

    private int readOnce(long offset, ByteBuffer buffer) {
        try {
            return channel.read(buffer, offset);
        } catch (ClosedChannelException e) {
            throw new StorageException(file, offset, "the reader is closed", e);
        } catch (IOException e) {
            throw new StorageException(file, offset, "read failed: " + e.getMessage(), e);
        }
    }

    private void requireAligned(String what, long value) {
        if ((value & (alignment - 1)) != 0) {
            throw new IllegalArgumentException(what + " " + value + " is not a multiple of " + alignment);
        }
    }

    @Override
    public void close() {
        try {
            channel.close();
        } catch (IOException e) {
            throw new StorageException(file, 0, "closing failed: " + e.getMessage(), e);
        } finally {
            if (pageCache != null) {
                pageCache.close();
            }
        }
    }
}
