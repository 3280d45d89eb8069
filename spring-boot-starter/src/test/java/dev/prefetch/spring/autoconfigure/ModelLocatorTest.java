package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.api.ModelCaches;
import java.io.IOException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.jar.JarEntry;
import java.util.jar.JarOutputStream;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.springframework.boot.diagnostics.FailureAnalyzedException;
import org.springframework.core.io.DefaultResourceLoader;

class ModelLocatorTest {

    private static final String LOCATION = "classpath:models/demo.gguf";

    @TempDir
    private Path folder;

    private Path cache;
    private byte[] content;

    @BeforeEach
    void prepare() {
        cache = folder.resolve("cache");
        // Longer than the copy buffer, so that more than one round is copied.
        content = new byte[(1 << 20) + 12_345];
        new SplittableRandom(42).nextBytes(content);
    }

    private ModelLocator locator(ClassLoader classes) {
        return new ModelLocator(
                new DefaultResourceLoader(classes),
                ModelCache.at(cache),
                new ModelCaches(List.of(folder.resolve("hub")), List.of(), List.of()));
    }

    private URLClassLoader jarWith(byte[] model) throws IOException {
        Path jar = Files.createTempFile(folder, "application", ".jar");
        try (JarOutputStream out = new JarOutputStream(Files.newOutputStream(jar))) {
            out.putNextEntry(new JarEntry("models/demo.gguf"));
            out.write(model);
            out.closeEntry();
        }
        return new URLClassLoader(new URL[] {jar.toUri().toURL()}, null);
    }

    private List<Path> cached() throws IOException {
        try (Stream<Path> files = Files.list(cache)) {
            return files.toList();
        }
    }

    @Test
    void findsAModelThatAnotherToolHasDownloaded() throws IOException {
        ModelLocator locator = locator(getClass().getClassLoader());
        Path hub = folder.resolve("hub/models--acme--tiny-GGUF");
        assertThatThrownBy(() -> locator.locate("spring.ai.prefetch.model", "hf:acme/tiny-GGUF:Q8_0"))
                .isInstanceOfSatisfying(FailureAnalyzedException.class, failure -> {
                    assertThat(failure.analysis().getDescription()).contains("acme/tiny-GGUF");
                    assertThat(failure.analysis().getAction()).contains("hf download acme/tiny-GGUF");
                });
        Files.createDirectories(hub.resolve("refs"));
        Files.writeString(hub.resolve("refs/main"), "abc");
        Path snapshot = Files.createDirectories(hub.resolve("snapshots/abc"));
        Path model = Files.write(snapshot.resolve("tiny-Q8_0.gguf"), content);

        assertThat(locator.locate("spring.ai.prefetch.model", "hf:acme/tiny-GGUF:Q8_0"))
                .isEqualTo(model);
        assertThat(locator.locate("spring.ai.prefetch.model", "https://huggingface.co/acme/tiny-GGUF"))
                .isEqualTo(model);
        assertThatThrownBy(() -> locator.locate("spring.ai.prefetch.model", "hf:acme"))
                .isInstanceOfSatisfying(
                        FailureAnalyzedException.class,
                        failure -> assertThat(failure.analysis().getDescription())
                                .contains("hf:acme")
                                .contains("hf:OWNER/REPOSITORY"));
    }

    @Test
    void findsAFileByPathAndByUrl() throws IOException {
        Path model = Files.write(folder.resolve("demo.gguf"), content);
        ModelLocator locator = locator(getClass().getClassLoader());

        assertThat(locator.locate("spring.ai.prefetch.model", model.toString())).isEqualTo(model);
        assertThat(locator.locate("spring.ai.prefetch.model", "  " + model + " "))
                .isEqualTo(model);
        assertThat(locator.locate("spring.ai.prefetch.model", model.toUri().toString()))
                .isEqualTo(model);
        assertThat(locator.locate("spring.ai.prefetch.model", "file:" + model)).isEqualTo(model);
    }

    @Test
    void findsAFileInTheHomeFolder() throws IOException {
        Path home = Path.of(System.getProperty("user.home"));
        try {
            System.setProperty("user.home", folder.toString());
            Path model = Files.write(folder.resolve("demo.gguf"), content);

            assertThat(locator(getClass().getClassLoader()).locate("spring.ai.prefetch.model", "~/demo.gguf"))
                    .isEqualTo(model);
        } finally {
            System.setProperty("user.home", home.toString());
        }
    }

    @Test
    void usesTheFileOfAnUnpackedClassPathAsItIs() throws IOException {
        Path model =
                Files.write(Files.createDirectories(folder.resolve("models")).resolve("demo.gguf"), content);
        try (URLClassLoader classes =
                new URLClassLoader(new URL[] {folder.toUri().toURL()}, null)) {
            assertThat(locator(classes).locate("spring.ai.prefetch.model", LOCATION))
                    .isEqualTo(model);
        }
        assertThat(cache).doesNotExist();
    }

