package dev.prefetch.model;

import dev.prefetch.gguf.GgmlType;

/**
 * A tensor, or one expert's slice of a tensor, inside a weight block.
 *
 * @param role what it is for
 * @param name name in the file
 * @param type element format
 * @param rows rows (outputs); 1 for vectors
 * @param cols elements per row (inputs)
 * @param fileOffset where its bytes start in the file
 * @param byteSize length in bytes
 */
public record BlockTensor(
        TensorRole role, String name, GgmlType type, long rows, long cols, long fileOffset, long byteSize) {}
