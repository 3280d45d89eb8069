package dev.prefetch.spring.autoconfigure;

import dev.prefetch.storage.Sha256;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.util.Map;
import java.util.Objects;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.core.io.Resource;

/**
 * Copies models out of jars, because only a file can be mapped into memory.
 *
 * <p>How it works: a copy's name contains the SHA-256 of its content, so a new version of a model never meets the copy
 * of an old one. A copy is written under a temporary name and moved into place, so that no other process sees half of
 * it, and it is hashed again before every use, so that a damaged or foreign file is replaced.
 */
final class ModelCache {

    private static final Logger LOG = LoggerFactory.getLogger(ModelCache.class);

    private static final int COPY_BYTES = 1 << 20;

    private final Supplier<Path> directory;

    private ModelCache(Supplier<Path> directory) {
        this.directory = directory;
    }

    /** The cache in the given folder, or else in the user's cache folder. */
    static ModelCache at(@Nullable Path directory) {
        return new ModelCache(() -> {
            Path chosen = directory != null
                    ? directory
                    : defaultDirectory(
                            System.getenv(),
                            System.getProperty("user.home"),
                            Path.of(
                                    System.getProperty("java.io.tmpdir"),
                                    "prefetch-" + System.getProperty("user.name")));
            return chosen.toAbsolutePath().normalize();
        });
    }

    /** Where copies are; known only when one is needed, because finding it out may create folders. */
    Path directory() {
        return directory.get();
    }

    /** The resource's content as a file. Thread-safe, also between processes. */
    Path extract(Resource resource) throws IOException {
        String name = Objects.requireNonNullElse(resource.getFilename(), "model.gguf");
        String hash;
        try (InputStream in = resource.getInputStream()) {
            hash = copy(in, OutputStream.nullOutputStream());
        }
        Path folder = directory();
        Path target = folder.resolve(hash + "-" + name);
        if (isIntact(target, hash)) {
            LOG.info("Using the copy of {} in {}", resource.getDescription(), target);
            return target;
        }
        LOG.info("Extracting {} to {}", resource.getDescription(), target);
        Files.createDirectories(folder);
        Path temporary = Files.createTempFile(folder, "extracting-", ".tmp");
        try {
            write(resource, hash, temporary);
            moveIntoPlace(temporary, target, hash);
        } finally {
            Files.deleteIfExists(temporary);
        }
        return target;
    }

    private static void write(Resource resource, String hash, Path file) throws IOException {
        String written;
        try (InputStream in = resource.getInputStream();
                OutputStream out = Files.newOutputStream(file)) {
            written = copy(in, out);
        }
        if (!written.equals(hash)) {
            throw new IOException(resource.getDescription() + " changed while it was read: its SHA-256 was " + hash
                    + " and then " + written);
        }
    }

    private static void moveIntoPlace(Path temporary, Path target, String hash) throws IOException {
        try {
            Files.move(temporary, target, StandardCopyOption.ATOMIC_MOVE);
        } catch (FileSystemException e) {
            // Windows does not replace a file that another process has mapped: then that process was first.
            if (!isIntact(target, hash)) {
                throw e;
            }
        }
    }

    private static boolean isIntact(Path file, String hash) throws IOException {
        if (!Files.isRegularFile(file)) {
            return false;
        }
        try (InputStream in = Files.newInputStream(file)) {
            return copy(in, OutputStream.nullOutputStream()).equals(hash);
        }
    }

    /** Copies, and returns the SHA-256 of what was copied as hexadecimal digits. */
    private static String copy(InputStream in, OutputStream out) throws IOException {
        MessageDigest digest = Sha256.begin();
        byte[] buffer = new byte[COPY_BYTES];
        for (int read = in.read(buffer); read >= 0; read = in.read(buffer)) {
            digest.update(buffer, 0, read);
            out.write(buffer, 0, read);
        }
        return Sha256.hex(digest);
    }

    /**
     * The first of the customary folders that can be written; containers often have no home folder.
     *
     * @param environment environment variables
     * @param home the user's home folder, as far as it is known
     * @param temporary used when nothing else can be written
     */
    static Path defaultDirectory(Map<String, String> environment, @Nullable String home, Path temporary) {
        // A process without a home folder has "?" or "/" there.
        String homeCache = home == null || home.length() < 2
                ? null
                : Path.of(home, ".cache").toString();
        return Stream.of(environment.get("XDG_CACHE_HOME"), environment.get("LOCALAPPDATA"), homeCache)
                .filter(folder -> folder != null && !folder.isBlank())
                .map(folder -> Path.of(folder, "prefetch"))
                .filter(ModelCache::canWrite)
                .findFirst()
                .orElse(temporary)
                .resolve("models");
    }

    private static boolean canWrite(Path folder) {
        try {
            return Files.isWritable(Files.createDirectories(folder));
        } catch (IOException e) {
            LOG.debug("{} cannot be the cache folder", folder, e);
            return false;
        }
    }
}
