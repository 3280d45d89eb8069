package dev.prefetch.testing;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Where the lengths, counts, types and offsets of a valid GGUF file stand, so that a test can damage them. Walks the
 * format on its own, without the code under test.
 */
public final class GgufFields {

    private static final int UINT32 = 4;
    private static final int INT32 = 5;
    private static final int FLOAT32 = 6;
    private static final int STRING = 8;
    private static final int ARRAY = 9;

    private final ByteBuffer bytes;
    private final List<Integer> longs = new ArrayList<>();
    private final List<Integer> elementLengths = new ArrayList<>();
    private final List<Integer> types = new ArrayList<>();
    private final List<Integer> values = new ArrayList<>();
    private final List<byte[]> entries = new ArrayList<>();

    private GgufFields(byte[] file) {
        bytes = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN).position(8);
        int tensorCount = (int) longField(longs);
        int metadataCount = (int) longField(longs);
        for (int i = 0; i < metadataCount; i++) {
            int start = bytes.position();
            string(longs);
            int type = typeField();
            if (type == UINT32 || type == INT32 || type == FLOAT32) {
                values.add(bytes.position());
            }
            value(type);
            entries.add(Arrays.copyOfRange(file, start, bytes.position()));
        }
        for (int i = 0; i < tensorCount; i++) {
            string(longs);
            int dimensions = typeField();
            for (int d = 0; d < dimensions; d++) {
                longField(longs);
            }
            typeField();
            longField(longs);
        }
    }

    /** Walks a valid file. */
    public static GgufFields of(byte[] file) {
        return new GgufFields(file);
    }

    /** Offsets of the 64-bit counts, lengths, dimensions and tensor offsets outside of arrays. */
    public List<Integer> longs() {
        return longs;
    }

    /** Offsets of the 64-bit lengths of strings in arrays. */
    public List<Integer> elementLengths() {
        return elementLengths;
    }

    /** Offsets of the 32-bit types and dimension counts. */
    public List<Integer> types() {
        return types;
    }

    /** Offsets of the 32-bit integers and floats that are values of their own, such as hyper-parameters. */
    public List<Integer> values() {
        return values;
    }

    /** The metadata, one key with its value each, as they stand in the file. */
    public List<byte[]> entries() {
        return entries;
    }

    /** Where the head ends, before the padding. */
    public int headBytes() {
        return bytes.position();
    }

    private long longField(List<Integer> fields) {
        fields.add(bytes.position());
        return bytes.getLong();
    }

    private int typeField() {
        types.add(bytes.position());
        return bytes.getInt();
    }

    private void string(List<Integer> fields) {
        long length = longField(fields);
        bytes.position(bytes.position() + (int) length);
    }

    private void value(int type) {
        switch (type) {
            case STRING -> string(longs);
            case ARRAY -> {
                int elementType = typeField();
                long count = longField(longs);
                for (long i = 0; i < count; i++) {
                    if (elementType == STRING) {
                        string(elementLengths);
                    } else {
                        value(elementType);
                    }
                }
            }
            case 0, 1, 7 -> bytes.get();
            case 2, 3 -> bytes.getShort();
            case UINT32, INT32, FLOAT32 -> bytes.getInt();
            case 10, 11, 12 -> bytes.getLong();
            default -> throw new IllegalArgumentException("metadata type " + type);
        }
    }
}
