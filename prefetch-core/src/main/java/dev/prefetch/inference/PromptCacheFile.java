package dev.prefetch.inference;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.inference.KvLayout.Span;
import dev.prefetch.inference.PromptCache.Node;
import dev.prefetch.storage.Sha256;
import java.io.EOFException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Keeps what a {@link PromptCache} holds in a file, from one life of an engine to the next.
 *
 * <p>How it works. The file begins with an identity, a digest of everything that decides the bits of keys and values, and is
 * taken only by who has the same. Then come the pages of the tree, each behind the one it continues and with a checksum of its
 * own, those used last first: a smaller cache takes the beginning of the file, and so does one that meets damage, since
 * what comes before is whole. It is written beside its place and moved there, so it is never half a file. What is wrong with a
 * file is logged and costs nothing but the prompts that are computed again.
 *
 * <p>All numbers are little-endian. Header: {@code "PREFETCH"}, version, identity, tokens per page, bytes of a page of each kind,
 * number of pages, CRC-32C of all this. Page: index of the page it continues or -1, number of tokens, tokens, which kinds
 * follow (1 and 2), their bytes, CRC-32C of all this.
 */
public final class PromptCacheFile {

    /** Pages that are kept; of a state nothing is. */
    private static final List<Span> KEPT = List.of(Span.FULL, Span.WINDOW);

    private static final Logger LOG = LoggerFactory.getLogger(PromptCacheFile.class);

    private static final byte[] MAGIC = "PREFETCH".getBytes(StandardCharsets.US_ASCII);
    private static final int VERSION = 1;
    private static final int HEADER_BYTES =
            MAGIC.length + Integer.BYTES + Sha256.BYTES + Integer.BYTES + 2 * Long.BYTES + 2 * Integer.BYTES;
    private static final int MOST_NODE_BYTES = Integer.BYTES * (3 + KvLayout.PAGE_TOKENS);
    private static final int FULL = 1;
    private static final int WINDOW = 2;

    private final Path file;
    private final Identity identity;
    private final int vocabularySize;

    /**
     * @param file where it is, or will be; its folder is made when it is written
     * @param identity of what decides the bits, but for the device
     * @param vocabularySize tokens of the model
     */
    public PromptCacheFile(Path file, Identity identity, int vocabularySize) {
        this.file = file;
        this.identity = identity;
        this.vocabularySize = vocabularySize;
    }

    /**
     * A digest of the model, of what is added to it and of the code that computes. It may take longer to find than the engine
     * to open.
     */
    public interface Identity {

        /** The digest, if it is known. */
        Optional<byte[]> now();

        /** The digest, for which the engine that is closed waits a little. */
        Optional<byte[]> soon();

        /** One that is known. */
        static Identity of(byte[] digest) {
            return new Identity() {
                @Override
                public Optional<byte[]> now() {
                    return Optional.of(digest);
                }

                @Override
                public Optional<byte[]> soon() {
                    return now();
                }
            };
        }
    }

    /** A file that cannot be used, or not further. */
    private static final class UnusableException extends Exception {

        private static final long serialVersionUID = 1L;

        UnusableException(String message) {
            super(message);
        }
    }

