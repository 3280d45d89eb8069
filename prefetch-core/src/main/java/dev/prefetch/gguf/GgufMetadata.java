package dev.prefetch.gguf;

import java.math.BigInteger;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The key-value pairs at the head of a GGUF file, with typed access. Immutable, safe for any number of threads, and
 * independent of the file once read.
 *
 * <p>An absent key gives an empty {@code Optional} or the fallback. A key that is there with another type than asked
 * for is a {@link GgufFormatException} naming file and key, never a silent fallback.
 *
 * @see <a href="https://github.com/ggml-org/ggml/blob/master/docs/gguf.md">GGUF specification</a>
 */
public final class GgufMetadata {

    private final String source;
    private final Map<String, Object> values;

    /**
     * @param values String, Boolean, Long, BigInteger (unsigned beyond long), Double or MetadataArray by key; the
     *     caller does not change the map any more
     */
    GgufMetadata(String source, Map<String, Object> values) {
        this.source = source;
        this.values = values;
    }

    /**
     * Metadata that comes from no file, for tests and generated models.
     *
     * @param source what messages call the file
     * @param values String, Boolean, Integer, Long, Float, Double, {@code List<String>}, {@code int[]}, {@code long[]},
     *     {@code float[]} or {@code boolean[]} by key; copied
     * @throws IllegalArgumentException for a value of another class
     */
    public static GgufMetadata of(String source, Map<String, Object> values) {
        Map<String, Object> copy = LinkedHashMap.newLinkedHashMap(values.size());
        values.forEach((key, value) -> copy.put(key, copyOf(key, value)));
        return new GgufMetadata(source, copy);
    }

    private static Object copyOf(String key, Object value) {
        return switch (value) {
            case String text -> text;
            case Boolean bool -> bool;
            case Long integer -> integer;
            case Integer integer -> integer.longValue();
            case Double number -> number;
            case Float number -> number.doubleValue();
            case int[] array -> new MetadataArray(MetadataType.INT32, array.clone());
            case long[] array -> new MetadataArray(MetadataType.INT64, array.clone());
            case float[] array -> new MetadataArray(MetadataType.FLOAT32, array.clone());
            case boolean[] array -> {
                byte[] bytes = new byte[array.length];
                for (int i = 0; i < bytes.length; i++) {
                    bytes[i] = (byte) (array[i] ? 1 : 0);
                }
                yield new MetadataArray(MetadataType.BOOL, bytes);
            }
            case List<?> list
            when list.stream().allMatch(String.class::isInstance) ->
                new MetadataArray(
                        MetadataType.STRING,
                        list.stream().map(String.class::cast).toArray(String[]::new));
            default ->
                throw new IllegalArgumentException("key '" + key + "': no metadata type for " + value.getClass());
        };
    }

    /** What messages call the file. */
    public String source() {
        return source;
    }

    /** All keys, in the order of the file. */
    public Set<String> keys() {
        return Collections.unmodifiableSet(values.keySet());
    }

    /** Whether the key is there, with any type. */
    public boolean contains(String key) {
        return values.containsKey(key);
    }

    /** Whether the key is there and its value is an array. */
    public boolean isArray(String key) {
        return values.get(key) instanceof MetadataArray;
    }

    /**
     * A string.
     *
     * @throws GgufFormatException when the value is not a string
     */
    public Optional<String> string(String key) {
        return switch (values.get(key)) {
            case null -> Optional.empty();
            case String text -> Optional.of(text);
            case Object other -> throw wrongType(key, other, "a string");
        };
    }

    /**
     * An integer of any width.
     *
     * @throws GgufFormatException when the value is not an integer, or an unsigned one beyond {@link Long#MAX_VALUE}
     */
    public Optional<Long> integer(String key) {
        return switch (values.get(key)) {
            case null -> Optional.empty();
            case Long integer -> Optional.of(integer);
            case BigInteger big -> throw failure(key, "is " + big + ", which does not fit a signed 64-bit integer");
            case Object other -> throw wrongType(key, other, "an integer");
        };
    }

    /**
     * A float or an integer of any width.
     *
     * @throws GgufFormatException when the value is not a number
     */
    public Optional<Double> number(String key) {
        return switch (values.get(key)) {
            case null -> Optional.empty();
            case Number number -> Optional.of(number.doubleValue());
            case Object other -> throw wrongType(key, other, "a number");
        };
    }

    /**
     * A boolean.
     *
     * @throws GgufFormatException when the value is not a boolean
     */
    public Optional<Boolean> bool(String key) {
        return switch (values.get(key)) {
            case null -> Optional.empty();
            case Boolean bool -> Optional.of(bool);
            case Object other -> throw wrongType(key, other, "a bool");
        };
    }

    /**
     * An array of strings, unmodifiable.
     *
     * @throws GgufFormatException when the value is not an array of strings
     */
    public Optional<List<String>> strings(String key) {
        MetadataArray array = array(key, "an array of strings");
        return array == null
                ? Optional.empty()
                : Optional.of(elements(key, array, array.strings(), "an array of strings"));
    }

