package dev.prefetch.gguf;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads the head of a GGUF file: version, metadata, tensor directory. Trusts nothing: see {@link HeaderReader} for the
 * lengths and counts; here are the rules of the format above them.
 *
 * <p>Containers grow with what was really read and are never sized by a count of the file, except arrays, whose counts
 * were checked to fit.
 *
 * @see <a href="https://github.com/ggml-org/ggml/blob/master/docs/gguf.md">GGUF specification</a>
 */
final class HeaderParser {

    /** {@code GGUF}, read as a little-endian integer. */
    static final int MAGIC = 0x46554747;

    static final int DEFAULT_ALIGNMENT = 32;
    static final int MAX_DIMENSIONS = 4;
    static final int MAX_ARRAY_DEPTH = 8;

    private static final String ALIGNMENT_KEY = "general.alignment";

    /** Key length, value type and the shortest value. */
    private static final int MINIMUM_ENTRY_BYTES = 8 + 4 + 1;

    /** Name length, dimension count, one dimension, type and offset. */
    private static final int MINIMUM_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8;

    /** The format demands a multiple of 8; kernels rely on it when they read aligned floats. */
    private static final int MINIMUM_ALIGNMENT = 8;

    private static final int MAXIMUM_ALIGNMENT = 1 << 30;

    private final String source;
    private final long fileBytes;
    private final HeaderReader reader;

    HeaderParser(String source, HeaderReader reader, long fileBytes) {
        this.source = source;
        this.reader = reader;
        this.fileBytes = fileBytes;
    }

    /** What a head says, checked. */
    record Header(
            int version,
            GgufMetadata metadata,
            int alignment,
            long dataOffset,
            List<GgufTensor> tensors,
            Map<String, GgufTensor> byName) {}

    /** A tensor whose place is known only relative to the data section, which starts after the last entry. */
    private record Entry(
            String name,
            GgmlType type,
            List<Long> dimensions,
            long relativeOffset,
            long byteSize,
            long nameField,
            long offsetField) {}

    Header parse() {
        int version = readVersion();
        // Both counts stand before the metadata; the tensors' is checked against the whole rest of the file.
        int tensorCount = reader.readCount(MINIMUM_TENSOR_BYTES, "tensor count");
        int metadataCount = reader.readCount(MINIMUM_ENTRY_BYTES, "metadata count");
        Map<String, Object> values = new LinkedHashMap<>();
        int alignment = DEFAULT_ALIGNMENT;
        for (int i = 0; i < metadataCount; i++) {
            alignment = readEntry(i, values, alignment);
        }
        List<Entry> entries = new ArrayList<>();
        for (int i = 0; i < tensorCount; i++) {
            entries.add(readTensor(i, alignment));
        }
        long aligned = (reader.position() + alignment - 1) / alignment * alignment;
        // A file of metadata alone may end without the padding.
        long dataOffset = entries.isEmpty() ? Math.min(aligned, fileBytes) : aligned;
        Map<String, GgufTensor> byName = new HashMap<>();
        List<GgufTensor> tensors = place(entries, dataOffset, byName);
        return new Header(version, new GgufMetadata(source, values), alignment, dataOffset, tensors, byName);
    }

    private int readVersion() {
        int magic = reader.readInt("magic");
        if (magic != MAGIC && magic != Integer.reverseBytes(MAGIC)) {
            throw reader.failure(
                    0, "magic", "not a GGUF file: expected 'GGUF' (0x46554747) but was 0x%08x".formatted(magic));
        }
        int version = reader.readInt("version");
        if (magic != MAGIC || version != 0 && (version & 0xFFFF) == 0) {
            throw reader.failure(
                    4, "version", "a big-endian GGUF file; only little-endian files are supported, convert the file");
        }
        if (version != 2 && version != 3) {
            throw reader.failure(
                    4,
                    "version",
                    "expected 2 or 3 but was " + Integer.toUnsignedString(version) + "; convert the file");
        }
        return version;
    }

