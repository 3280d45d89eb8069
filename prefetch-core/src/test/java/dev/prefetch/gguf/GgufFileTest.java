package dev.prefetch.gguf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.prefetch.testing.GgufWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.math.BigInteger;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Valid files of every shape, and files that cannot be opened at all. */
class GgufFileTest {

    @TempDir
    Path folder;

    @ParameterizedTest
    @ValueSource(ints = {2, 3})
    void readsEveryMetadataType(int version) {
        Path file = new GgufWriter()
                .version(version)
                .uint8("uint8", 200)
                .put("int8", (byte) -100)
                .uint16("uint16", 60_000)
                .put("int16", (short) -30_000)
                .uint32("uint32", 4_000_000_000L)
                .put("int32", -2_000_000_000)
                .uint64("uint64", Long.MAX_VALUE)
                .uint64("uint64 beyond long", -1)
                .put("int64", Long.MIN_VALUE)
                .put("float32", 0.1f)
                .put("float64", 0.1)
                .put("bool", true)
                .put("string", "Grüße \uD83D\uDE80")
                .put("empty string", "")
                .write(folder.resolve("types.gguf"));
        try (GgufFile gguf = GgufFile.open(file)) {
            GgufMetadata metadata = gguf.metadata();
            assertThat(gguf.version()).isEqualTo(version);
            assertThat(metadata.integer("uint8")).contains(200L);
            assertThat(metadata.integer("int8")).contains(-100L);
            assertThat(metadata.integer("uint16")).contains(60_000L);
            assertThat(metadata.integer("int16")).contains(-30_000L);
            assertThat(metadata.integer("uint32")).contains(4_000_000_000L);
            assertThat(metadata.integer("int32")).contains(-2_000_000_000L);
            assertThat(metadata.integer("uint64")).contains(Long.MAX_VALUE);
            assertThat(metadata.number("uint64 beyond long")).contains(0x1p64);
            assertThat(metadata.integer("int64")).contains(Long.MIN_VALUE);
            assertThat(metadata.requireFloat("float32")).isEqualTo(0.1f);
            assertThat(metadata.number("float64")).contains(0.1);
            assertThat(metadata.bool("bool")).contains(true);
            assertThat(metadata.string("string")).contains("Grüße \uD83D\uDE80");
            assertThat(metadata.string("empty string")).contains("");
            assertThat(metadata.keys()).hasSize(14).startsWith("uint8", "int8");
            assertThat(gguf.tensors()).isEmpty();
        }
    }

    @Test
    void readsArraysOfEveryType() {
        Path file = new GgufWriter()
                .unsignedArray("uint8", new byte[] {1, -1})
                .put("int8", new byte[] {1, -1})
                .unsignedArray("uint16", new short[] {1, -1})
                .put("int16", new short[] {1, -1})
                .unsignedArray("uint32", new int[] {1, -1})
                .put("int32", new int[] {1, -1})
                .unsignedArray("uint64", new long[] {1, Long.MAX_VALUE})
                .unsignedArray("uint64 beyond long", new long[] {1, -1})
                .put("int64", new long[] {1, -1})
                .put("float32", new float[] {0.5f, -1e30f})
                .put("float64", new double[] {0.5, 0.1})
                .put("bool", new boolean[] {true, false})
                .put("string", List.of("a", "", "ü"))
                .put("empty", List.of())
                .write(folder.resolve("arrays.gguf"));
        GgufMetadata metadata = metadataOf(file);
        assertThat(metadata.integers("uint8")).hasValue(new long[] {1, 255});
        assertThat(metadata.integers("int8")).hasValue(new long[] {1, -1});
        assertThat(metadata.integers("uint16")).hasValue(new long[] {1, 65_535});
        assertThat(metadata.integers("int16")).hasValue(new long[] {1, -1});
        assertThat(metadata.integers("uint32")).hasValue(new long[] {1, 0xFFFF_FFFFL});
        assertThat(metadata.integers("int32")).hasValue(new long[] {1, -1});
        assertThat(metadata.integers("uint64")).hasValue(new long[] {1, Long.MAX_VALUE});
        assertThat(metadata.list("uint64 beyond long")).hasValue(List.of(1L, new BigInteger("18446744073709551615")));
        assertThat(metadata.integers("int64")).hasValue(new long[] {1, -1});
        assertThat(metadata.floats("float32")).hasValue(new float[] {0.5f, -1e30f});
        assertThat(metadata.floats("float64")).hasValue(new float[] {0.5f, 0.1f});
        assertThat(metadata.list("float64")).hasValue(List.of(0.5, 0.1));
        assertThat(metadata.bools("bool")).hasValue(new boolean[] {true, false});
        assertThat(metadata.list("bool")).hasValue(List.of(true, false));
        assertThat(metadata.strings("string")).hasValue(List.of("a", "", "ü"));
        assertThat(metadata.strings("empty")).hasValue(List.of());
        assertThat(metadata.isArray("empty")).isTrue();
    }

