package dev.prefetch.api;

import dev.prefetch.inference.PromptCacheFile;
import dev.prefetch.storage.DirectReader;
import dev.prefetch.storage.FileIdentity;
import dev.prefetch.storage.Sha256;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Tells models apart whose keys and values differ: by the SHA-256 of all bytes of the model's files and of its adapters', the
 * scales of these, and the library's version.
 *
 * <p>How it works. To read a large model takes minutes, so the engine does not wait for it: a thread reads the files past the
 * page cache and leaves the disk three quarters of the time to others. What it found is written to a file of known digests, one
 * line for each file of a model: digest, size, time of the last change in nanoseconds, device and inode, and path. The digest in
 * it is believed as long as the other four are those of the file.
 */
final class ModelIdentity implements PromptCacheFile.Identity, AutoCloseable {

    private static final Logger LOG = LoggerFactory.getLogger(ModelIdentity.class);

    private static final int CHUNK_BYTES = 4 << 20;

    /** Time left to others for each part of time spent on reading. */
    private static final int REST = 3;

    /** How long an engine that is closed waits. */
    private static final long SOON_SECONDS = 10;

    /** Lines that are kept, the latest. */
    private static final int MOST_KNOWN = 64;

    private final List<Path> files;
    private final List<LoraSource> adapters;
    private final Path knownDigests;
    private final CompletableFuture<byte[]> digest = new CompletableFuture<>();
    private final CountDownLatch hurry = new CountDownLatch(1);
    private final Thread reader =
            Thread.ofPlatform().name("prefetch-digest").daemon().unstarted(this::readAll);
    private volatile boolean closed;

    /**
     * Finds the identity, at once where the digests of all files are known.
     *
     * @param files of the model, in their order
     * @param knownDigests where digests are from the last time, and for the next
     */
    ModelIdentity(List<Path> files, List<LoraSource> adapters, Path knownDigests) {
        this.files = List.copyOf(files);
        this.adapters = List.copyOf(adapters);
        this.knownDigests = knownDigests;
        List<String> digests = new ArrayList<>();
        List<String> known = known();
        for (Path file : all()) {
            digest(file, known).ifPresent(digests::add);
        }
        if (digests.size() == all().size()) {
            digest.complete(combined(digests));
        } else {
            reader.start();
        }
    }

    private List<Path> all() {
        List<Path> all = new ArrayList<>(files);
        adapters.forEach(adapter -> all.add(adapter.path()));
        return all;
    }

    @Override
    public Optional<byte[]> now() {
        return digest.isDone() && !digest.isCompletedExceptionally() ? Optional.of(digest.join()) : Optional.empty();
    }

    @Override
    public Optional<byte[]> soon() {
        hurry.countDown();
        try {
            return Optional.of(digest.get(SOON_SECONDS, TimeUnit.SECONDS));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return now();
        } catch (TimeoutException | ExecutionException | CancellationException e) {
            LOG.debug("The model's digest is not there", e);
            return Optional.empty();
        }
    }