    /** Reads one key-value pair into the map; returns the alignment in force after it. */
    private int readEntry(int number, Map<String, Object> values, int alignment) {
        reader.subject("metadata " + number);
        long keyAt = reader.position();
        String key = reader.readString("key");
        if (key.isEmpty()) {
            throw reader.failure(keyAt, "key", "is empty");
        }
        reader.subject("metadata " + HeaderReader.quote(key));
        long typeAt = reader.position();
        MetadataType type = readType("value type");
        long valueAt = reader.position();
        Object value = readValue(type);
        if (values.put(key, value) != null) {
            throw reader.failure(keyAt, "key", "occurs twice");
        }
        if (!key.equals(ALIGNMENT_KEY)) {
            return alignment;
        }
        if (!(value instanceof Long || value instanceof BigInteger)) {
            throw reader.failure(typeAt, "value type", "expected an integer but was " + type.label());
        }
        if (!(value instanceof Long bytes)
                || bytes < MINIMUM_ALIGNMENT
                || bytes > MAXIMUM_ALIGNMENT
                || Long.bitCount(bytes) != 1) {
            throw reader.failure(
                    valueAt,
                    "value",
                    "an alignment is a power of two from " + MINIMUM_ALIGNMENT + " to " + MAXIMUM_ALIGNMENT
                            + ", but was " + value);
        }
        return bytes.intValue();
    }

    private MetadataType readType(String field) {
        long at = reader.position();
        int id = reader.readInt(field);
        MetadataType type = MetadataType.ofId(id);
        if (type == null) {
            throw reader.failure(at, field, "unknown metadata type " + Integer.toUnsignedString(id));
        }
        return type;
    }

    private Object readValue(MetadataType type) {
        String field = "value";
        return switch (type) {
            case UINT8 -> Byte.toUnsignedLong(reader.readByte(field));
            case INT8 -> (long) reader.readByte(field);
            case UINT16 -> Short.toUnsignedLong(reader.readShort(field));
            case INT16 -> (long) reader.readShort(field);
            case UINT32 -> Integer.toUnsignedLong(reader.readInt(field));
            case INT32 -> (long) reader.readInt(field);
            case UINT64 -> MetadataArray.unsigned(reader.readLong(field));
            case INT64 -> reader.readLong(field);
            case FLOAT32 -> (double) reader.readFloat(field);
            case FLOAT64 -> reader.readDouble(field);
            case BOOL -> reader.readBool(field);
            case STRING -> reader.readString(field);
            case ARRAY -> readArray(1);
        };
    }

    private MetadataArray readArray(int depth) {
        if (depth > MAX_ARRAY_DEPTH) {
            throw reader.failure(
                    reader.position(), "array", "arrays are nested more than " + MAX_ARRAY_DEPTH + " deep");
        }
        MetadataType type = readType("array element type");
        int count = reader.readCount(type.minimumBytes(), "array count");
        String field = "array elements";
        Object elements = switch (type) {
            case UINT8, INT8 -> reader.readBytes(count, field);
            case BOOL -> reader.readBools(count, field);
            case UINT16, INT16 -> reader.readShorts(count, field);
            case UINT32, INT32 -> reader.readInts(count, field);
            case UINT64, INT64 -> reader.readLongs(count, field);
            case FLOAT32 -> reader.readFloats(count, field);
            case FLOAT64 -> reader.readDoubles(count, field);
            case STRING -> readStrings(count);
            case ARRAY -> readArrays(count, depth);
        };
        return new MetadataArray(type, elements);
    }

    private String[] readStrings(int count) {
        String[] strings = new String[count];
        for (int i = 0; i < count; i++) {
            reader.index(i);
            strings[i] = reader.readString("string");
        }
        reader.noIndex();
        return strings;
    }

    private MetadataArray[] readArrays(int count, int depth) {
        MetadataArray[] arrays = new MetadataArray[count];
        for (int i = 0; i < count; i++) {
            reader.index(i);
            arrays[i] = readArray(depth + 1);
        }
        reader.noIndex();
        return arrays;
    }

