package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Which models have the same identity, and when their files are read. */
@Timeout(60)
class ModelIdentityTest {

    /** More than one chunk, and no whole number of blocks. */
    private static final int BYTES = (9 << 20) + 77;

    @TempDir
    private Path folder;

    private Path known() {
        return folder.resolve("cache").resolve("prompts.digests");
    }

    private Path file(String name, int changedAt) throws IOException {
        byte[] content = new byte[BYTES];
        new SplittableRandom(1).nextBytes(content);
        if (changedAt >= 0) {
            content[changedAt] ^= 1;
        }
        Path file = Files.write(folder.resolve(name), content);
        Files.setLastModifiedTime(file, FileTime.fromMillis(1_700_000_000_000L));
        return file;
    }

    private byte[] identity(List<Path> files, LoraSource... adapters) {
        try (ModelIdentity identity = new ModelIdentity(files, List.of(adapters), known())) {
            return identity.soon().orElseThrow();
        }
    }

    @Test
    void oneBitAnywhereMakesAnotherModel() throws IOException {
        byte[] identity = identity(List.of(file("a", -1)));
        for (int place : new int[] {0, 5_000_001, 8 << 20, BYTES - 1}) {
            assertThat(identity(List.of(file("b", place)))).as("byte %d", place).isNotEqualTo(identity);
        }
    }

    @Test
    void theSameBytesElsewhereAreTheSameModel() throws IOException {
        assertThat(identity(List.of(file("a", -1)))).isEqualTo(identity(List.of(file("with a space\nand a line", -1))));
    }

    @Test
    void filesAndAdaptersCountInTheirOrderAndWithTheirScales() throws IOException {
        Path a = file("a", -1);
        Path b = file("b", 7);
        List<byte[]> all = List.of(
                identity(List.of(a)),
                identity(List.of(a, b)),
                identity(List.of(b, a)),
                identity(List.of(a), new LoraSource(b, 1)),
                identity(List.of(a), new LoraSource(b, 0.5f)));
        assertThat(all)
                .doesNotHaveDuplicates()
                .extracting(HexFormat.of()::formatHex)
                .doesNotHaveDuplicates();
    }

    @Test
    void aFileThatWasReadOnceIsKnownAtOnceUntilItChanges() throws Exception {
        Path file = file("a", -1);
        byte[] first = identity(List.of(file));
        try (ModelIdentity again = new ModelIdentity(List.of(file), List.of(), known())) {
            assertThat(again.now())
                    .hasValueSatisfying(value -> assertThat(value).isEqualTo(first));
        }
        assertThat(Files.readString(known()))
                .startsWith(HexFormat.of()
                        .formatHex(MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file))));
        // Its content is not looked at again ...
        Files.writeString(known(), Files.readString(known()).replaceFirst("^[0-9a-f]{64}", "0".repeat(64)));
        byte[] believed = identity(List.of(file));
        assertThat(believed).isNotEqualTo(first);
        // ... before the file says that it changed.
        Files.setLastModifiedTime(file, FileTime.fromMillis(1_700_000_000_001L));
        assertThat(identity(List.of(file))).isEqualTo(first);
    }

    @Test
    void brokenKnowledgeCostsNothingButReading() throws IOException {
        Path file = file("a", -1);
        byte[] identity = identity(List.of(file));
        for (String content : List.of("", "\n\n", "abc", "x".repeat(1000))) {
            Files.writeString(known(), content);
            assertThat(identity(List.of(file))).isEqualTo(identity);
        }
        Files.delete(known());
        Files.createDirectory(known());
        assertThat(identity(List.of(file))).isEqualTo(identity);
    }

    @Test
    void whatCannotBeReadHasNoIdentity() {
        try (ModelIdentity identity = new ModelIdentity(List.of(folder.resolve("nothing")), List.of(), known())) {
            assertThat(identity.soon()).isEqualTo(Optional.empty());
            assertThat(identity.now()).isEqualTo(Optional.empty());
        }
    }

    @Test
    void closingDoesNotWaitForTheEnd() throws IOException {
        Path file = file("a", -1);
        new ModelIdentity(List.of(file, file, file, file), List.of(), known()).close();
        assertThat(Thread.getAllStackTraces().keySet())
                .extracting(Thread::getName)
                .doesNotContain("prefetch-digest");
    }
}
