/**
 * The GGUF container format: metadata, tensor directory and the block layouts of the quantisations.
 *
 * <p>The lowest room: depends on nothing but the JDK.
 */
@NullMarked
package dev.prefetch.gguf;

import org.jspecify.annotations.NullMarked;
