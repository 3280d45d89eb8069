package dev.prefetch.cuda;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Arrays;
import jcuda.driver.JCudaDriver;

/**
 * Loads JCuda's native library safely. JCuda itself writes it to {@code java.io.tmpdir} under a fixed name, not atomically,
 * and loads whatever lies there: processes that start together crash, and in a shared folder anybody could put a library in
 * its place. So it is written here, to a folder that only this user can write to, under a temporary name that is then moved;
 * JCuda finds it complete.
 */
final class JCudaNatives {

    private static final String LIBRARY = "libJCudaDriver-12.6.0-linux-x86_64.so";
    private static final String TEMPORARY_FOLDER = "java.io.tmpdir";

    private static boolean loaded;

    private JCudaNatives() {}

    /**
     * Loads the library, once per process.
     *
     * @throws LinkageError when it cannot be loaded
     * @throws UncheckedIOException when it cannot be written
     */
    static synchronized void load() {
        if (loaded) {
            return;
        }
        String before = System.getProperty(TEMPORARY_FOLDER);
        Path folder = privateFolder(Path.of(before).toAbsolutePath());
        write(folder.resolve(LIBRARY));
        // JCuda asks for the property when its class is initialised, and for nothing else.
        System.setProperty(TEMPORARY_FOLDER, folder.toString());
        try {
            JCudaDriver.setExceptionsEnabled(false);
        } finally {
            System.setProperty(TEMPORARY_FOLDER, before);
        }
        loaded = true;
    }

    private static Path privateFolder(Path parent) {
        Path folder = parent.resolve("prefetch-cuda-" + System.getProperty("user.name"));
        try {
            if (!Files.isDirectory(folder, LinkOption.NOFOLLOW_LINKS)) {
                Files.createDirectories(
                        folder, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
            }
            Path own = Files.createTempFile(folder, "owner", null);
            boolean mine = Files.getOwner(own).equals(Files.getOwner(folder, LinkOption.NOFOLLOW_LINKS));
            Files.delete(own);
            String permissions =
                    PosixFilePermissions.toString(Files.getPosixFilePermissions(folder, LinkOption.NOFOLLOW_LINKS));
            if (!mine || !permissions.equals("rwx------")) {
                throw new IOException("the folder must belong to this user alone");
            }
            return folder;
        } catch (IOException e) {
            throw new UncheckedIOException(
                    "cannot use the folder " + folder + " for JCuda's native library; remove it, or set the system "
                            + "property " + TEMPORARY_FOLDER,
                    e);
        }
    }

    private static void write(Path target) {
        try (InputStream resource = JCudaDriver.class.getResourceAsStream("/lib/" + LIBRARY)) {
            if (resource == null) {
                // Natives that were unpacked beforehand are found by java.library.path, which JCuda tries first.
                return;
            }
            byte[] wanted = resource.readAllBytes();
            if (Files.isRegularFile(target, LinkOption.NOFOLLOW_LINKS)
                    && Arrays.equals(Files.readAllBytes(target), wanted)) {
                return;
            }
            Path temporary = Files.createTempFile(target.getParent(), LIBRARY, null);
            try {
                Files.write(temporary, wanted);
                Files.move(temporary, target, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            } finally {
                Files.deleteIfExists(temporary);
            }
        } catch (IOException e) {
            throw new UncheckedIOException("cannot write JCuda's native library to " + target, e);
        }
    }
}
