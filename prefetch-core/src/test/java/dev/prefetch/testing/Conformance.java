package dev.prefetch.testing;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** The conformance data: models, vocabularies and recorded truths, which lie outside the sources. */
public final class Conformance {

    private static final String PROPERTY = "prefetch.conformance.dir";

    private Conformance() {}

    /** Whether the data is there. */
    public static boolean isPresent() {
        String folder = System.getProperty(PROPERTY, "");
        return !folder.isBlank() && Files.isDirectory(Path.of(folder));
    }

    /** The folder of the data; skips the running test, with the reason, where it is absent. */
    public static Path folder() {
        assumeTrue(isPresent(), "no conformance data: the system property " + PROPERTY + " names no folder");
        return Path.of(System.getProperty(PROPERTY));
    }

    /** All GGUF files of a sub-folder ({@code "logits"}, {@code "tokenizers"}, ...), sorted; skips like folder(). */
    public static List<Path> ggufFiles(String subFolder) {
        try (Stream<Path> files = Files.list(folder().resolve(subFolder))) {
            return files.filter(file -> file.toString().endsWith(".gguf"))
                    .sorted()
                    .toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
