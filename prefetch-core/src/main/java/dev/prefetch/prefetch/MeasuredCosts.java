package dev.prefetch.prefetch;

import org.jspecify.annotations.Nullable;

/**
 * What blocks cost the devices of an engine.
 *
 * @param primary the device that computes, and the link to its memory
 * @param host the host beside a device with memory of its own, and its disk; null where the host computes alone
 */
public record MeasuredCosts(CostModel primary, @Nullable CostModel host) {}
