package dev.prefetch.backend;

import dev.prefetch.gguf.GgmlType;

/**
 * Weights of one shape and format of which a device picks by their numbers; made by {@link ExpertOps#tabulate}.
 *
 * @param type format of the elements
 * @param rows rows of each
 * @param cols elements per row
 * @param count how many there are
 * @param wide whether all of them can be read in wide words
 * @param addresses holds where they lie, 8 bytes each
 * @param offset of the first address in {@code addresses}
 */
public record WeightTable(
        GgmlType type, int rows, int cols, int count, boolean wide, DeviceBuffer addresses, long offset) {}
