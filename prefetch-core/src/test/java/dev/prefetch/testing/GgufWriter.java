package dev.prefetch.testing;

import dev.prefetch.gguf.GgmlType;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.Array;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Writes small GGUF files for tests. It checks only what would make a file other than the test meant (the byte length
 * of a tensor); names, types and alignments may break the rules of the format.
 *
 * <pre>{@code
 * Path file = new GgufWriter()
 *         .put("general.architecture", "llama")
 *         .uint32("llama.block_count", 2)
 *         .f32Tensor("output_norm.weight", List.of(4L), 1f, 1f, 1f, 1f)
 *         .write(folder.resolve("small.gguf"));
 * }</pre>
 */
public final class GgufWriter {

    private static final int UINT8 = 0;
    private static final int INT8 = 1;
    private static final int UINT16 = 2;
    private static final int INT16 = 3;
    private static final int UINT32 = 4;
    private static final int INT32 = 5;
    private static final int FLOAT32 = 6;
    private static final int BOOL = 7;
    private static final int STRING = 8;
    private static final int ARRAY = 9;
    private static final int UINT64 = 10;
    private static final int INT64 = 11;
    private static final int FLOAT64 = 12;

    private final List<byte[]> entries = new ArrayList<>();
    private final List<TensorData> tensors = new ArrayList<>();
    private int version = 3;
    private int alignment = 32;

    private record TensorData(String name, int typeId, List<Long> dimensions, byte[] bytes) {}

    /** Version of the format; 3 unless set. */
    public GgufWriter version(int newVersion) {
        version = newVersion;
        return this;
    }

    /** Alignment of the data section, also written as {@code general.alignment}; 32, not written, unless set. */
    public GgufWriter alignment(int newAlignment) {
        alignment = newAlignment;
        return uint32("general.alignment", newAlignment);
    }

    /**
     * A value with the type of its class: Byte, Short, Integer and Long as signed integers, Float, Double, Boolean,
     * String; {@code byte[] short[] int[] long[] float[] double[] boolean[]} and List (of one of these, or of lists) as
     * arrays. An empty list is an array of strings.
     */
    public GgufWriter put(String key, Object value) {
        return put(key, typeOf(value), value);
    }

    /** {@link #put(String, Object)} for each entry, in the order of the map. */
    public GgufWriter putAll(Map<String, ?> values) {
        values.forEach(this::put);
        return this;
    }

    /** An unsigned 8-bit integer, from the low bits. */
    public GgufWriter uint8(String key, int value) {
        return put(key, UINT8, (byte) value);
    }

    /** An unsigned 16-bit integer, from the low bits. */
    public GgufWriter uint16(String key, int value) {
        return put(key, UINT16, (short) value);
    }

    /** An unsigned 32-bit integer, from the low bits. */
    public GgufWriter uint32(String key, long value) {
        return put(key, UINT32, (int) value);
    }

    /** An unsigned 64-bit integer, from the bits. */
    public GgufWriter uint64(String key, long bits) {
        return put(key, UINT64, bits);
    }

    /** An array of unsigned integers: {@code byte[]}, {@code short[]}, {@code int[]} or {@code long[]}. */
    public GgufWriter unsignedArray(String key, Object array) {
        Out out = new Out();
        out.string(key).int32(ARRAY);
        // Each unsigned type of the format stands right before the signed one of its width.
        out.array(array, elementType(array) - 1);
        entries.add(out.toBytes());
        return this;
    }

    /** Key, type and value as they stand in another file; see {@link GgufFields#entries()}. */
    public GgufWriter entry(byte[] bytes) {
        entries.add(bytes.clone());
        return this;
    }

    /** An entry with any type identifier and any bytes after it, for damaged files. */
    public GgufWriter raw(String key, int typeId, byte[] valueBytes) {
        entries.add(new Out().string(key).int32(typeId).bytes(valueBytes).toBytes());
        return this;
    }

    /**
     * A tensor.
     *
     * @param dimensions extents, fastest first
     * @param bytes its data, in the layout of the type
     */
    public GgufWriter tensor(String name, GgmlType type, List<Long> dimensions, byte[] bytes) {
        long expected = type.byteSize(dimensions.stream().reduce(1L, Math::multiplyExact));
        if (bytes.length != expected) {
            throw new IllegalArgumentException(
                    "tensor " + name + ": expected " + expected + " bytes but was " + bytes.length);
        }
        return rawTensor(name, type.id(), dimensions, bytes);
    }

