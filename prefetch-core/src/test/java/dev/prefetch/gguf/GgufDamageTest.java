package dev.prefetch.gguf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.prefetch.testing.GgufWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Each rule of the format, broken once: the error names the file, the byte offset and the field. */
class GgufDamageTest {

    private static final int VERSION_AT = 4;
    private static final int TENSOR_COUNT_AT = 8;
    private static final int METADATA_COUNT_AT = 16;

    // The single entry 'a' of text() and the like.
    private static final int KEY_AT = 24;
    private static final int VALUE_TYPE_AT = 33;
    private static final int VALUE_AT = 37;
    private static final int ARRAY_COUNT_AT = VALUE_AT + 4;
    private static final int ARRAY_ELEMENTS_AT = ARRAY_COUNT_AT + 8;

    // The single tensor 'w', 32 x 2 of Q8_0, of tensor(), which has no metadata.
    private static final int NAME_AT = 24;
    private static final int DIMENSION_COUNT_AT = 33;
    private static final int DIMENSION_0_AT = 37;
    private static final int DIMENSION_1_AT = 45;
    private static final int TENSOR_TYPE_AT = 53;
    private static final int TENSOR_OFFSET_AT = 57;
    private static final int SECOND_TENSOR_AT = 65;

    @TempDir
    Path folder;

    @Test
    void emptyFile() {
        refuse(new byte[0], 0, "magic", "empty");
    }

    @Test
    void anotherFormat() {
        refuse("PK\3\4 and more".getBytes(StandardCharsets.US_ASCII), 0, "magic", "not a GGUF file");
    }

    @Test
    void bigEndianFile() {
        refuse(putInt(text(), VERSION_AT, Integer.reverseBytes(3)), VERSION_AT, "version", "big-endian");
    }

