package dev.prefetch.backend.cpu;

/** How a matrix-vector kernel wants its activations prepared. Layouts are described where they are written. */
enum ActivationForm {
    /** The f32 row itself. */
    PLAIN,
    /** f32, even and odd elements apart. */
    HALVES,
    /** int8 values in 16-bit lanes with one scale per 32. */
    INT8,
    /** Multipliers for {@link LaneFormat#Q4_0}. */
    BLOCK_NIBBLES,
    /** Multipliers for {@link LaneFormat#Q4_K}. */
    GROUP_NIBBLES,
    /** Multipliers for {@link LaneFormat#Q5_K}. */
    GROUP_FIVE_BITS,
    /** Multipliers for {@link LaneFormat#Q6_K}. */
    SIXTEENTHS,
    /** f32, for several rows of activations. */
    PLAIN_PANELS;

    /** Whether rows are prepared together, as records for {@link LaneProducts} or {@link FloatPanels}. */
    boolean isPanels() {
        return switch (this) {
            case BLOCK_NIBBLES, GROUP_NIBBLES, GROUP_FIVE_BITS, SIXTEENTHS, PLAIN_PANELS -> true;
            case PLAIN, HALVES, INT8 -> false;
        };
    }
}
