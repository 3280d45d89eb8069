/**
 * The embedded default backend: computes in host memory on a fixed pool of platform threads.
 *
 * <p>Implements {@code backend}; may use {@code storage} and {@code gguf}. Scalar kernels are the oracle; vector kernels
 * need the module {@code jdk.incubator.vector}.
 */
@NullMarked
package dev.prefetch.backend.cpu;

import org.jspecify.annotations.NullMarked;
