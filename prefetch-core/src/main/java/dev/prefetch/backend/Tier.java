package dev.prefetch.backend;

/** Where bytes can lie, slowest first. A backend computes in one tier. */
public enum Tier {
    /** The model file. */
    DISK,
    /** Memory of the host; the CPU backend computes here. */
    HOST,
    /** Memory of an accelerator. */
    DEVICE
}