    /**
     * An array of integers of any width; a fresh copy.
     *
     * @throws GgufFormatException when the value is not an array of integers, or one is beyond {@link Long#MAX_VALUE}
     */
    public Optional<long[]> integers(String key) {
        MetadataArray array = array(key, "an array of integers");
        if (array == null) {
            return Optional.empty();
        }
        long[] integers = elements(key, array, array.integers(), "an array of integers");
        if (array.elementType() == MetadataType.UINT64) {
            for (int i = 0; i < integers.length; i++) {
                if (integers[i] < 0) {
                    throw failure(
                            key,
                            "has " + Long.toUnsignedString(integers[i]) + " at index " + i
                                    + ", which does not fit a signed 64-bit integer");
                }
            }
        }
        return Optional.of(integers);
    }

    /**
     * An array of floats; 64-bit ones are rounded. A fresh copy.
     *
     * @throws GgufFormatException when the value is not an array of floats
     */
    public Optional<float[]> floats(String key) {
        MetadataArray array = array(key, "an array of floats");
        return array == null
                ? Optional.empty()
                : Optional.of(elements(key, array, array.floats(), "an array of floats"));
    }

    /**
     * An array of booleans; a fresh copy.
     *
     * @throws GgufFormatException when the value is not an array of booleans
     */
    public Optional<boolean[]> bools(String key) {
        MetadataArray array = array(key, "an array of bools");
        return array == null ? Optional.empty() : Optional.of(elements(key, array, array.bools(), "an array of bools"));
    }

    /**
     * An array of any type as an unmodifiable list of Long (BigInteger for unsigned values beyond it), Double, Boolean,
     * String, or, for nested arrays, List.
     *
     * @throws GgufFormatException when the value is not an array
     */
    public Optional<List<?>> list(String key) {
        MetadataArray array = array(key, "an array");
        return array == null ? Optional.empty() : Optional.of(array.list());
    }

    /** A string that must be there; {@link GgufFormatException} otherwise. */
    public String requireString(String key) {
        return string(key).orElseThrow(() -> missing(key));
    }

    /** An integer that must be there and fit 32 bits; {@link GgufFormatException} otherwise. */
    public int requireInt(String key) {
        return toInt(key, requireLong(key));
    }

    /** An integer that must be there; {@link GgufFormatException} otherwise. */
    public long requireLong(String key) {
        return integer(key).orElseThrow(() -> missing(key));
    }

    /** A number that must be there; {@link GgufFormatException} otherwise. */
    public float requireFloat(String key) {
        return number(key).orElseThrow(() -> missing(key)).floatValue();
    }

    /** An array of strings that must be there; {@link GgufFormatException} otherwise. */
    public List<String> requireStrings(String key) {
        return strings(key).orElseThrow(() -> missing(key));
    }

    /** A string, or the fallback when the key is absent; {@link GgufFormatException} for another type. */
    public String stringOr(String key, String fallback) {
        return string(key).orElse(fallback);
    }

    /** An integer, or the fallback when the key is absent; {@link GgufFormatException} unless it fits 32 bits. */
    public int intOr(String key, int fallback) {
        return toInt(key, integer(key).orElse((long) fallback));
    }

    /** An integer, or the fallback when the key is absent; {@link GgufFormatException} for another type. */
    public long longOr(String key, long fallback) {
        return integer(key).orElse(fallback);
    }

    /** A number, or the fallback when the key is absent; {@link GgufFormatException} for another type. */
    public float floatOr(String key, float fallback) {
        return number(key).map(Double::floatValue).orElse(fallback);
    }

    /** A boolean, or the fallback when the key is absent; {@link GgufFormatException} for another type. */
    public boolean boolOr(String key, boolean fallback) {
        return bool(key).orElse(fallback);
    }

    private @Nullable MetadataArray array(String key, String expected) {
        return switch (values.get(key)) {
            case null -> null;
            case MetadataArray array -> array;
            case Object other -> throw wrongType(key, other, expected);
        };
    }

    private <T> T elements(String key, MetadataArray array, @Nullable T elements, String expected) {
        if (elements == null) {
            throw wrongType(key, array, expected);
        }
        return elements;
    }

    private int toInt(String key, long value) {
        if (value != (int) value) {
            throw failure(key, "is " + value + ", which does not fit a signed 32-bit integer");
        }
        return (int) value;
    }

    private GgufFormatException missing(String key) {
        return failure(key, "is missing");
    }

    private GgufFormatException wrongType(String key, Object value, String expected) {
        String found = switch (value) {
            case String _ -> "a string";
            case Boolean _ -> "a bool";
            case Double _ -> "a float";
            case MetadataArray array ->
                "an array of type " + array.elementType().label();
            default -> "an integer";
        };
        return failure(key, "is " + found + ", expected " + expected);
    }

    private GgufFormatException failure(String key, String problem) {
        return new GgufFormatException(source + ": key " + HeaderReader.quote(key) + " " + problem);
    }
}
