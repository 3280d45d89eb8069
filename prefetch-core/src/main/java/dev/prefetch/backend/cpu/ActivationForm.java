package dev.prefetch.backend.cpu;

/** How a matrix-vector kernel wants its activations prepared. Layouts are described where they are written. */
enum ActivationForm {
    /** The f32 row itself. */
    PLAIN,
    /** f32, even and odd elements apart, scaled for the bit trick that widens IEEE halves. */
    HALF,
    /** f32, even and odd elements apart. */
    BFLOAT,
    /** int8 values in 16-bit lanes with one scale per 32. */
    INT8,
    /** Multipliers for nibbles that are not masked, blocks of 32. */
    NIBBLE,
    /** Multipliers for groups of four unsigned bytes, super-blocks of 256. */
    BYTES
}
