package dev.prefetch.cuda.simulator;

/**
 * A mistake that the simulated driver saw. Each kind is reported once for the same pair of causes.
 *
 * @param kind  what kind of mistake
 * @param text  who, where, with which call
 */
public record Finding(Kind kind, String text) {

    /** Kinds of mistakes. */
    public enum Kind {
        /** Two accesses, one of them a write, that no stream, event or host wait puts in order. */
        RACE,
        /** The host wrote the source of a copy before it had waited for the copy. */
        STAGING,
        /** Device memory was read before anything had written it. */
        UNINITIALISED,
        /** An operation failed and the context is lost: a bad address, a wrong warp mask, an injected fault. */
        DEVICE_ERROR,
        /** A copy crossed the boundary of a page-locked range, and was as slow as pageable memory. */
        BOUNDARY,
        /** An asynchronous copy of pageable memory was refused by the settings. */
        PAGEABLE,
        /** PTX whose parameters are not those of the compiled kernel. */
        STALE,
        /** A kernel library that cannot be used, or a kernel that none has. */
        MODULE,
        /** A thread waited for work that cannot run. */
        DEADLOCK,
        /** Something that the simulated driver does not do. */
        UNSUPPORTED
    }

    static Finding parse(String line) {
        int colon = line.indexOf(": ");
        return new Finding(
                Kind.valueOf(line.substring(0, colon).replace('-', '_').toUpperCase(java.util.Locale.ROOT)),
                line.substring(colon + 2));
    }
}
