/**
 * What a model is: architecture description, hyper-parameters, and the static graph of ordered weight blocks.
 *
 * <p>May use {@code backend}'s data types, {@code tokenizer} and {@code gguf}.
 */
@NullMarked
package dev.prefetch.model;

import org.jspecify.annotations.NullMarked;
