package dev.prefetch.api;

import dev.prefetch.gguf.GgmlType;
import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Collectors;

/**
 * What the keys and values of the KV cache are kept as. Less precision means more tokens in the same memory; attention
 * computes in f32 with what is read.
 */
public enum KvCacheType {
    /** 32-bit floats: nothing is rounded. */
    F32(GgmlType.F32),
    /** 16-bit floats: half the bytes. */
    F16(GgmlType.F16),
    /** 8-bit integers with a 16-bit scale per 32 dimensions of a head: 27 % of the bytes. */
    Q8_0(GgmlType.Q8_0);

    private final GgmlType format;

    KvCacheType(GgmlType format) {
        this.format = format;
    }

    /** The element format. */
    public GgmlType format() {
        return format;
    }

    /** The name that options and properties have for it: {@code f32}, {@code f16} or {@code q8_0}. */
    public String id() {
        return name().toLowerCase(Locale.ROOT);
    }

    /**
     * The type of that name, in any case.
     *
     * @throws IllegalArgumentException when there is none
     */
    public static KvCacheType ofId(String id) {
        return Arrays.stream(values())
                .filter(type -> type.id().equalsIgnoreCase(id))
                .findFirst()
                .orElseThrow(() -> new IllegalArgumentException("'" + id + "' is no type of a KV cache; there are "
                        + Arrays.stream(values()).map(KvCacheType::id).collect(Collectors.joining(", "))));
    }
}
