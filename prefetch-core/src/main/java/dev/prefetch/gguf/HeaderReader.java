package dev.prefetch.gguf;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/**
 * A cursor over the head of a GGUF file. Every read is checked against what is left before a byte is touched or
 * allocated, and every failure names the file, the offset, and the field.
 *
 * <p>The field is the subject (which metadata entry or tensor is being read, and which element of an array) and the
 * name the caller gives to the read. Subject and index are plain fields and the message is put together only on
 * failure, because the hundred thousands of strings of a vocabulary pass here.
 */
final class HeaderReader {

    /**
     * How far the head may reach. The largest vocabularies published take about 20 MiB; without a limit, one damaged
     * length in a file of many gigabytes would read tensor data onto the heap.
     */
    static final long HEADER_LIMIT_BYTES = 128L << 20;

    /**
     * The longest string. Embedded tokenizer descriptions take some MiB; the decoder allocates up to six times the
     * length when the bytes are no text at all.
     */
    static final long STRING_LIMIT_BYTES = 32L << 20;

    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfDouble DOUBLE =
            ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private static final int SCRATCH_BYTES = 4096;
    private static final int QUOTED_CHARACTERS = 80;
    private static final long NO_INDEX = -1;

    private final String source;
    private final MemorySegment segment;
    private final long limit;
    private final byte[] scratch = new byte[SCRATCH_BYTES];
    private long position;
    private String subject = "";
    private long index = NO_INDEX;

    HeaderReader(String source, MemorySegment segment) {
        this.source = source;
        this.segment = segment;
        this.limit = Math.min(segment.byteSize(), HEADER_LIMIT_BYTES);
    }

    long position() {
        return position;
    }

    /** What is being read from here on, for messages: {@code "metadata 'general.name'"}, {@code "tensor 3"}. */
    void subject(String newSubject) {
        subject = newSubject;
        index = NO_INDEX;
    }

    /** Which element of the subject's array is being read from here on, for messages. */
    void index(long newIndex) {
        index = newIndex;
    }

    /** Ends {@link #index(long)}. */
    void noIndex() {
        index = NO_INDEX;
    }

    byte readByte(String field) {
        return segment.get(ValueLayout.JAVA_BYTE, advance(1, field));
    }

    short readShort(String field) {
        return segment.get(SHORT, advance(2, field));
    }

    int readInt(String field) {
        return segment.get(INT, advance(4, field));
    }

    long readLong(String field) {
        return segment.get(LONG, advance(8, field));
    }

    float readFloat(String field) {
        return segment.get(FLOAT, advance(4, field));
    }

    double readDouble(String field) {
        return segment.get(DOUBLE, advance(8, field));
    }

    /** A boolean; the format knows only the bytes 0 and 1. */
    boolean readBool(String field) {
        long at = position;
        byte value = readByte(field);
        if (value != 0 && value != 1) {
            throw badBool(at, field, value);
        }
        return value == 1;
    }

    /** An unsigned 64-bit value that has to be in the signed range. */
    long readUnsigned(String field) {
        long at = position;
        long value = readLong(field);
        if (value < 0) {
            throw failure(at, field, Long.toUnsignedString(value) + " is beyond the signed 64-bit range");
        }
        return value;
    }

    /**
     * A number of items that follow.
     *
     * @param minimumBytes fewest bytes one item takes; the count is refused when that many items cannot follow
     */
    int readCount(long minimumBytes, String field) {
        long at = position;
        long count = readLong(field);
        if (count < 0 || count > (limit - position) / minimumBytes) {
            throw failure(
                    at,
                    field,
                    Long.toUnsignedString(count) + " items of at least " + minimumBytes + " bytes each, but "
                            + left(position));
        }
        return (int) count; // at most HEADER_LIMIT_BYTES
    }

