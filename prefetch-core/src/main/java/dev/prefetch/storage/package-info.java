/**
 * Where weights lie: mapped files, direct reads, page-locked staging.
 *
 * <p>May use {@code gguf}.
 */
@NullMarked
package dev.prefetch.storage;

import org.jspecify.annotations.NullMarked;
