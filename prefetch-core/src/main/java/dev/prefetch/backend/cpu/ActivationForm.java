package dev.prefetch.backend.cpu;

/** How a matrix-vector kernel wants its activations prepared. Layouts are described where they are written. */
enum ActivationForm {
    /** The f32 row itself. */
    PLAIN,
    /** The f32 row times a power of two, and behind it a float that makes up for it and for how {@link VectorHalves} reads halves. */
    SCALED,
    /** Multipliers for {@link LaneFormat#Q8_0}. */
    BLOCK_BYTES,
    /** Multipliers for {@link LaneFormat#Q4_0}. */
    BLOCK_NIBBLES,
    /** Multipliers for {@link LaneFormat#Q4_K}. */
    GROUP_NIBBLES,
    /** Multipliers for {@link LaneFormat#Q5_K}. */
    GROUP_FIVE_BITS,
    /** Multipliers for {@link LaneFormat#Q6_K}. */
    SIXTEENTHS
}
