package dev.prefetch.gguf;

import java.math.BigInteger;
import java.util.AbstractList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.RandomAccess;
import org.jspecify.annotations.Nullable;

/**
 * An array of the metadata in the element width of the file, so that a million {@code uint8} cost one megabyte and not
 * eight.
 */
final class MetadataArray {

    private final MetadataType elementType;
    private final Object values;

    /**
     * @param values {@code byte[]}, {@code short[]}, {@code int[]}, {@code long[]}, {@code float[]}, {@code double[]},
     *     {@code String[]} or {@code MetadataArray[]}, as fits the element type; not copied
     */
    MetadataArray(MetadataType elementType, Object values) {
        this.elementType = elementType;
        this.values = values;
    }

    MetadataType elementType() {
        return elementType;
    }

    /** The elements when they are integers of any width, else null. Unsigned 64-bit values keep their bits. */
    long @Nullable [] integers() {
        return switch (elementType) {
            case UINT8 -> widen((byte[]) values, 0xFFL);
            case INT8 -> widen((byte[]) values, -1L);
            case UINT16 -> widen((short[]) values, 0xFFFFL);
            case INT16 -> widen((short[]) values, -1L);
            case UINT32 -> widen((int[]) values, 0xFFFF_FFFFL);
            case INT32 -> widen((int[]) values, -1L);
            case UINT64, INT64 -> ((long[]) values).clone();
            default -> null;
        };
    }

    /** The elements when they are floats of either width, else null. */
    float @Nullable [] floats() {
        return switch (elementType) {
            case FLOAT32 -> ((float[]) values).clone();
            case FLOAT64 -> {
                double[] wide = (double[]) values;
                float[] result = new float[wide.length];
                for (int i = 0; i < result.length; i++) {
                    result[i] = (float) wide[i];
                }
                yield result;
            }
            default -> null;
        };
    }

    /** The elements when they are booleans, else null. */
    boolean @Nullable [] bools() {
        if (elementType != MetadataType.BOOL) {
            return null;
        }
        byte[] bytes = (byte[]) values;
        boolean[] result = new boolean[bytes.length];
        for (int i = 0; i < result.length; i++) {
            result[i] = bytes[i] != 0;
        }
        return result;
    }

    /** The elements when they are strings, else null; unmodifiable and not copied. */
    @Nullable
    List<String> strings() {
        return elementType == MetadataType.STRING
                ? Collections.unmodifiableList(Arrays.asList((String[]) values))
                : null;
    }

    /** Any array as an unmodifiable list: Long (BigInteger beyond it), Double, Boolean, String or List elements. */
    List<?> list() {
        return switch (elementType) {
            case STRING -> Collections.unmodifiableList(Arrays.asList((String[]) values));
            case ARRAY -> new NestedList((MetadataArray[]) values);
            case BOOL -> {
                byte[] bytes = (byte[]) values;
                Object[] boxed = new Object[bytes.length];
                Arrays.setAll(boxed, i -> bytes[i] != 0);
                yield List.of(boxed);
            }
            case FLOAT32 -> {
                float[] floats = (float[]) values;
                Object[] boxed = new Object[floats.length];
                Arrays.setAll(boxed, i -> (double) floats[i]);
                yield List.of(boxed);
            }
            case FLOAT64 -> Arrays.stream((double[]) values).boxed().toList();
            case UINT64 ->
                Arrays.stream((long[]) values).mapToObj(MetadataArray::unsigned).toList();
            default -> Arrays.stream(Objects.requireNonNull(integers())).boxed().toList();
        };
    }

    /** An unsigned 64-bit value: a Long where it fits, else a BigInteger. */
    static Number unsigned(long bits) {
        return bits >= 0 ? (Number) bits : new BigInteger(Long.toUnsignedString(bits));
    }

    private static long[] widen(byte[] narrow, long mask) {
        long[] result = new long[narrow.length];
        for (int i = 0; i < result.length; i++) {
            result[i] = narrow[i] & mask;
        }
        return result;
    }

    private static long[] widen(short[] narrow, long mask) {
        long[] result = new long[narrow.length];
        for (int i = 0; i < result.length; i++) {
            result[i] = narrow[i] & mask;
        }
        return result;
    }

    private static long[] widen(int[] narrow, long mask) {
        long[] result = new long[narrow.length];
        for (int i = 0; i < result.length; i++) {
            result[i] = narrow[i] & mask;
        }
        return result;
    }

    /** Lists of lists, converted when they are asked for. */
    private static final class NestedList extends AbstractList<List<?>> implements RandomAccess {

        private final MetadataArray[] arrays;

        NestedList(MetadataArray[] arrays) {
            this.arrays = arrays;
        }

        @Override
        public List<?> get(int index) {
            return arrays[index].list();
        }

        @Override
        public int size() {
            return arrays.length;
        }
    }
}
