package dev.prefetch.api;

/**
 * Hears a generation as it happens. Called by the engine's thread, in order, and must not block: the other requests wait
 * meanwhile. Exactly one of {@link #onComplete} and {@link #onFailure} is called, last.
 */
public interface GenerationListener {

    /** A listener that ignores everything. */
    GenerationListener NONE = new GenerationListener() {};

    /** More text. Never half a character, never part of a stop sequence. */
    default void onText(String text) {}

    /** The generation ended by itself, by a limit or by cancellation. */
    default void onComplete(GenerationResult result) {}

    /** The generation failed. */
    default void onFailure(RuntimeException failure) {}
}
