package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ModelCachesTest {

    private static final String REVISION = "models--Qwen--Qwen3-4B-GGUF/snapshots/abc/";

    @TempDir
    Path home;

    private Path hub(String file) {
        return write(home.resolve(".cache/huggingface/hub").resolve(file), "");
    }

    private static Path write(Path file, String content) {
        try {
            Files.createDirectories(file.getParent());
            return Files.writeString(file, content);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private Path find(String reference) {
        return ModelCaches.of(Map.of(), home)
                .find(ModelReference.parse(reference).orElseThrow());
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "/models/a.gguf",
                "a.gguf",
                "models/a.gguf",
                "./hf/a.gguf",
                "file:/models/a.gguf",
                "classpath:a.gguf",
                "C:\\models\\a.gguf",
                "https://example.org/a.gguf"
            })
    void leavesPathsAndOtherAddressesAlone(String text) {
        assertThat(ModelReference.parse(text)).isEmpty();
    }

    @ParameterizedTest
    @CsvSource({
        "hf:Qwen/Qwen3-4B-GGUF, hf:Qwen/Qwen3-4B-GGUF, hf download Qwen/Qwen3-4B-GGUF --include '*Q4_K_M*.gguf'",
        "hf:a/b:Q8_0, hf:a/b:Q8_0, hf download a/b --include '*Q8_0*.gguf'",
        "hf://a/b/sub/c.gguf, hf:a/b/sub/c.gguf, hf download a/b sub/c.gguf",
        "https://huggingface.co/a/b/resolve/main/c.gguf, hf:a/b/c.gguf, hf download a/b c.gguf",
        "https://huggingface.co/a/b/blob/main/c.gguf, hf:a/b/c.gguf, hf download a/b c.gguf",
        "hf.co/a/b:Q4_0, hf:a/b:Q4_0, hf download a/b --include '*Q4_0*.gguf'",
        "ollama:qwen3, ollama:qwen3:latest, ollama pull qwen3:latest",
        "ollama://me/qwen3:4b, ollama:me/qwen3:4b, ollama pull me/qwen3:4b"
    })
    void readsReferences(String text, String canonical, String command) {
        ModelReference reference = ModelReference.parse(text).orElseThrow();
        assertThat(reference).hasToString(canonical);
        assertThat(reference.downloadCommand()).isEqualTo(command);
        assertThat(reference.sha256()).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "hf:a",
                "hf:a/b/c",
                "hf:../b",
                "hf:a/..",
                "hf:a/b/../../c.gguf",
                "hf:a/b:",
                "hf:a/b:../x",
                "ollama:",
                "ollama:a/b/c",
                "ollama:..:x",
                "hf:a/b@sha256:12",
                "hf:a/b@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad,"
            })
    void refusesWhatBeginsLikeAReferenceAndIsNone(String text) {
        assertThatExceptionOfType(IllegalArgumentException.class)
                .isThrownBy(() -> ModelReference.parse(text))
                .withMessageContaining(text);
    }

    @Test
    void findsTheQuantisationInTheHubsCache() {
        Path file = hub(REVISION + "Qwen3-4B-Q8_0.gguf");
        Path usual = hub(REVISION + "Qwen3-4B-Q4_K_M.gguf");
        hub(REVISION + "mmproj-Q8_0.gguf");
        assertThat(find("hf:Qwen/Qwen3-4B-GGUF:q8_0")).isEqualTo(file);
        assertThat(find("hf:Qwen/Qwen3-4B-GGUF")).isEqualTo(usual);
        assertThat(find("hf:Qwen/Qwen3-4B-GGUF/Qwen3-4B-Q8_0.gguf")).isEqualTo(file);
        assertThatExceptionOfType(ModelNotFoundException.class).isThrownBy(() -> find("hf:Qwen/Qwen3-4B-GGUF:Q4_K"));
    }

    @Test
    void takesTheRevisionThatMainPointsTo() throws IOException {
        Path old = hub(REVISION + "a-Q8_0.gguf");
        Path current = hub("models--Qwen--Qwen3-4B-GGUF/snapshots/def/a-Q8_0.gguf");
        Files.setLastModifiedTime(current.getParent(), FileTime.fromMillis(1000));
        assertThat(find("hf:Qwen/Qwen3-4B-GGUF")).isEqualTo(old);
        write(home.resolve(".cache/huggingface/hub/models--Qwen--Qwen3-4B-GGUF/refs/main"), "def\n");
        assertThat(find("hf:Qwen/Qwen3-4B-GGUF")).isEqualTo(current);
    }

    @Test
    void staysAmongTheNamesThatTheHubLinksToItsBlobs() throws IOException {
        Path blob = hub("models--Qwen--Qwen3-4B-GGUF/blobs/1234");
        Path link = home.resolve(".cache/huggingface/hub").resolve(REVISION).resolve("Q8_0/a-00001-of-00002.gguf");
        Files.createDirectories(link.getParent());
        Files.createSymbolicLink(link, blob);
        hub(REVISION + "Q8_0/a-00002-of-00002.gguf");
        assertThat(find("hf:Qwen/Qwen3-4B-GGUF")).isEqualTo(link);
    }

    @Test
    void findsModelsOfLmStudio() {
        Path file = write(home.resolve(".lmstudio/models/Qwen/Qwen3-4B-GGUF/a-Q4_K_M.gguf"), "");
        assertThat(find("hf:Qwen/Qwen3-4B-GGUF:Q4_K_M")).isEqualTo(file);
    }

    @Test
    void findsModelsOfOllama() {
        String digest = "0123456789abcdef".repeat(4);
        Path store = home.resolve(".ollama/models");
        Path blob = write(store.resolve("blobs/sha256-" + digest), "");
        write(store.resolve("manifests/registry.ollama.ai/library/qwen3/4b"), """
                {"schemaVersion": 2, "layers": [
                  {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:0"},
                  {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:%s", "size": 1}]}
                """.formatted(digest));
        assertThat(find("ollama:qwen3:4b")).isEqualTo(blob);
        write(store.resolve("manifests/registry.ollama.ai/library/qwen3/bad"), "{\"layers\": [1, {}]}");
        assertThatExceptionOfType(ModelNotFoundException.class)
                .isThrownBy(() -> find("ollama:qwen3:bad"))
                .withMessageContaining("names no model file")
                .withMessageContaining("ollama pull qwen3:bad");
    }

    @Test
    void saysHowToDownloadWhatIsMissing() {
        assertThatExceptionOfType(ModelNotFoundException.class)
                .isThrownBy(() -> find("hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"))
                .withMessageContaining("models--Qwen--Qwen3-4B-GGUF")
                .withMessageContaining(".lmstudio")
                .satisfies(e -> assertThat(e.remedy())
                        .isEqualTo("Download it with: hf download Qwen/Qwen3-4B-GGUF --include '*Q4_K_M*.gguf'"));
        assertThatExceptionOfType(ModelNotFoundException.class)
                .isThrownBy(() -> find("ollama:qwen3"))
                .satisfies(e -> assertThat(e.remedy()).endsWith("ollama pull qwen3:latest"));
    }

    @Test
    void listsTheChoicesWhereTheReferenceLeavesThemOpen() {
        hub(REVISION + "a-Q8_0.gguf");
        hub(REVISION + "a-Q6_K.gguf");
        assertThatExceptionOfType(ModelNotFoundException.class)
                .isThrownBy(() -> find("hf:Qwen/Qwen3-4B-GGUF"))
                .withMessageContaining("a-Q6_K.gguf, a-Q8_0.gguf")
                .withMessageContaining("Name one: hf:Qwen/Qwen3-4B-GGUF/a-Q6_K.gguf");
    }

    @Test
    void checksTheChecksumWhenAsked() {
        Path file = write(home.resolve(".lmstudio/models/a/b/c.gguf"), "abc");
        // The test vector of FIPS 180.
        String checksum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assertThat(find("hf:a/b@sha256:" + checksum.toUpperCase(java.util.Locale.ROOT)))
                .isEqualTo(file);
        assertThatExceptionOfType(ModelNotFoundException.class)
                .isThrownBy(() -> find("hf:a/b@sha256:" + checksum.replace('b', 'c')))
                .withMessageContaining(checksum)
                .withMessageContaining("Delete the file");
    }

    @Test
    void checksEveryFileOfASplitModel() {
        Path folder = home.resolve(".lmstudio/models/a/b");
        Path first = write(folder.resolve("c-00001-of-00003.gguf"), "abc");
        write(folder.resolve("c-00002-of-00003.gguf"), "");
        Path last = write(folder.resolve("c-00003-of-00003.gguf"), "abc");
        // Test vectors of FIPS 180.
        String abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        String empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assertThat(find("hf:a/b@sha256:" + abc + "," + empty + "," + abc)).isEqualTo(first);
        assertThatExceptionOfType(ModelNotFoundException.class)
                .isThrownBy(() -> find("hf:a/b@sha256:" + abc + "," + empty + "," + empty))
                .withMessageContaining("The file " + last)
                .withMessageContaining(abc);
        assertThatExceptionOfType(ModelNotFoundException.class)
                .isThrownBy(() -> find("hf:a/b@sha256:" + abc))
                .withMessageContaining("has 3 files")
                .withMessageContaining("but 1 SHA-256")
                .withMessageContaining("one checksum for each file");
        assertThat(last.toFile().delete()).isTrue();
        assertThatExceptionOfType(ModelNotFoundException.class)
                .isThrownBy(() -> find("hf:a/b@sha256:" + abc + "," + empty + "," + abc))
                .withMessageContaining("The file " + last + " of hf:a/b is missing")
                .withMessageContaining("hf download");
    }

    @Test
    void heedsTheToolsEnvironment() {
        ModelCaches caches =
                ModelCaches.of(Map.of("HF_HOME", "/hf", "OLLAMA_MODELS", "/ollama", "XDG_CACHE_HOME", "/cache"), home);
        assertThat(caches.huggingFace()).containsExactly(Path.of("/hf/hub"));
        assertThat(caches.ollama()).containsExactly(Path.of("/ollama"));
        assertThat(caches.lmStudio()).contains(Path.of("/cache/lm-studio/models"));
        assertThat(ModelCaches.of(Map.of("HF_HUB_CACHE", "/hub", "HF_HOME", "/hf"), home)
                        .huggingFace())
                .containsExactly(Path.of("/hub"));
    }
}