    @Test
    void bigEndianFileWithReversedMagic() {
        byte[] bytes = putInt(text(), 0, Integer.reverseBytes(HeaderParser.MAGIC));
        refuse(putInt(bytes, VERSION_AT, Integer.reverseBytes(3)), VERSION_AT, "version", "big-endian");
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 4, -1})
    void unknownVersion(int version) {
        refuse(
                putInt(text(), VERSION_AT, version),
                VERSION_AT,
                "version",
                "expected 2 or 3 but was " + Integer.toUnsignedString(version));
    }

    @Test
    void everyTruncationOfTheHead() {
        byte[] whole = new GgufWriter()
                .put("a", "text")
                .put("b", new int[] {1, 2})
                .tensor("w", GgmlType.Q8_0, List.of(32L), new byte[34])
                .toBytes();
        for (int length = 1; length < whole.length - 30; length++) {
            byte[] cut = Arrays.copyOf(whole, length);
            Path file = write(cut);
            assertThatExceptionOfType(GgufFormatException.class)
                    .as("cut to %d of %d bytes", length, whole.length)
                    .isThrownBy(() -> GgufFile.open(file).close())
                    .withMessageStartingWith(file + ": offset ");
        }
    }

    @ParameterizedTest
    @ValueSource(longs = {3, 1L << 40, Long.MAX_VALUE, -1, Long.MIN_VALUE})
    void absurdTensorCount(long count) {
        refuse(
                putLong(text(), TENSOR_COUNT_AT, count),
                TENSOR_COUNT_AT,
                "tensor count",
                Long.toUnsignedString(count) + " items");
    }

    @ParameterizedTest
    @ValueSource(longs = {5, 1L << 40, Long.MAX_VALUE, -1, Long.MIN_VALUE})
    void absurdMetadataCount(long count) {
        refuse(
                putLong(text(), METADATA_COUNT_AT, count),
                METADATA_COUNT_AT,
                "metadata count",
                Long.toUnsignedString(count) + " items");
    }

    @ParameterizedTest
    @ValueSource(longs = {1000, 1L << 40, Long.MAX_VALUE, -1, Long.MIN_VALUE})
    void keyThatRunsPastTheEnd(long length) {
        refuse(
                putLong(text(), KEY_AT, length),
                KEY_AT,
                "metadata 0 key",
                "length of " + Long.toUnsignedString(length) + " bytes");
    }

    @Test
    void emptyKey() {
        refuse(new GgufWriter().put("", 1).toBytes(), KEY_AT, "metadata 0 key", "is empty");
    }

    @Test
    void duplicateKey() {
        byte[] bytes = new GgufWriter().put("a", 1).put("a", 2).toBytes();
        refuse(bytes, VALUE_AT + 4, "metadata 'a' key", "occurs twice");
    }

    @ParameterizedTest
    @ValueSource(ints = {13, -1, Integer.MIN_VALUE})
    void unknownMetadataType(int type) {
        refuse(
                putInt(text(), VALUE_TYPE_AT, type),
                VALUE_TYPE_AT,
                "metadata 'a' value type",
                "unknown metadata type " + Integer.toUnsignedString(type));
    }

    @ParameterizedTest
    @ValueSource(longs = {1000, 1L << 40, Long.MAX_VALUE, -1, Long.MIN_VALUE})
    void stringThatRunsPastTheEnd(long length) {
        refuse(putLong(text(), VALUE_AT, length), VALUE_AT, "metadata 'a' value", "are left in the file");
    }

    @Test
    void boolOtherThanZeroOrOne() {
        byte[] bytes = new GgufWriter().put("a", true).toBytes();
        bytes[VALUE_AT] = 2;
        refuse(bytes, VALUE_AT, "metadata 'a' value", "a bool is 0 or 1, but was 2");
    }

    @Test
    void boolOtherThanZeroOrOneInAnArray() {
        byte[] bytes = new GgufWriter().put("a", new boolean[3]).toBytes();
        bytes[ARRAY_ELEMENTS_AT + 2] = -1;
        refuse(bytes, ARRAY_ELEMENTS_AT + 2, "metadata 'a'[2]", "a bool is 0 or 1, but was 255");
    }

    @Test
    void unknownElementType() {
        byte[] bytes = new GgufWriter().put("a", new int[3]).toBytes();
        refuse(putInt(bytes, VALUE_AT, 99), VALUE_AT, "metadata 'a' array element type", "unknown metadata type 99");
    }

    @ParameterizedTest
    @ValueSource(longs = {12, 1L << 40, (1L << 62) + 3, Long.MAX_VALUE, -1, Long.MIN_VALUE})
    void absurdElementCount(long count) {
        byte[] bytes = new GgufWriter().put("a", new int[3]).toBytes();
        refuse(
                putLong(bytes, ARRAY_COUNT_AT, count),
                ARRAY_COUNT_AT,
                "metadata 'a' array count",
                Long.toUnsignedString(count) + " items of at least 4 bytes");
    }

    @Test
    void stringOfAnArrayThatRunsPastTheEnd() {
        byte[] bytes = new GgufWriter().put("a", List.of("xy", "z")).toBytes();
        int second = ARRAY_ELEMENTS_AT + 8 + 2;
        refuse(putLong(bytes, second, 1L << 33), second, "metadata 'a'[1] string", "a length of 8589934592 bytes");
    }

    @Test
    void arraysNestedTooDeep() {
        Object nested = new int[] {1};
        for (int depth = 1; depth < HeaderParser.MAX_ARRAY_DEPTH; depth++) {
            nested = List.of(nested);
        }
        open(new GgufWriter().put("a", nested).toBytes());
        byte[] tooDeep = new GgufWriter().put("a", List.of(nested)).toBytes();
        refuse(tooDeep, VALUE_AT + 12 * HeaderParser.MAX_ARRAY_DEPTH, "metadata 'a'[0] array", "nested more than 8");
    }

    @Test
    void hugeNestedCountsDoNotMultiply() {
        // 2^20 arrays are claimed in a file of a few bytes.
        byte[] bytes = new GgufWriter().put("a", List.of(new int[0])).toBytes();
        refuse(putLong(bytes, ARRAY_COUNT_AT, 1 << 20), ARRAY_COUNT_AT, "metadata 'a' array count", "12 bytes each");
    }

    @ParameterizedTest
    @ValueSource(longs = {0, 1, 4, 24, 33, 1L << 31})
    void alignmentThatIsNoUsablePowerOfTwo(long alignment) {
        byte[] bytes = new GgufWriter().uint32("general.alignment", alignment).toBytes();
        refuse(bytes, 24 + 8 + 17 + 4, "metadata 'general.alignment' value", "power of two", "but was " + alignment);
    }

    @Test
    void alignmentBeyondLong() {
        byte[] bytes =
                new GgufWriter().uint64("general.alignment", Long.MIN_VALUE).toBytes();
        refuse(bytes, 24 + 8 + 17 + 4, "metadata 'general.alignment' value", "9223372036854775808");
    }

    @Test
    void alignmentThatIsNoInteger() {
        byte[] bytes = new GgufWriter().put("general.alignment", "32").toBytes();
        refuse(bytes, 24 + 8 + 17, "metadata 'general.alignment' value type", "expected an integer but was string");
    }

    @Test
    void tensorNameThatRunsPastTheEnd() {
        refuse(putLong(tensor(), NAME_AT, 1L << 50), NAME_AT, "tensor 0 name", "a length of 1125899906842624 bytes");
    }

    @Test
    void emptyTensorName() {
        byte[] bytes = new GgufWriter().f32Tensor("", List.of(1L), 1f).toBytes();
        refuse(bytes, NAME_AT, "tensor 0 name", "is empty");
    }

    @Test
    void duplicateTensorName() {
        byte[] bytes = twoTensors();
        bytes[SECOND_TENSOR_AT + 8] = 'w';
        refuse(bytes, SECOND_TENSOR_AT, "tensor 'w' name", "occurs twice");
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 5, -1})
    void dimensionCountOutsideOneToFour(int count) {
        refuse(
                putInt(tensor(), DIMENSION_COUNT_AT, count),
                DIMENSION_COUNT_AT,
                "tensor 'w' dimension count",
                "expected 1 to 4 but was " + Integer.toUnsignedString(count));
    }

    @Test
    void dimensionZero() {
        refuse(putLong(tensor(), DIMENSION_1_AT, 0), DIMENSION_1_AT, "tensor 'w' dimension", "dimension 1 is 0");
    }

    @Test
    void dimensionBeyondLong() {
        refuse(putLong(tensor(), DIMENSION_0_AT, -32), DIMENSION_0_AT, "tensor 'w' dimension", "signed 64-bit range");
    }

    @Test
    void dimensionsWhoseProductOverflows() {
        refuse(
                putLong(tensor(), DIMENSION_1_AT, 1L << 58),
                DIMENSION_1_AT,
                "tensor 'w' dimension",
                "dimension 1 of 288230376151711744 overflows the element count");
    }

    @Test
    void dimensionsWhoseByteSizeOverflows() {
        // 2^62 elements still fit, the bytes of as many blocks of 34 for 32 do not.
        byte[] bytes = putLong(tensor(), DIMENSION_1_AT, (1L << 58) - 1);
        refuse(bytes, DIMENSION_0_AT, "tensor 'w' dimension", "overflow the byte size of type Q8_0");
    }

    @Test
    void dimensionThatIsNotAWholeNumberOfBlocks() {
        // 16 x 4 is two blocks in all, but no row is a whole block.
        byte[] bytes = putLong(putLong(tensor(), DIMENSION_0_AT, 16), DIMENSION_1_AT, 4);
        refuse(bytes, DIMENSION_0_AT, "tensor 'w' dimension", "16 is not a whole number of Q8_0 blocks of 32");
    }

    @ParameterizedTest
    @ValueSource(ints = {4, 5, 31, 40, 63, 64, -1, Integer.MAX_VALUE})
    void unknownTensorType(int type) {
        refuse(
                putInt(tensor(), TENSOR_TYPE_AT, type),
                TENSOR_TYPE_AT,
                "tensor 'w' type",
                "unknown tensor type " + Integer.toUnsignedString(type));
    }

    @Test
    void misalignedTensor() {
        refuse(
                putLong(tensor(), TENSOR_OFFSET_AT, 8),
                TENSOR_OFFSET_AT,
                "tensor 'w' offset",
                "8 is not a multiple of the alignment 32");
    }

    @ParameterizedTest
    @ValueSource(longs = {64, 1L << 40, Long.MAX_VALUE - 31})
    void tensorOutsideTheFile(long offset) {
        refuse(
                putLong(tensor(), TENSOR_OFFSET_AT, offset),
                TENSOR_OFFSET_AT,
                "tensor 'w' offset",
                "68 bytes at " + offset + " of the data section, which has 96 bytes from offset 96");
    }

    @Test
    void tensorOffsetBeyondLong() {
        refuse(putLong(tensor(), TENSOR_OFFSET_AT, -32), TENSOR_OFFSET_AT, "tensor 'w' offset", "signed 64-bit range");
    }

    @Test
    void tensorLargerThanTheFile() {
        refuse(putLong(tensor(), DIMENSION_1_AT, 3), TENSOR_OFFSET_AT, "tensor 'w' offset", "102 bytes at 0");
    }

    @Test
    void tensorsThatOverlap() {
        byte[] bytes = twoTensors();
        int secondOffsetAt = SECOND_TENSOR_AT + (TENSOR_OFFSET_AT - NAME_AT);
        refuse(putLong(bytes, secondOffsetAt, 64), secondOffsetAt, "tensor 'v' offset", "overlaps that of tensor 'w'");
    }

    @Test
    void dataSectionThatStartsPastTheEnd() {
        byte[] bytes = new GgufWriter()
                .uint32("general.alignment", 1 << 20)
                .f32Tensor("w", List.of(1L), 1f)
                .toBytes();
        refuse(bytes, 24 + 33 + 33 - 8, "tensor 'w' offset", "which has 0 bytes from offset 1048576");
    }

    @Test
    void namesInMessagesAreShortAndPrintable() {
        byte[] bytes =
                new GgufWriter().raw("k\n" + "x".repeat(1000), 99, new byte[8]).toBytes();
        refuse(bytes, 24 + 8 + 1002, "metadata 'k?" + "x".repeat(78) + "...' value type");
    }

    @Test
    void headLongerThanTheLimit() throws IOException {
        // The count fits the file, which is mostly a hole, but would put half a gigabyte of it onto the heap.
        byte[] bytes = new GgufWriter().put("a", new byte[0]).toBytes();
        Path file = writeWithHole(putLong(bytes, ARRAY_COUNT_AT, 1 << 29));
        refuse(file, ARRAY_COUNT_AT, "metadata 'a' array count", "of the 128 MiB a header may take");
    }

    @Test
    void stringLongerThanTheLimit() throws IOException {
        Path file = writeWithHole(putLong(text(), VALUE_AT, (32 << 20) + 1));
        refuse(file, VALUE_AT, "metadata 'a' value", "33554433 bytes is beyond the limit of 33554432");
    }

    /** The bytes, then a gigabyte of zeros that takes no room on the disk. */
    private Path writeWithHole(byte[] bytes) throws IOException {
        Path file = folder.resolve("hole.gguf");
        try (FileChannel channel = FileChannel.open(
                file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE, StandardOpenOption.SPARSE)) {
            channel.write(ByteBuffer.wrap(bytes));
            channel.write(ByteBuffer.wrap(new byte[1]), 1L << 30);
        }
        return file;
    }

    private static byte[] text() {
        return new GgufWriter().put("a", "text").toBytes();
    }

    private static byte[] tensor() {
        return new GgufWriter()
                .tensor("w", GgmlType.Q8_0, List.of(32L, 2L), new byte[68])
                .toBytes();
    }

    private static byte[] twoTensors() {
        return new GgufWriter()
                .tensor("w", GgmlType.Q8_0, List.of(32L, 2L), new byte[68])
                .tensor("v", GgmlType.Q8_0, List.of(32L, 2L), new byte[68])
                .toBytes();
    }

    private static byte[] putInt(byte[] bytes, int at, int value) {
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putInt(at, value);
        return bytes;
    }

    private static byte[] putLong(byte[] bytes, int at, long value) {
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putLong(at, value);
        return bytes;
    }

    private void refuse(byte[] bytes, long offset, String... parts) {
        refuse(write(bytes), offset, parts);
    }

    private static void refuse(Path file, long offset, String... parts) {
        assertThatExceptionOfType(GgufFormatException.class)
                .isThrownBy(() -> GgufFile.open(file).close())
                .withMessageStartingWith(file + ": offset " + offset + ", ")
                .satisfies(e -> assertThat(e.getMessage()).contains(parts));
    }

    private void open(byte[] bytes) {
        GgufFile.open(write(bytes)).close();
    }

    private Path write(byte[] bytes) {
        try {
            return Files.write(folder.resolve("damaged.gguf"), bytes);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