    @Test
    void extractsAResourceOfAJarUnderTheHashOfItsContent() throws Exception {
        try (URLClassLoader classes = jarWith(content)) {
            Path file = locator(classes).locate("spring.ai.prefetch.model", LOCATION);

            String hash = HexFormat.of()
                    .formatHex(MessageDigest.getInstance("SHA-256").digest(content));
            assertThat(file).isEqualTo(cache.resolve(hash + "-demo.gguf")).hasBinaryContent(content);
            assertThat(cached()).containsExactly(file);
        }
    }

    @Test
    void extractsOnlyOnce() throws IOException {
        try (URLClassLoader classes = jarWith(content)) {
            Path first = locator(classes).locate("spring.ai.prefetch.model", LOCATION);
            Object key = fileKey(first);

            assertThat(locator(classes).locate("spring.ai.prefetch.model", LOCATION))
                    .isEqualTo(first);
            assertThat(fileKey(first)).isEqualTo(key);
        }
    }

    private static Object fileKey(Path file) throws IOException {
        // Creation time and inode change when another file is moved there.
        return List.of(
                Files.getAttribute(file, "creationTime"),
                String.valueOf(
                        Files.readAttributes(file, BasicFileAttributes.class).fileKey()));
    }

    @Test
    void replacesADamagedCopy() throws IOException {
        try (URLClassLoader classes = jarWith(content)) {
            Path file = locator(classes).locate("spring.ai.prefetch.model", LOCATION);
            byte[] damaged = content.clone();
            damaged[damaged.length / 2] ^= 1;
            Files.write(file, damaged);

            assertThat(locator(classes).locate("spring.ai.prefetch.model", LOCATION))
                    .isEqualTo(file)
                    .hasBinaryContent(content);
        }
    }

    @Test
    void aNewVersionOfAModelDoesNotMeetTheOldCopy() throws IOException {
        byte[] newer = content.clone();
        newer[0] ^= 1;
        try (URLClassLoader old = jarWith(content);
                URLClassLoader current = jarWith(newer)) {
            Path oldFile = locator(old).locate("spring.ai.prefetch.model", LOCATION);

            assertThat(locator(current).locate("spring.ai.prefetch.model", LOCATION))
                    .isNotEqualTo(oldFile)
                    .hasBinaryContent(newer);
            assertThat(oldFile).hasBinaryContent(content);
        }
    }

    @Test
    void manyCanExtractAtTheSameTime() throws Exception {
        int count = 8;
        CountDownLatch start = new CountDownLatch(1);
        try (URLClassLoader classes = jarWith(content);
                ExecutorService threads = Executors.newFixedThreadPool(count)) {
            List<Future<Path>> files = IntStream.range(0, count)
                    .mapToObj(i -> threads.submit(() -> {
                        start.await();
                        return locator(classes).locate("spring.ai.prefetch.model", LOCATION);
                    }))
                    .toList();
            start.countDown();
            for (Future<Path> file : files) {
                assertThat(file.get()).hasBinaryContent(content);
            }
        }
        assertThat(cached()).hasSize(1);
    }

    @Test
    void saysWhatToDoWhenTheCacheCannotBeWritten() throws IOException {
        Files.writeString(cache, "a file where the folder should be");
        try (URLClassLoader classes = jarWith(content)) {
            assertThatThrownBy(() -> locator(classes).locate("spring.ai.prefetch.model", LOCATION))
                    .isInstanceOfSatisfying(
                            FailureAnalyzedException.class,
                            failure -> assertThat(failure.analysis().getAction())
                                    .contains("spring.ai.prefetch.cache-directory"))
                    .hasMessageContaining(cache.toString());
        }
    }

    @Test
    void theDefaultCacheIsTheFirstFolderThatCanBeWritten() throws IOException {
        Path temporary = folder.resolve("tmp");
        Path file = Files.writeString(folder.resolve("file"), "not a folder");
        String home = folder.resolve("home").toString();
        String xdg = folder.resolve("xdg").toString();

        assertThat(ModelCache.defaultDirectory(Map.of("XDG_CACHE_HOME", xdg), home, temporary))
                .isEqualTo(folder.resolve("xdg/prefetch/models"));
        assertThat(ModelCache.defaultDirectory(Map.of("XDG_CACHE_HOME", file.toString()), home, temporary))
                .isEqualTo(folder.resolve("home/.cache/prefetch/models"));
        assertThat(ModelCache.defaultDirectory(Map.of(), "?", temporary)).isEqualTo(temporary.resolve("models"));
        assertThat(ModelCache.defaultDirectory(Map.of(), null, temporary)).isEqualTo(temporary.resolve("models"));
    }
}
