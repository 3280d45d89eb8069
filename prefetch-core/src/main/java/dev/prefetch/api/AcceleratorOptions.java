package dev.prefetch.api;

import dev.prefetch.prefetch.MemoryAmount;
import org.jspecify.annotations.Nullable;

/**
 * How a device with memory of its own is used; nothing of it matters to the CPU backend. Immutable; start from
 * {@link #AUTO}.
 *
 * @param ordinal which of several devices, counted from 0
 * @param memory most of the device's memory for weights, slots, KV cache and activations together; a share is of what is
 *     free. Null for what is free without a reserve
 * @param decodeOnHost whether the host may compute feed-forward networks that are not in the device's memory while
 *     decoding, where that is faster than moving them. Which block is computed where is part of the plan, and decides the
 *     last bits of the logits
 * @param pageLock whether to try to page-lock the mapped model file in place, so that the device copies from it
 */
public record AcceleratorOptions(int ordinal, @Nullable MemoryAmount memory, boolean decodeOnHost, boolean pageLock) {

    /** Everything chosen by the engine. */
    public static final AcceleratorOptions AUTO = new AcceleratorOptions(0, null, true, true);

    public AcceleratorOptions {
        if (ordinal < 0) {
            throw new IllegalArgumentException("ordinal must not be negative but was " + ordinal);
        }
    }

    public AcceleratorOptions withOrdinal(int value) {
        return new AcceleratorOptions(value, memory, decodeOnHost, pageLock);
    }

    public AcceleratorOptions withMemory(@Nullable MemoryAmount value) {
        return new AcceleratorOptions(ordinal, value, decodeOnHost, pageLock);
    }

    public AcceleratorOptions withDecodeOnHost(boolean value) {
        return new AcceleratorOptions(ordinal, memory, value, pageLock);
    }

    public AcceleratorOptions withPageLock(boolean value) {
        return new AcceleratorOptions(ordinal, memory, decodeOnHost, value);
    }
}
