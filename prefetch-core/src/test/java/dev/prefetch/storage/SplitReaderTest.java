package dev.prefetch.storage;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufPart;
import dev.prefetch.gguf.GgufTensor;
import dev.prefetch.testing.GgufSplitter;
import dev.prefetch.testing.GgufWriter;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SplitReaderTest {

    @TempDir
    Path folder;

    private List<Path> files;

    @BeforeEach
    void write() {
        Random random = new Random(47);
        GgufWriter writer = new GgufWriter();
        for (int i = 0; i < 9; i++) {
            float[] values = new float[20_000 + i];
            for (int j = 0; j < values.length; j++) {
                values[j] = random.nextFloat();
            }
            writer.f32Tensor("tensor " + i, List.of((long) values.length), values);
        }
        files = GgufSplitter.split(writer.write(folder.resolve("whole.gguf")), 3, folder);
    }

    @Test
    void readsAcrossFiles() {
        try (GgufFile model = GgufFile.open(files.getFirst());
                BlockReader reader = SplitReader.open(model.parts());
                Arena arena = Arena.ofConfined()) {
            int alignment = reader.alignment();
            assertThat(reader.fileSize()).isEqualTo(model.parts().getLast().end());
            assertThat(reader.description()).contains("3 files");
            long whole = (reader.fileSize() + alignment - 1) / alignment * alignment;
            MemorySegment target = arena.allocate(whole, alignment);
            reader.read(0, target);
            for (GgufTensor tensor : model.tensors()) {
                assertThat(target.asSlice(tensor.offset(), tensor.byteSize()).mismatch(model.slice(tensor)))
                        .as(tensor.name())
                        .isEqualTo(-1);
            }
        }
    }

    @Test
    void readsNothingFromThePaddingBehindAFile() {
        try (GgufFile model = GgufFile.open(files.getFirst());
                BlockReader reader = SplitReader.open(model.parts());
                Arena arena = Arena.ofConfined()) {
            GgufPart second = model.parts().get(1);
            MemorySegment target = arena.allocate(reader.alignment(), reader.alignment());
            long padding = second.start() - reader.alignment();
            assertThat(padding).isGreaterThan(model.parts().getFirst().end());
            reader.read(padding, target);
            assertThatExceptionOfType(StorageException.class)
                    .isThrownBy(() -> reader.read(whole(reader), target))
                    .withMessageContaining("ends at");
        }
    }

    private static long whole(BlockReader reader) {
        return (reader.fileSize() + reader.alignment()) / reader.alignment() * reader.alignment();
    }

    @Test
    void namesTheFileThatChanged() throws Exception {
        try (GgufFile model = GgufFile.open(files.getFirst());
                BlockReader reader = SplitReader.open(model.parts());
                Arena arena = Arena.ofConfined()) {
            Files.setLastModifiedTime(files.get(1), java.nio.file.attribute.FileTime.fromMillis(1));
            MemorySegment target = arena.allocate(reader.alignment(), reader.alignment());
            reader.read(0, target);
            assertThatExceptionOfType(StorageException.class)
                    .isThrownBy(() -> reader.read(model.parts().get(1).start(), target))
                    .withMessageContaining("model-00002-of-00003.gguf, offset 0");
        }
    }

    @Test
    void readsOneFilePlainly() {
        try (GgufFile model = GgufFile.open(folder.resolve("whole.gguf"));
                BlockReader reader = SplitReader.open(model.parts())) {
            assertThat(reader).isInstanceOf(DirectReader.class);
        }
    }
}
