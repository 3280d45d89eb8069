package dev.prefetch.backend;

/**
 * The devices of an engine. Closing is left to whoever opened them.
 *
 * @param primary the one that computes whatever is not better left to the host
 * @param host computes in the host's memory; the same as {@code primary} where that does so itself
 */
public record Devices(Device primary, Device host) {

    public Devices {
        if (host.tier() != Tier.HOST) {
            throw new IllegalArgumentException("the host's device computes in " + host.tier() + " memory");
        }
    }

    /** A device that computes in the host's memory, alone. */
    public static Devices of(Device host) {
        return new Devices(host, host);
    }

    /** Whether the primary device has memory of its own, which a link leads to. */
    public boolean accelerated() {
        return primary.tier() == Tier.DEVICE;
    }
}