    /** Fills an empty cache with what the file has, as far as there is room. */
    void load(KvPool pool) {
        if (!pool.cached().enabled()) {
            return;
        }
        Optional<byte[]> known = identity.now();
        if (known.isEmpty()) {
            if (Files.exists(file)) {
                LOG.info(
                        "The prompt cache in {} is not used this time: the model's files are new here or have changed, and have"
                                + " to be read first to tell whether it is theirs",
                        file);
            }
            return;
        }
        long start = System.nanoTime();
        List<Node> nodes = new ArrayList<>();
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ);
                Arena arena = Arena.ofConfined()) {
            int count = readHeader(channel, pool, known.get());
            Reader reader = new Reader(channel, pool, arena);
            while (nodes.size() < count && reader.hasRoom()) {
                nodes.add(reader.next(nodes, count));
            }
        } catch (NoSuchFileException e) {
            LOG.debug("There is no prompt cache in {} yet", file);
            return;
        } catch (UnusableException e) {
            LOG.warn(
                    "The prompt cache in {} is {}: {}. It is written anew when the engine is closed",
                    file,
                    nodes.isEmpty() ? "not used" : "used up to page " + nodes.size(),
                    e.getMessage());
        } catch (IOException e) {
            LOG.warn(
                    "The prompt cache in {} could not be read beyond page {}: {}. Check the file and its permissions",
                    file,
                    nodes.size(),
                    e.toString());
        } catch (OutOfDeviceMemoryException e) {
            LOG.warn(
                    "There is memory for {} pages of the prompt cache in {} only: {}",
                    nodes.size(),
                    file,
                    e.getMessage());
        }
        if (!nodes.isEmpty()) {
            LOG.info(
                    "Prompt cache: {} pages, {} MiB from {} in {} ms",
                    nodes.size(),
                    pool.idleBytes() >> 20,
                    file,
                    (System.nanoTime() - start) / 1_000_000);
        }
    }

    /** Writes what the cache holds, unless that is nothing. */
    void save(KvPool pool) {
        long start = System.nanoTime();
        List<Node> nodes = byValue(pool.cached());
        if (nodes.isEmpty()) {
            return;
        }
        Optional<byte[]> known = identity.soon();
        if (known.isEmpty()) {
            LOG.info("The prompt cache is not written to {}: the model's files were not read to their end yet", file);
            return;
        }
        Path temporary = null;
        try {
            Path folder = file.toAbsolutePath().getParent();
            Files.createDirectories(folder);
            // Only its owner may read it: it holds prompts.
            temporary = Files.createTempFile(folder, file.getFileName().toString(), ".tmp");
            try (FileChannel channel = FileChannel.open(temporary, StandardOpenOption.WRITE);
                    Arena arena = Arena.ofConfined()) {
                write(channel, pool, known.get(), nodes, arena);
                channel.force(true);
            }
            Files.move(temporary, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            LOG.info(
                    "Prompt cache: {} pages, {} MiB written to {} in {} ms",
                    nodes.size(),
                    Files.size(file) >> 20,
                    file,
                    (System.nanoTime() - start) / 1_000_000);
        } catch (IOException | RuntimeException e) {
            // Closing goes on whatever happens here: the file is a convenience, and a device that failed has no pages.
            LOG.warn(
                    "The prompt cache could not be written to {}: {}. Check the folder, its permissions and the free space",
                    file,
                    e.toString());
            delete(temporary);
        }
    }

    private static void delete(@Nullable Path temporary) {
        if (temporary != null) {
            try {
                Files.deleteIfExists(temporary);
            } catch (IOException e) {
                LOG.warn("{} could not be deleted: {}", temporary, e.toString());
            }
        }
    }

    /** Every node behind its parent, and those used last, with what leads to them, first. */
    private static List<Node> byValue(PromptCache cache) {
        List<Node> nodes = cache.nodes();
        Map<Node, Long> lastUsed = new IdentityHashMap<>();
        // Children come behind their parents, so backwards a node has heard of all that follow it.
        for (Node node : nodes.reversed()) {
            long newest = lastUsed.merge(node, node.lastUsed(), Math::max);
            Node parent = cache.parentOf(node);
            if (parent != null) {
                lastUsed.merge(parent, newest, Math::max);
            }
        }
        List<Node> sorted = new ArrayList<>(nodes);
        sorted.sort((a, b) -> Long.compare(lastUsed.getOrDefault(b, 0L), lastUsed.getOrDefault(a, 0L)));
        return sorted;
    }

    /** The identity of keys and values that a pool's device computes. */
    private static byte[] identityOn(KvPool pool, byte[] model) {
        MessageDigest digest = Sha256.begin();
        digest.update(model);
        digest.update(pool.numerics().getBytes(StandardCharsets.UTF_8));
        digest.update(pool.layout().type().name().getBytes(StandardCharsets.UTF_8));
        return digest.digest();
    }

    private static ByteBuffer buffer(int bytes) {
        return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static int checksum(ByteBuffer... parts) {
        CRC32C crc = new CRC32C();
        for (ByteBuffer part : parts) {
            crc.update(part.duplicate());
        }
        return (int) crc.getValue();
    }

    private static void write(FileChannel channel, KvPool pool, byte[] model, List<Node> nodes, Arena arena)
            throws IOException {
        KvLayout layout = pool.layout();
        ByteBuffer header = buffer(HEADER_BYTES)
                .put(MAGIC)
                .putInt(VERSION)
                .put(identityOn(pool, model))
                .putInt(KvLayout.PAGE_TOKENS)
                .putLong(layout.pageBytes(Span.FULL))
                .putLong(layout.pageBytes(Span.WINDOW))
                .putInt(nodes.size());
        header.putInt(checksum(header.duplicate().flip())).flip();
        writeAll(channel, header);
        Map<Node, Integer> indices = new IdentityHashMap<>();
        Pages pages = new Pages(layout, arena);
        for (Node node : nodes) {
            Node parent = pool.cached().parentOf(node);
            int[] tokens = node.tokens();
            DeviceBuffer full = node.full();
            DeviceBuffer window = node.ownWindow();
            ByteBuffer head = buffer(MOST_NODE_BYTES)
                    .putInt(parent == null ? -1 : indices.get(parent))
                    .putInt(tokens.length);
            Arrays.stream(tokens).forEach(head::putInt);
            head.putInt((full == null ? 0 : FULL) | (window == null ? 0 : WINDOW))
                    .flip();
            CRC32C crc = new CRC32C();
            crc.update(head.duplicate());
            writeAll(channel, head);
            for (Span span : KEPT) {
                DeviceBuffer page = span == Span.FULL ? full : window;
                if (page != null) {
                    ByteBuffer bytes = pages.downloaded(span, page);
                    crc.update(bytes.duplicate());
                    writeAll(channel, bytes);
                }
            }
            writeAll(channel, buffer(Integer.BYTES).putInt((int) crc.getValue()).flip());
            indices.put(node, indices.size());
        }
    }

    private static void writeAll(FileChannel channel, ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            channel.write(bytes);
        }
    }

    private static void readAll(FileChannel channel, ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            if (channel.read(bytes) < 0) {
                throw new EOFException("the file ends at byte " + channel.position() + ", in the middle of a page");
            }
        }
        bytes.flip();
    }

    /** Checks that the file is whole so far and ours; returns how many pages it has. */
    private static int readHeader(FileChannel channel, KvPool pool, byte[] model)
            throws IOException, UnusableException {
        if (channel.size() < HEADER_BYTES) {
            throw new UnusableException("it is no prompt cache, or cut off");
        }
        ByteBuffer header = buffer(HEADER_BYTES);
        readAll(channel, header);
        byte[] magic = new byte[MAGIC.length];
        header.get(magic);
        int version = header.getInt();
        if (!Arrays.equals(magic, MAGIC) || version != VERSION) {
            throw new UnusableException("it is no prompt cache of this version of Prefetch");
        }
        ByteBuffer checked = header.duplicate().position(0).limit(HEADER_BYTES - Integer.BYTES);
        if (checksum(checked) != header.getInt(HEADER_BYTES - Integer.BYTES)) {
            throw new UnusableException("its header is damaged");
        }
        byte[] found = new byte[Sha256.BYTES];
        header.get(found);
        if (!Arrays.equals(found, identityOn(pool, model))) {
            throw new UnusableException(
                    "it was made with another model, adapter, type of the KV cache, backend or version");
        }
        boolean sameLayout = header.getInt() == KvLayout.PAGE_TOKENS
                & header.getLong() == pool.layout().pageBytes(Span.FULL)
                & header.getLong() == pool.layout().pageBytes(Span.WINDOW);
        int count = header.getInt();
        if (!sameLayout || count < 0) {
            throw new UnusableException("its pages are of another size");
        }
        return count;
    }

    /** Memory through which pages pass that do not lie in the host's. */
    private static final class Pages {

        private final KvLayout layout;
        private final Arena arena;
        private final @Nullable MemorySegment[] scratch = new @Nullable MemorySegment[Span.values().length];

        Pages(KvLayout layout, Arena arena) {
            this.layout = layout;
            this.arena = arena;
        }

        MemorySegment memoryFor(Span span, DeviceBuffer page) {
            Optional<MemorySegment> own = page.hostMemory();
            if (own.isPresent()) {
                return own.get();
            }
            MemorySegment memory = scratch[span.ordinal()];
            if (memory == null) {
                memory = arena.allocate(layout.pageBytes(span));
                scratch[span.ordinal()] = memory;
            }
            return memory;
        }

        ByteBuffer downloaded(Span span, DeviceBuffer page) {
            MemorySegment memory = memoryFor(span, page);
            if (page.hostMemory().isEmpty()) {
                page.download(0, memory);
            }
            return memory.asByteBuffer();
        }
    }

    /** Reads page after page into a pool. */
    private final class Reader {

        private final FileChannel channel;
        private final KvPool pool;
        private final KvLayout layout;
        private final Pages pages;

        Reader(FileChannel channel, KvPool pool, Arena arena) {
            this.channel = channel;
            this.pool = pool;
            this.layout = pool.layout();
            this.pages = new Pages(layout, arena);
        }

        /** Whether a page of each kind may still lie idle. */
        boolean hasRoom() {
            return pool.cached().hasRoomFor(layout.pageBytes(Span.FULL) + layout.pageBytes(Span.WINDOW));
        }

        Node next(List<Node> before, int count) throws IOException, UnusableException {
            ByteBuffer head = buffer(2 * Integer.BYTES);
            readAll(channel, head);
            int parent = head.getInt();
            int length = head.getInt();
            if (parent < -1 || parent >= before.size() || length < 1 || length > KvLayout.PAGE_TOKENS) {
                throw damaged(before);
            }
            ByteBuffer rest = buffer((length + 1) * Integer.BYTES);
            readAll(channel, rest);
            int[] tokens = new int[length];
            for (int i = 0; i < length; i++) {
                tokens[i] = rest.getInt();
            }
            int kinds = rest.getInt();
            boolean complete = layout.pageBytes(Span.FULL) == 0 || (kinds & FULL) != 0;
            boolean possible = ((kinds & WINDOW) == 0 || layout.slides()) && (kinds & ~(FULL | WINDOW)) == 0;
            if (!complete
                    || !possible
                    || Arrays.stream(tokens).anyMatch(token -> token < 0 || token >= vocabularySize)) {
                throw damaged(before);
            }
            CRC32C crc = new CRC32C();
            crc.update(head.rewind());
            crc.update(rest.rewind());
            @Nullable DeviceBuffer[] taken = new @Nullable DeviceBuffer[Span.values().length];
            boolean kept = false;
            try {
                for (Span span : KEPT) {
                    if ((kinds & (span == Span.FULL ? FULL : WINDOW)) != 0) {
                        taken[span.ordinal()] = read(span, crc);
                    }
                }
                ByteBuffer checksum = buffer(Integer.BYTES);
                readAll(channel, checksum);
                if (checksum.getInt() != (int) crc.getValue()) {
                    throw damaged(before);
                }
                Node node = pool.cached()
                        .restore(
                                parent < 0 ? null : before.get(parent),
                                tokens,
                                taken[Span.FULL.ordinal()],
                                taken[Span.WINDOW.ordinal()],
                                count - before.size());
                if (node == null) {
                    throw damaged(before);
                }
                kept = true;
                return node;
            } finally {
                for (Span span : KEPT) {
                    DeviceBuffer page = taken[span.ordinal()];
                    if (!kept && page != null) {
                        pool.free(span, page);
                    }
                }
            }
        }

        private DeviceBuffer read(Span span, CRC32C crc) throws IOException {
            DeviceBuffer page = pool.newPage(span);
            boolean read = false;
            try {
                MemorySegment memory = pages.memoryFor(span, page);
                ByteBuffer bytes = memory.asByteBuffer();
                readAll(channel, bytes);
                crc.update(bytes);
                if (page.hostMemory().isEmpty()) {
                    page.upload(memory, 0);
                }
                read = true;
                return page;
            } finally {
                if (!read) {
                    pool.free(span, page);
                }
            }
        }

        private UnusableException damaged(List<Node> before) {
            return new UnusableException("page " + before.size() + " is damaged");
        }
    }
}
