/**
 * Text to token ids and back, from a GGUF file's vocabulary.
 *
 * <p>May use {@code gguf}; independent of {@code template} and {@code grammar}.
 */
@NullMarked
package dev.prefetch.tokenizer;

import org.jspecify.annotations.NullMarked;