    @Test
    void readsNestedArrays() {
        List<Object> nested = List.of(
                List.of(new int[] {1, 2}, new int[] {3}), List.of(List.of("a", "b"), new double[] {0.5}), List.of());
        Path file = new GgufWriter().put("nested", nested).put("after", 7).write(folder.resolve("nested.gguf"));
        GgufMetadata metadata = metadataOf(file);
        assertThat(metadata.list("nested"))
                .hasValue(List.of(
                        List.of(List.of(1L, 2L), List.of(3L)), List.of(List.of("a", "b"), List.of(0.5)), List.of()));
        assertThat(metadata.requireInt("after")).isEqualTo(7);
    }

    @Test
    void replacesMalformedUtf8AndGoesOn() {
        byte[] value = {3, 0, 0, 0, 0, 0, 0, 0, 'a', (byte) 0xFF, 'b'};
        Path file = new GgufWriter().raw("text", 8, value).put("after", 7).write(folder.resolve("utf8.gguf"));
        GgufMetadata metadata = metadataOf(file);
        assertThat(metadata.string("text")).contains("a\uFFFDb");
        assertThat(metadata.requireInt("after")).isEqualTo(7);
    }

    @Test
    void readsStringsLongerThanTheScratchBuffer() {
        String text = "0123456789ä".repeat(10_000);
        Path file = new GgufWriter()
                .put("long", text)
                .put("tokens", List.of("x", text, "y"))
                .write(folder.resolve("long.gguf"));
        GgufMetadata metadata = metadataOf(file);
        assertThat(metadata.requireString("long")).isEqualTo(text);
        assertThat(metadata.strings("tokens")).hasValue(List.of("x", text, "y"));
    }

