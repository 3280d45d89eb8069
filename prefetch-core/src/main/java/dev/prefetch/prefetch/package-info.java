/**
 * Which weights are resident and which stream, and how they reach compute in time: plan, scheduler, slots, leases.
 *
 * <p>May use {@code model}, {@code backend}, {@code storage} and {@code gguf}.
 */
@NullMarked
package dev.prefetch.prefetch;

import org.jspecify.annotations.NullMarked;
