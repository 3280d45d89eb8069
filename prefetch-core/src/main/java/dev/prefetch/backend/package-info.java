/**
 * The backend SPI: provider, device, buffers, streams, events and operations.
 *
 * <p>May use {@code storage} and {@code gguf}. Implementations are found by {@link java.util.ServiceLoader}; nothing
 * above this room names one.
 */
@NullMarked
package dev.prefetch.backend;

import org.jspecify.annotations.NullMarked;
