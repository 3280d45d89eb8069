package dev.prefetch.gguf;

import org.jspecify.annotations.Nullable;

/**
 * Types of metadata values: identifier in the file and the fewest bytes a value takes there.
 *
 * @see <a href="https://github.com/ggml-org/ggml/blob/master/docs/gguf.md">GGUF specification</a>
 */
enum MetadataType {
    UINT8(1),
    INT8(1),
    UINT16(2),
    INT16(2),
    UINT32(4),
    INT32(4),
    FLOAT32(4),
    BOOL(1),
    /** A 64-bit length, then the bytes. */
    STRING(8),
    /** A 32-bit element type, a 64-bit count, then the elements. */
    ARRAY(12),
    UINT64(8),
    INT64(8),
    FLOAT64(8);

    private static final MetadataType[] BY_ID = values();

    private final int minimumBytes;

    MetadataType(int minimumBytes) {
        this.minimumBytes = minimumBytes;
    }

    /** Identifier in the file; the constants are declared in the order of their identifiers. */
    int id() {
        return ordinal();
    }

    /** Fewest bytes one value takes in the file; all of them for the types of fixed size. */
    int minimumBytes() {
        return minimumBytes;
    }

    /** How messages name the type. */
    String label() {
        return switch (this) {
            case UINT8 -> "uint8";
            case INT8 -> "int8";
            case UINT16 -> "uint16";
            case INT16 -> "int16";
            case UINT32 -> "uint32";
            case INT32 -> "int32";
            case FLOAT32 -> "float32";
            case BOOL -> "bool";
            case STRING -> "string";
            case ARRAY -> "array";
            case UINT64 -> "uint64";
            case INT64 -> "int64";
            case FLOAT64 -> "float64";
        };
    }

    /** The type with that identifier, or null. */
    static @Nullable MetadataType ofId(int id) {
        return id >= 0 && id < BY_ID.length ? BY_ID[id] : null;
    }
}
