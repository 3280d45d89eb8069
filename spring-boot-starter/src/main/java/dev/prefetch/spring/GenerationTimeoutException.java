package dev.prefetch.spring;

import java.time.Duration;

/** A generation, or a request for vectors, took too long and was cancelled. The message says which limit it met and how to change it. */
public final class GenerationTimeoutException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    private final boolean stall;

    private GenerationTimeoutException(String message, boolean stall) {
        super(message);
        this.stall = stall;
    }

    static GenerationTimeoutException stalled(Duration limit, String remedy) {
        return new GenerationTimeoutException(
                "the generation was cancelled: no token for " + seconds(limit) + " s. " + remedy, true);
    }

    static GenerationTimeoutException deadline(Duration limit, String remedy) {
        return new GenerationTimeoutException(
                "the generation was cancelled: it was not complete within " + seconds(limit) + " s. " + remedy, false);
    }

    static GenerationTimeoutException vectors(Duration limit, String remedy, Throwable cause) {
        GenerationTimeoutException failure = new GenerationTimeoutException(
                "the request for vectors was cancelled: it was not complete within " + seconds(limit) + " s. " + remedy,
                false);
        failure.initCause(cause);
        return failure;
    }

    private static String seconds(Duration limit) {
        return limit.toMillis() % 1000 == 0
                ? Long.toString(limit.toSeconds())
                : Double.toString(limit.toMillis() / 1e3);
    }

    /** Whether tokens stopped coming, which hints at the device; otherwise the whole took longer than allowed. */
    public boolean isStall() {
        return stall;
    }
}
