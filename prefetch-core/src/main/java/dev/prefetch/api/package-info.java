/**
 * All an application needs: the engine, its options, a generation request and its result.
 */
@NullMarked
package dev.prefetch.api;

import org.jspecify.annotations.NullMarked;
