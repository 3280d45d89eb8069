/**
 * The CUDA backend. In this version it only announces itself and says why it cannot be used.
 */
@NullMarked
package dev.prefetch.cuda;

import org.jspecify.annotations.NullMarked;