    /** An F32 tensor. */
    public GgufWriter f32Tensor(String name, List<Long> dimensions, float... values) {
        ByteBuffer bytes = ByteBuffer.allocate(values.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        bytes.asFloatBuffer().put(values);
        return tensor(name, GgmlType.F32, dimensions, bytes.array());
    }

    /** A tensor whose type, dimensions and bytes need not fit together, for damaged files. */
    public GgufWriter rawTensor(String name, int typeId, List<Long> dimensions, byte[] bytes) {
        tensors.add(new TensorData(name, typeId, List.copyOf(dimensions), bytes.clone()));
        return this;
    }

    /** The file. */
    public byte[] toBytes() {
        Out out = new Out();
        out.bytes("GGUF".getBytes(StandardCharsets.US_ASCII)).int32(version);
        out.int64(tensors.size()).int64(entries.size());
        entries.forEach(out::bytes);
        long offset = 0;
        for (TensorData tensor : tensors) {
            out.string(tensor.name()).int32(tensor.dimensions().size());
            tensor.dimensions().forEach(out::int64);
            out.int32(tensor.typeId()).int64(offset);
            offset += padded(tensor.bytes().length);
        }
        out.pad(alignment);
        for (TensorData tensor : tensors) {
            out.bytes(tensor.bytes()).pad(alignment);
        }
        return out.toBytes();
    }

    /** Writes the file and returns its path. */
    public Path write(Path file) {
        try {
            return Files.write(file, toBytes());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private GgufWriter put(String key, int type, Object value) {
        entries.add(new Out().string(key).int32(type).value(type, value).toBytes());
        return this;
    }

    private long padded(long bytes) {
        return Math.ceilDiv(bytes, alignment) * alignment;
    }

    private static int typeOf(Object value) {
        return switch (value) {
            case Byte _ -> INT8;
            case Short _ -> INT16;
            case Integer _ -> INT32;
            case Long _ -> INT64;
            case Float _ -> FLOAT32;
            case Double _ -> FLOAT64;
            case Boolean _ -> BOOL;
            case String _ -> STRING;
            default -> {
                elementType(value);
                yield ARRAY;
            }
        };
    }

    private static int elementType(Object array) {
        return switch (array) {
            case byte[] _ -> INT8;
            case short[] _ -> INT16;
            case int[] _ -> INT32;
            case long[] _ -> INT64;
            case float[] _ -> FLOAT32;
            case double[] _ -> FLOAT64;
            case boolean[] _ -> BOOL;
            case List<?> list -> list.isEmpty() ? STRING : typeOf(list.getFirst());
            default -> throw new IllegalArgumentException("no metadata type for " + array.getClass());
        };
    }

    /** Little-endian output in the encodings of the format. */
    private static final class Out {

        private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

        Out bytes(byte[] values) {
            bytes.writeBytes(values);
            return this;
        }

        Out int8(int value) {
            bytes.write(value);
            return this;
        }

        Out int16(int value) {
            return int8(value).int8(value >> 8);
        }

        Out int32(int value) {
            return int16(value).int16(value >> 16);
        }

        Out int64(long value) {
            return int32((int) value).int32((int) (value >> 32));
        }

        Out string(String text) {
            byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
            return int64(utf8.length).bytes(utf8);
        }

        Out pad(int alignment) {
            while (bytes.size() % alignment != 0) {
                int8(0);
            }
            return this;
        }

        Out value(int type, Object value) {
            return switch (type) {
                case UINT8, INT8 -> int8((byte) value);
                case UINT16, INT16 -> int16((short) value);
                case UINT32, INT32 -> int32((int) value);
                case UINT64, INT64 -> int64((long) value);
                case FLOAT32 -> int32(Float.floatToRawIntBits((float) value));
                case FLOAT64 -> int64(Double.doubleToRawLongBits((double) value));
                case BOOL -> int8((boolean) value ? 1 : 0);
                case STRING -> string((String) value);
                case ARRAY -> array(value, elementType(value));
                default -> throw new IllegalArgumentException("type " + type);
            };
        }

        Out array(Object array, int type) {
            int count = array instanceof List<?> list ? list.size() : Array.getLength(array);
            int32(type).int64(count);
            for (int i = 0; i < count; i++) {
                value(type, array instanceof List<?> list ? list.get(i) : Array.get(array, i));
            }
            return this;
        }

        byte[] toBytes() {
            return bytes.toByteArray();
        }
    }
}
