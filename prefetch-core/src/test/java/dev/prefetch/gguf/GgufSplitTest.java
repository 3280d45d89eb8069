package dev.prefetch.gguf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.prefetch.storage.DirectReader;
import dev.prefetch.testing.GgufSplitter;
import dev.prefetch.testing.GgufWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Models in several files. */
class GgufSplitTest {

    @TempDir
    Path folder;

    private Path whole;
    private List<Path> files;

    @BeforeEach
    void write() {
        whole = new GgufWriter()
                .put("general.architecture", "llama")
                .put("tokens", List.of("a", "b"))
                .f32Tensor("one", List.of(2L), 1, 1)
                .f32Tensor("two", List.of(3L), 2, 2, 2)
                .f32Tensor("three", List.of(20_000L), new float[20_000])
                .f32Tensor("four", List.of(1L), 4)
                .f32Tensor("five", List.of(1L), 5)
                .write(folder.resolve("whole.gguf"));
        files = GgufSplitter.split(whole, 3, folder);
    }

    private static Path part(GgufWriter writer, int number, int count, Path file) {
        return writer.uint16("split.no", number)
                .uint16("split.count", count)
                .put("split.tensors.count", 2)
                .write(file);
    }

    @Test
    void opensAllFilesByTheNameOfAny() {
        try (GgufFile expected = GgufFile.open(whole)) {
            for (Path file : files) {
                try (GgufFile split = GgufFile.open(file)) {
                    assertThat(split.path()).isEqualTo(file);
                    assertThat(split.parts()).extracting(GgufPart::path).isEqualTo(files);
                    assertThat(split.metadata().requireStrings("tokens")).containsExactly("a", "b");
                    assertThat(split.tensors())
                            .extracting(GgufTensor::name)
                            .containsExactly("one", "two", "three", "four", "five");
                    for (GgufTensor tensor : expected.tensors()) {
                        GgufTensor found = split.find(tensor.name()).orElseThrow();
                        assertThat(split.slice(found).mismatch(expected.slice(tensor)))
                                .isEqualTo(-1);
                    }
                }
            }
        }
    }

    @Test
    void givesEachFileItsOwnOffsets() throws IOException {
        try (GgufFile split = GgufFile.open(files.getFirst())) {
            long bytes = 0;
            long end = 0;
            for (GgufPart part : split.parts()) {
                assertThat(part.start() % GgufFile.PART_ALIGNMENT).isZero();
                assertThat(part.start()).isBetween(end, end + GgufFile.PART_ALIGNMENT - 1);
                assertThat(part.byteSize()).isEqualTo(Files.size(part.path()));
                end = part.end();
                bytes += part.byteSize();
            }
            assertThat(split.byteSize()).isEqualTo(bytes);
            GgufTensor five = split.find("five").orElseThrow();
            GgufPart last = split.parts().getLast();
            assertThat(five.offset()).isBetween(last.start(), last.end() - five.byteSize());
            assertThat(last.mapping().get(ValueLayout.JAVA_FLOAT_UNALIGNED, five.offset() - last.start()))
                    .isEqualTo(5);
        }
        assertThat(GgufFile.PART_ALIGNMENT % DirectReader.MAX_ALIGNMENT).isZero();
    }

    @Test
    void saysWhichFileIsMissing() throws IOException {
        Files.delete(files.get(1));
        assertThatExceptionOfType(UncheckedIOException.class)
                .isThrownBy(() -> GgufFile.open(files.getFirst()))
                .withMessageContaining("model-00002-of-00003.gguf")
                .withMessageContaining("split into 3 files")
                .withCauseInstanceOf(NoSuchFileException.class);
    }

    @Test
    void refusesFilesThatAreNotNamedAsSplit() throws IOException {
        Path renamed = Files.move(files.getFirst(), folder.resolve("renamed.gguf"));
        assertThatExceptionOfType(GgufFormatException.class)
                .isThrownBy(() -> GgufFile.open(renamed))
                .withMessageContaining("renamed.gguf")
                .withMessageContaining("NAME-00001-of-00003.gguf");
    }

    @Test
    void refusesFilesThatAreNotWhatTheirNamesSay() throws IOException {
        Files.copy(files.get(1), files.get(2), java.nio.file.StandardCopyOption.REPLACE_EXISTING);
        assertThatExceptionOfType(GgufFormatException.class)
                .isThrownBy(() -> GgufFile.open(files.getFirst()))
                .withMessageContaining("model-00003-of-00003.gguf")
                .withMessageContaining("file 3 of 3")
                .withMessageContaining("file 2 of 3");
    }

    @Test
    void refusesATensorInTwoFiles() {
        Path first =
                part(new GgufWriter().f32Tensor("norm", List.of(1L), 1), 0, 2, folder.resolve("a-00001-of-00002.gguf"));
        part(new GgufWriter().f32Tensor("norm", List.of(1L), 1), 1, 2, folder.resolve("a-00002-of-00002.gguf"));
        assertThatExceptionOfType(GgufFormatException.class)
                .isThrownBy(() -> GgufFile.open(first))
                .withMessageContaining("a-00002-of-00002.gguf")
                .withMessageContaining("'norm'");
    }

    @Test
    void refusesAWrongNumberOfTensors() {
        Path first =
                part(new GgufWriter().f32Tensor("norm", List.of(1L), 1), 0, 2, folder.resolve("a-00001-of-00002.gguf"));
        part(new GgufWriter(), 1, 2, folder.resolve("a-00002-of-00002.gguf"));
        assertThatExceptionOfType(GgufFormatException.class)
                .isThrownBy(() -> GgufFile.open(first))
                .withMessageContaining("split.tensors.count")
                .withMessageContaining("says 2");
    }
}
