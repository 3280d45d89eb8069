package dev.prefetch.api;

import dev.prefetch.prefetch.MemoryAmount;
import java.time.Duration;
import java.util.Objects;
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
 * @param retryAfter how long after a failure the device is tried again; doubles with each further one
 */
public record AcceleratorOptions(
        int ordinal, @Nullable MemoryAmount memory, boolean decodeOnHost, boolean pageLock, Duration retryAfter) {

    /** Everything chosen by the engine. */
    public static final AcceleratorOptions AUTO = new AcceleratorOptions(0, null, true, true, Duration.ofSeconds(30));

    public AcceleratorOptions {
        Objects.requireNonNull(retryAfter, "retryAfter");
        if (retryAfter.isNegative() || retryAfter.isZero()) {
            throw new IllegalArgumentException("retryAfter must be positive but was " + retryAfter);
        }
        if (ordinal < 0) {
            throw new IllegalArgumentException("ordinal must not be negative but was " + ordinal);
        }
    }

    /** The same with a share of the device's memory. */
    AcceleratorOptions smaller(double share) {
        if (share == 1) {
            return this;
        }
        MemoryAmount whole = memory == null ? new MemoryAmount(-1, 1) : memory;
        return withMemory(
                new MemoryAmount(whole.bytes() < 0 ? -1 : (long) (share * whole.bytes()), share * whole.share()));
    }

    public AcceleratorOptions withOrdinal(int value) {
        return new AcceleratorOptions(value, memory, decodeOnHost, pageLock, retryAfter);
    }

    public AcceleratorOptions withMemory(@Nullable MemoryAmount value) {
        return new AcceleratorOptions(ordinal, value, decodeOnHost, pageLock, retryAfter);
    }

    public AcceleratorOptions withDecodeOnHost(boolean value) {
        return new AcceleratorOptions(ordinal, memory, value, pageLock, retryAfter);
    }

    public AcceleratorOptions withPageLock(boolean value) {
        return new AcceleratorOptions(ordinal, memory, decodeOnHost, value, retryAfter);
    }

    public AcceleratorOptions withRetryAfter(Duration value) {
        return new AcceleratorOptions(ordinal, memory, decodeOnHost, pageLock, value);
    }
}
