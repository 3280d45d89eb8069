/**
 * The forward pass and everything around it: KV cache, sampling, batching of sequences, stop conditions.
 *
 * <p>May use {@code prefetch} and all rooms below.
 */
@NullMarked
package dev.prefetch.inference;

import org.jspecify.annotations.NullMarked;
