package dev.prefetch.storage;

/** How a file is read. */
public enum ReadMode {
    /** Past the page cache, by O_DIRECT or its equivalent. */
    DIRECT,
    /** Through the page cache, which is told to drop what was read. */
    BUFFERED_DROPPED,
    /** Through the page cache, which keeps what it likes and so takes memory from everybody. */
    BUFFERED
}
