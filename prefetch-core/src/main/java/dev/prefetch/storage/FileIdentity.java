package dev.prefetch.storage;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;
import org.jspecify.annotations.Nullable;

/**
 * What tells that a path still leads to the same, unchanged file.
 *
 * @param size length in bytes
 * @param modified time of the last change
 * @param key device and inode, where the file system has such a thing
 */
public record FileIdentity(
        long size, FileTime modified, @Nullable Object key) {

    /** @throws IOException when the file cannot be examined */
    public static FileIdentity of(Path file) throws IOException {
        BasicFileAttributes attributes = Files.readAttributes(file, BasicFileAttributes.class);
        return new FileIdentity(attributes.size(), attributes.lastModifiedTime(), attributes.fileKey());
    }

    /**
     * @throws StorageException when the path leads nowhere, to another file, or to a changed one
     */
    void requireUnchanged(Path file, long offset) {
        FileIdentity now;
        try {
            now = of(file);
        } catch (NoSuchFileException e) {
            throw new StorageException(file, offset, "the file has vanished since it was opened", e);
        } catch (IOException e) {
            throw new StorageException(file, offset, "the file cannot be examined: " + e.getMessage(), e);
        }
        if (!equals(now)) {
            throw new StorageException(
                    file, offset, "the file has changed since it was opened: " + difference(now), null);
        }
    }

    private String difference(FileIdentity now) {
        if (size != now.size) {
            return "expected " + size + " bytes but it has " + now.size;
        }
        if (!modified.equals(now.modified)) {
            return "expected modification time " + modified + " but it is " + now.modified;
        }
        return "another file lies at its path";
    }
}
