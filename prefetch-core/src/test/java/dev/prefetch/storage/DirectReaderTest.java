package dev.prefetch.storage;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class DirectReaderTest {

    enum Opening {
        PREFERRED(DirectReader::open),
        BUFFERED(DirectReader::openBuffered);

        final Function<Path, DirectReader> open;

        Opening(Function<Path, DirectReader> open) {
            this.open = open;
        }
    }

    @TempDir
    Path folder;

    @ParameterizedTest
    @EnumSource
    void readsWhatTheFileHolds(Opening opening) throws IOException {
        byte[] content = content(3 * 65536);
        Path file = Files.write(folder.resolve("weights"), content);
        try (DirectReader reader = opening.open.apply(file);
                Arena arena = Arena.ofConfined()) {
            assertThat(reader.fileSize()).isEqualTo(content.length);
            int alignment = reader.alignment();
            for (int offset = 0; offset < content.length; offset += 3 * alignment) {
                MemorySegment target = arena.allocate(2L * alignment, alignment);
                reader.read(offset, target);
                assertThat(target.toArray(ValueLayout.JAVA_BYTE))
                        .isEqualTo(Arrays.copyOfRange(content, offset, offset + 2 * alignment));
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void readsTheUnalignedTailOfTheFile(Opening opening) throws IOException {
        int alignment = DirectReader.MAX_ALIGNMENT;
        byte[] content = content(alignment + 1234);
        Path file = Files.write(folder.resolve("weights"), content);
        try (DirectReader reader = opening.open.apply(file);
                Arena arena = Arena.ofConfined()) {
            MemorySegment target = arena.allocate(3L * alignment, alignment);
            reader.read(0, target);
            byte[] got = target.toArray(ValueLayout.JAVA_BYTE);
            assertThat(Arrays.copyOf(got, content.length)).isEqualTo(content);
        }
    }

    @Test
    void saysHowItReads() throws IOException {
        Path file = Files.write(folder.resolve("weights"), content(4096));
        try (DirectReader preferred = DirectReader.open(file);
                DirectReader buffered = DirectReader.openBuffered(file)) {
            assertThat(preferred.description()).isNotBlank();
            assertThat(buffered.mode()).isNotEqualTo(ReadMode.DIRECT);
            assertThat(buffered.description()).contains("page cache (as asked)");
        }
    }

    @ParameterizedTest
    @EnumSource
    void namesFileAndOffsetWhenTheFileWasTruncated(Opening opening) throws IOException {
        Path file = Files.write(folder.resolve("weights"), content(5 * 65536));
        try (DirectReader reader = opening.open.apply(file);
                Arena arena = Arena.ofConfined()) {
            Files.write(file, content(65536));
            MemorySegment target = arena.allocate(65536, 65536);
            assertThatExceptionOfType(StorageException.class)
                    .isThrownBy(() -> reader.read(4 * 65536, target))
                    .withMessageContaining(file.toString())
                    .withMessageContaining("262144")
                    .withMessageContaining("has changed")
                    .withMessageContaining("327680")
                    .satisfies(e -> assertThat(e.file()).isEqualTo(file))
                    .satisfies(e -> assertThat(e.offset()).isEqualTo(4 * 65536));
        }
    }

    @ParameterizedTest
    @EnumSource
    void refusesBytesOfAFileThatWasWrittenTo(Opening opening) throws IOException {
        Path file = Files.write(folder.resolve("weights"), content(65536));
        Files.setLastModifiedTime(file, FileTime.fromMillis(1_000_000));
        try (DirectReader reader = opening.open.apply(file);
                Arena arena = Arena.ofConfined()) {
            MemorySegment target = arena.allocate(65536, 65536);
            reader.read(0, target);
            Files.setLastModifiedTime(file, FileTime.fromMillis(2_000_000));
            assertThatExceptionOfType(StorageException.class)
                    .isThrownBy(() -> reader.read(0, target))
                    .withMessageContaining("modification time");
        }
    }

    @ParameterizedTest
    @EnumSource
    void goesOnWhenAVanishedFileIsBack(Opening opening) throws IOException {
        Path file = Files.write(folder.resolve("weights"), content(65536));
        Path aside = folder.resolve("aside");
        try (DirectReader reader = opening.open.apply(file);
                Arena arena = Arena.ofConfined()) {
            MemorySegment target = arena.allocate(65536, 65536);
            Files.move(file, aside);
            assertThatExceptionOfType(StorageException.class)
                    .isThrownBy(() -> reader.read(0, target))
                    .withMessageContaining("has vanished");
            Files.write(file, content(65536));
            Files.setLastModifiedTime(file, Files.getLastModifiedTime(aside));
            assertThatExceptionOfType(StorageException.class)
                    .isThrownBy(() -> reader.read(0, target))
                    .withMessageContaining("another file");
            Files.delete(file);
            Files.move(aside, file);
            reader.read(0, target);
            assertThat(target.toArray(ValueLayout.JAVA_BYTE)).isEqualTo(content(65536));
        }
    }

    @Test
    void refusesWhatIsNotAligned() throws IOException {
        Path file = Files.write(folder.resolve("weights"), content(3 * 65536));
        try (DirectReader reader = DirectReader.open(file);
                Arena arena = Arena.ofConfined()) {
            MemorySegment memory = arena.allocate(2 * 65536, 65536);
            int alignment = reader.alignment();
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> reader.read(1, memory))
                    .withMessageContaining("offset");
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> reader.read(0, memory.asSlice(0, alignment + 1)))
                    .withMessageContaining("length");
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> reader.read(0, memory.asSlice(8, alignment)))
                    .withMessageContaining("address");
        }
    }

    @Test
    void refusesAMissingFileAndAClosedReader() throws IOException {
        assertThatExceptionOfType(StorageException.class)
                .isThrownBy(() -> DirectReader.open(folder.resolve("missing")))
                .withMessageContaining("missing");
        Path file = Files.write(folder.resolve("weights"), content(65536));
        DirectReader reader = DirectReader.open(file);
        reader.close();
        reader.close();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment target = arena.allocate(65536, 65536);
            assertThatExceptionOfType(StorageException.class)
                    .isThrownBy(() -> reader.read(0, target))
                    .withMessageContaining("closed");
        }
    }

    @Test
    void servesManyThreads() throws Exception {
        byte[] content = content(64 * 65536);
        Path file = Files.write(folder.resolve("weights"), content);
        try (DirectReader reader = DirectReader.open(file);
                ExecutorService threads = Executors.newFixedThreadPool(4);
                Arena arena = Arena.ofShared()) {
            MemorySegment target = arena.allocate(content.length, 65536);
            List<Callable<Void>> reads = IntStream.range(0, 64)
                    .mapToObj(i -> (Callable<Void>) () -> {
                        reader.read(i * 65536L, target.asSlice(i * 65536L, 65536));
                        return null;
                    })
                    .toList();
            for (Future<Void> read : threads.invokeAll(reads)) {
                read.get();
            }
            assertThat(target.toArray(ValueLayout.JAVA_BYTE)).isEqualTo(content);
        }
    }

    @Test
    void alignsExtentsOutwards() {
        assertThat(new Extent(5000, 100).alignedTo(4096)).isEqualTo(new Extent(4096, 4096));
        assertThat(new Extent(4096, 4096).alignedTo(4096)).isEqualTo(new Extent(4096, 4096));
        assertThat(new Extent(4095, 2).alignedTo(4096)).isEqualTo(new Extent(0, 8192));
    }

    private static byte[] content(int bytes) {
        byte[] content = new byte[bytes];
        new Random(bytes).nextBytes(content);
        return content;
    }
}