    private Entry readTensor(int number, int alignment) {
        reader.subject("tensor " + number);
        long nameAt = reader.position();
        String name = reader.readString("name");
        if (name.isEmpty()) {
            throw reader.failure(nameAt, "name", "is empty");
        }
        reader.subject("tensor " + HeaderReader.quote(name));
        long dimensionsAt = reader.position();
        int dimensionCount = reader.readInt("dimension count");
        if (dimensionCount < 1 || dimensionCount > MAX_DIMENSIONS) {
            throw reader.failure(
                    dimensionsAt,
                    "dimension count",
                    "expected 1 to " + MAX_DIMENSIONS + " but was " + Integer.toUnsignedString(dimensionCount));
        }
        Long[] dimensions = new Long[dimensionCount];
        long elements = 1;
        for (int i = 0; i < dimensionCount; i++) {
            long at = reader.position();
            dimensions[i] = reader.readUnsigned("dimension");
            if (dimensions[i] == 0) {
                throw reader.failure(at, "dimension", "dimension " + i + " is 0");
            }
            if (dimensions[i] > Long.MAX_VALUE / elements) {
                throw reader.failure(
                        at, "dimension", "dimension " + i + " of " + dimensions[i] + " overflows the element count");
            }
            elements *= dimensions[i];
        }
        GgmlType type = readTensorType();
        if (dimensions[0] % type.blockElements() != 0) {
            throw reader.failure(
                    dimensionsAt + 4,
                    "dimension",
                    "dimension 0 of " + dimensions[0] + " is not a whole number of " + type + " blocks of "
                            + type.blockElements());
        }
        long blocks = elements / type.blockElements();
        if (blocks > Long.MAX_VALUE / type.blockBytes()) {
            throw reader.failure(
                    dimensionsAt + 4,
                    "dimension",
                    "dimensions " + List.of(dimensions) + " overflow the byte size of type " + type);
        }
        long offsetAt = reader.position();
        long offset = reader.readUnsigned("offset");
        if (offset % alignment != 0) {
            throw reader.failure(offsetAt, "offset", offset + " is not a multiple of the alignment " + alignment);
        }
        return new Entry(name, type, List.of(dimensions), offset, blocks * type.blockBytes(), nameAt, offsetAt);
    }

    private GgmlType readTensorType() {
        long at = reader.position();
        int id = reader.readInt("type");
        try {
            return GgmlType.ofId(id);
        } catch (IllegalArgumentException _) {
            throw reader.failure(at, "type", "unknown tensor type " + Integer.toUnsignedString(id));
        }
    }

    /** Turns relative into file offsets, and checks names and places against each other and the end of the file. */
    private List<GgufTensor> place(List<Entry> entries, long dataOffset, Map<String, GgufTensor> byName) {
        long dataBytes = fileBytes - dataOffset;
        List<GgufTensor> tensors = new ArrayList<>(entries.size());
        for (Entry entry : entries) {
            reader.subject("tensor " + HeaderReader.quote(entry.name()));
            if (entry.byteSize() > dataBytes || entry.relativeOffset() > dataBytes - entry.byteSize()) {
                throw reader.failure(
                        entry.offsetField(),
                        "offset",
                        entry.byteSize() + " bytes at " + entry.relativeOffset() + " of the data section, which has "
                                + Math.max(0, dataBytes) + " bytes from offset " + dataOffset);
            }
            GgufTensor tensor = new GgufTensor(
                    entry.name(),
                    entry.type(),
                    entry.dimensions(),
                    dataOffset + entry.relativeOffset(),
                    entry.byteSize());
            if (byName.put(tensor.name(), tensor) != null) {
                throw reader.failure(entry.nameField(), "name", "occurs twice");
            }
            tensors.add(tensor);
        }
        refuseOverlap(entries);
        return Collections.unmodifiableList(tensors);
    }

    /** Without overlap the tensors together are no larger than the file, which every byte budget relies on. */
    private void refuseOverlap(List<Entry> entries) {
        Entry[] ordered = entries.toArray(Entry[]::new);
        Arrays.sort(ordered, Comparator.comparingLong(Entry::relativeOffset));
        for (int i = 1; i < ordered.length; i++) {
            Entry before = ordered[i - 1];
            Entry entry = ordered[i];
            if (before.relativeOffset() + before.byteSize() > entry.relativeOffset()) {
                reader.subject("tensor " + HeaderReader.quote(entry.name()));
                throw reader.failure(
                        entry.offsetField(),
                        "offset",
                        "the data overlaps that of tensor " + HeaderReader.quote(before.name()));
            }
        }
    }
}