    /** Stops reading. Idempotent. */
    @Override
    public void close() {
        closed = true;
        hurry.countDown();
        boolean interrupted = false;
        while (reader.isAlive()) {
            try {
                reader.join();
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private byte[] combined(List<String> digests) {
        MessageDigest all = Sha256.begin();
        // Kernels of another version may round otherwise.
        all.update(String.valueOf(ModelIdentity.class.getPackage().getImplementationVersion())
                .getBytes(StandardCharsets.UTF_8));
        all.update(ByteBuffer.allocate(Integer.BYTES).putInt(files.size()).flip());
        for (int i = 0; i < digests.size(); i++) {
            all.update(digests.get(i).getBytes(StandardCharsets.UTF_8));
            if (i >= files.size()) {
                float scale = adapters.get(i - files.size()).scale();
                all.update(ByteBuffer.allocate(Float.BYTES).putFloat(scale).flip());
            }
        }
        return all.digest();
    }

    private void readAll() {
        try {
            List<String> digests = new ArrayList<>();
            for (Path file : all()) {
                Optional<String> known = digest(file, known());
                digests.add(known.isPresent() ? known.get() : read(file));
            }
            digest.complete(combined(digests));
        } catch (CancellationException e) {
            digest.completeExceptionally(e);
        } catch (IOException | RuntimeException | Error e) {
            digest.completeExceptionally(e);
            LOG.warn(
                    "The model's files could not be read to tell them from others, so its prompt cache is not kept in a file:"
                            + " {}. Check the files and their permissions",
                    e.toString());
        }
    }

    private String read(Path file) throws IOException {
        FileIdentity before = FileIdentity.of(file);
        MessageDigest content = Sha256.begin();
        // The reader notices when the file changes meanwhile.
        try (DirectReader in = DirectReader.open(file);
                Arena arena = Arena.ofConfined()) {
            MemorySegment chunk = arena.allocate(CHUNK_BYTES, in.alignment());
            for (long offset = 0; offset < in.fileSize(); offset += CHUNK_BYTES) {
                long start = System.nanoTime();
                long bytes = Math.min(CHUNK_BYTES, in.fileSize() - offset);
                in.read(offset, chunk.asSlice(0, Math.ceilDiv(bytes, in.alignment()) * in.alignment()));
                content.update(chunk.asSlice(0, bytes).asByteBuffer());
                rest(REST * (System.nanoTime() - start));
                if (closed) {
                    throw new CancellationException("closed while the model's files were read");
                }
            }
        }
        String found = Sha256.hex(content);
        remember(new Known(found, before, file.toUri()));
        return found;
    }

    /** Leaves the disk to others, unless somebody waits. */
    private void rest(long nanos) {
        try {
            if (hurry.await(nanos, TimeUnit.NANOSECONDS)) {
                LOG.trace("Somebody waits for the model's digest");
            }
        } catch (InterruptedException e) {
            throw new CancellationException("interrupted while the model's files were read");
        }
    }

    /** A line of the file of known digests. */
    private record Known(String digest, FileIdentity identity, URI file) {

        String line() {
            return String.join(" ", digest, described(identity), file.toString());
        }

        /** In a form that is the same from start to start. */
        static String described(FileIdentity identity) {
            return identity.size() + " " + identity.modified().to(TimeUnit.NANOSECONDS) + " "
                    + String.valueOf(identity.key()).replace(' ', '_');
        }
    }

    private Optional<String> digest(Path file, List<String> lines) {
        try {
            String end = " " + Known.described(FileIdentity.of(file)) + " " + file.toUri();
            return lines.reversed().stream()
                    .filter(line -> line.length() == 2 * Sha256.BYTES + end.length() && line.endsWith(end))
                    .map(line -> line.substring(0, 2 * Sha256.BYTES))
                    .findFirst();
        } catch (IOException e) {
            LOG.debug("{} cannot be examined", file, e);
            return Optional.empty();
        }
    }

    private List<String> known() {
        try {
            return Files.readAllLines(knownDigests);
        } catch (NoSuchFileException e) {
            return List.of();
        } catch (IOException e) {
            LOG.warn("The digests in {} could not be read: {}. They are found anew", knownDigests, e.toString());
            return List.of();
        }
    }

    private void remember(Known found) {
        List<String> lines = new ArrayList<>(known());
        lines.add(found.line());
        lines = lines.subList(Math.max(0, lines.size() - MOST_KNOWN), lines.size());
        try {
            Path folder = knownDigests.toAbsolutePath().getParent();
            Files.createDirectories(folder);
            Path temporary =
                    Files.createTempFile(folder, knownDigests.getFileName().toString(), ".tmp");
            Files.write(temporary, lines);
            Files.move(temporary, knownDigests, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException e) {
            LOG.warn(
                    "The model's digest could not be written to {}: {}. The model is read again at the next start; check the"
                            + " folder and its permissions",
                    knownDigests,
                    e.toString());
        }
    }
}