    /** A string: 64-bit length, then UTF-8; malformed sequences become U+FFFD. */
    String readString(String field) {
        long at = position;
        long length = readLong(field);
        if (length < 0 || length > limit - position) {
            throw failure(at, field, "a length of " + Long.toUnsignedString(length) + " bytes, but " + left(position));
        }
        if (length > STRING_LIMIT_BYTES) {
            throw failure(at, field, "a length of " + length + " bytes is beyond the limit of " + STRING_LIMIT_BYTES);
        }
        if (length == 0) {
            return "";
        }
        byte[] bytes = length <= SCRATCH_BYTES ? scratch : new byte[(int) length];
        MemorySegment.copy(segment, ValueLayout.JAVA_BYTE, position, bytes, 0, (int) length);
        position += length;
        return new String(bytes, 0, (int) length, StandardCharsets.UTF_8);
    }

    byte[] readBytes(int count, String field) {
        byte[] result = new byte[count];
        MemorySegment.copy(segment, ValueLayout.JAVA_BYTE, advance(count, field), result, 0, count);
        return result;
    }

    /** Booleans as bytes, each checked to be 0 or 1. */
    byte[] readBools(int count, String field) {
        long at = position;
        byte[] result = readBytes(count, field);
        for (int i = 0; i < count; i++) {
            if (result[i] != 0 && result[i] != 1) {
                index(i);
                throw badBool(at + i, field, result[i]);
            }
        }
        return result;
    }

    short[] readShorts(int count, String field) {
        short[] result = new short[count];
        MemorySegment.copy(segment, SHORT, advance(2L * count, field), result, 0, count);
        return result;
    }

    int[] readInts(int count, String field) {
        int[] result = new int[count];
        MemorySegment.copy(segment, INT, advance(4L * count, field), result, 0, count);
        return result;
    }

    long[] readLongs(int count, String field) {
        long[] result = new long[count];
        MemorySegment.copy(segment, LONG, advance(8L * count, field), result, 0, count);
        return result;
    }

    float[] readFloats(int count, String field) {
        float[] result = new float[count];
        MemorySegment.copy(segment, FLOAT, advance(4L * count, field), result, 0, count);
        return result;
    }

    double[] readDoubles(int count, String field) {
        double[] result = new double[count];
        MemorySegment.copy(segment, DOUBLE, advance(8L * count, field), result, 0, count);
        return result;
    }

    /** A failure at an offset of the file, in a field of the current subject. */
    GgufFormatException failure(long offset, String field, String problem) {
        StringBuilder message =
                new StringBuilder(source).append(": offset ").append(offset).append(", ");
        message.append(subject);
        if (index != NO_INDEX) {
            message.append('[').append(index).append(']');
        }
        if (!subject.isEmpty()) {
            message.append(' ');
        }
        return new GgufFormatException(
                message.append(field).append(": ").append(problem).toString());
    }

    /** A name from a file as messages show it: in quotes, shortened, without control characters. */
    static String quote(String name) {
        StringBuilder quoted = new StringBuilder(Math.min(name.length(), QUOTED_CHARACTERS) + 5).append('\'');
        for (int i = 0; i < name.length(); i++) {
            if (i == QUOTED_CHARACTERS) {
                quoted.append("...");
                break;
            }
            char c = name.charAt(i);
            quoted.append(Character.isISOControl(c) ? '?' : c);
        }
        return quoted.append('\'').toString();
    }

    private long advance(long bytes, String field) {
        long at = position;
        if (bytes > limit - at) {
            throw failure(at, field, "needs " + bytes + " bytes, but " + left(at));
        }
        position = at + bytes;
        return at;
    }

    private String left(long at) {
        return limit == segment.byteSize()
                ? (limit - at) + " are left in the file"
                : (limit - at) + " are left of the " + (HEADER_LIMIT_BYTES >> 20) + " MiB a header may take";
    }

    private GgufFormatException badBool(long at, String field, byte value) {
        return failure(at, field, "a bool is 0 or 1, but was " + Byte.toUnsignedInt(value));
    }
}