    @ParameterizedTest
    @ValueSource(ints = {8, 32, 4096})
    void givesTensorsAndTheirBytes(int alignment) {
        byte[] quantised = new byte[2 * 18];
        for (int i = 0; i < quantised.length; i++) {
            quantised[i] = (byte) (i * 7);
        }
        Path file = new GgufWriter()
                .alignment(alignment)
                .f32Tensor("norm", List.of(3L), 1f, -2f, 3f)
                .tensor("weight", GgmlType.Q4_0, List.of(32L, 2L), quantised)
                .tensor("bytes", GgmlType.I8, List.of(1L, 1L, 1L, 5L), new byte[] {1, 2, 3, 4, 5})
                .write(folder.resolve("tensors.gguf"));
        try (GgufFile gguf = GgufFile.open(file)) {
            assertThat(gguf.path()).isEqualTo(file);
            assertThat(gguf.alignment()).isEqualTo(alignment);
            assertThat(gguf.dataOffset() % alignment).isZero();
            assertThat(gguf.tensors()).extracting(GgufTensor::name).containsExactly("norm", "weight", "bytes");
            assertThat(gguf.find("absent")).isEmpty();

            GgufTensor norm = gguf.find("norm").orElseThrow();
            assertThat(norm.offset()).isEqualTo(gguf.dataOffset());
            assertThat(gguf.slice(norm).toArray(ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN)))
                    .containsExactly(1f, -2f, 3f);

            GgufTensor weight = gguf.find("weight").orElseThrow();
            assertThat(weight.type()).isEqualTo(GgmlType.Q4_0);
            assertThat(weight.dimensions()).containsExactly(32L, 2L);
            assertThat(weight.offset()).isEqualTo(gguf.dataOffset() + Math.ceilDiv(12, alignment) * alignment);
            assertThat(gguf.slice(weight).toArray(ValueLayout.JAVA_BYTE)).isEqualTo(quantised);

            GgufTensor bytes = gguf.find("bytes").orElseThrow();
            assertThat(bytes.dimensions()).containsExactly(1L, 1L, 1L, 5L);
            assertThat(gguf.slice(bytes).toArray(ValueLayout.JAVA_BYTE)).containsExactly(1, 2, 3, 4, 5);
        }
    }

    @Test
    void acceptsMetadataWithoutPaddingAtTheEnd() throws IOException {
        byte[] padded = new GgufWriter().put("a", "text").toBytes();
        int end = 24 + 8 + 1 + 4 + 8 + 4;
        Path file = Files.write(folder.resolve("unpadded.gguf"), Arrays.copyOf(padded, end));
        try (GgufFile gguf = GgufFile.open(file)) {
            assertThat(gguf.metadata().requireString("a")).isEqualTo("text");
            assertThat(gguf.dataOffset()).isEqualTo(gguf.byteSize()).isEqualTo(end);
        }
    }

    @Test
    void mapsFilesBeyondFourGibibytes() throws IOException {
        long columns = 5L << 30;
        byte[] head = new GgufWriter()
                .rawTensor("first", GgmlType.I8.id(), List.of(columns), new byte[0])
                .toBytes();
        Path file = folder.resolve("large.gguf");
        // A hole: the file system stores the head and the last bytes only.
        try (FileChannel channel = FileChannel.open(
                file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE, StandardOpenOption.SPARSE)) {
            channel.write(ByteBuffer.wrap(head));
            channel.write(ByteBuffer.wrap(new byte[] {42}), head.length + columns - 1);
        }
        try (GgufFile gguf = GgufFile.open(file)) {
            MemorySegment first = gguf.slice(gguf.find("first").orElseThrow());
            assertThat(first.byteSize()).isEqualTo(columns);
            assertThat(first.get(ValueLayout.JAVA_BYTE, columns - 1)).isEqualTo((byte) 42);
            assertThat(first.isReadOnly()).isTrue();
            assertThat(gguf.byteSize()).isGreaterThan(4L << 30);
        }
    }

    @Test
    void closesOnceAndForAllThreads() {
        Path file = new GgufWriter().f32Tensor("norm", List.of(1L), 1f).write(folder.resolve("close.gguf"));
        GgufFile gguf = GgufFile.open(file);
        MemorySegment mapping = gguf.parts().getFirst().mapping();
        assertThat(mapping.scope().isAlive()).isTrue();
        assertThat(mapping.isAccessibleBy(new Thread(() -> {}))).isTrue();
        gguf.close();
        gguf.close();
        assertThat(mapping.scope().isAlive()).isFalse();
        assertThat(gguf.tensors()).hasSize(1);
    }

    @Test
    void saysWhichFileIsMissing() {
        Path file = folder.resolve("absent.gguf");
        assertThatExceptionOfType(UncheckedIOException.class)
                .isThrownBy(() -> GgufFile.open(file))
                .withMessageContaining("absent.gguf")
                .withCauseInstanceOf(NoSuchFileException.class);
    }

    @Test
    void refusesFolders() {
        assertThatExceptionOfType(UncheckedIOException.class)
                .isThrownBy(() -> GgufFile.open(folder))
                .withMessageContaining(folder.toString())
                .withMessageContaining("not a regular file");
    }

    @Test
    void refusesFileSystemsThatCannotMap() throws IOException {
        URI uri = URI.create("jar:" + folder.resolve("models.zip").toUri());
        try (FileSystem zip = FileSystems.newFileSystem(uri, Map.of("create", "true"))) {
            Path file = new GgufWriter().put("a", 1).write(zip.getPath("/inside.gguf"));
            assertThatExceptionOfType(UncheckedIOException.class)
                    .isThrownBy(() -> GgufFile.open(file))
                    .withMessageContaining("inside.gguf")
                    .withMessageContaining("copy it to a disk");
        }
    }

    @Test
    void keepsMetadataAfterClose() {
        Path file = new GgufWriter().put("tokens", List.of("a", "b")).write(folder.resolve("kept.gguf"));
        GgufMetadata metadata = metadataOf(file);
        assertThat(metadata.requireStrings("tokens")).containsExactly("a", "b");
        assertThat(metadata.source()).endsWith("kept.gguf");
    }

    private static GgufMetadata metadataOf(Path file) {
        try (GgufFile gguf = GgufFile.open(file)) {
            return gguf.metadata();
        }
    }
}
