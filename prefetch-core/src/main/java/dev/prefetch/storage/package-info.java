/**
 * Where weights lie: mapped files and readers that move runs of bytes into native memory.
 *
 * <p>May use {@code gguf}.
 */
@NullMarked
package dev.prefetch.storage;

import org.jspecify.annotations.NullMarked;
