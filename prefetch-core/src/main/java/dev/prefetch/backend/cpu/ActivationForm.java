package dev.prefetch.backend.cpu;

/** How a matrix-vector kernel wants its activations prepared. Layouts are described where they are written. */
enum ActivationForm {
    /** The f32 row itself. */
    PLAIN,
    /** f32, even and odd elements apart. */
    HALVES,
    /** int8 values in 16-bit lanes with one scale per 32. */
    INT8,
    /** Multipliers for the nibbles of blocks of 32. */
    NIBBLES,
    /** Multipliers for super-blocks of 256 with groups of 32. */
    GROUPS,
    /** Multipliers for super-blocks of 256 with groups of 16. */
    SIXTEENTHS,
    /** Floats for super-blocks of 256 with groups of 32, for several rows of activations. */
    GROUP_PANELS,
    /** Floats for super-blocks of 256 with groups of 16, for several rows of activations. */
    SIXTEENTH_PANELS,
    /** Floats for nibbles of blocks of 32, for several rows of activations. */
    NIBBLE_PANELS,
    /** f32, for several rows of activations. */
    PLAIN_PANELS;

    /** Whether rows are prepared together, as records for {@link SuperBlockPanels}, {@link BlockPanels} or {@link FloatPanels}. */
    boolean isPanels() {
        return switch (this) {
            case GROUP_PANELS, SIXTEENTH_PANELS, NIBBLE_PANELS, PLAIN_PANELS -> true;
            case PLAIN, HALVES, INT8, NIBBLES, GROUPS, SIXTEENTHS -> false;
        };
    }
}
