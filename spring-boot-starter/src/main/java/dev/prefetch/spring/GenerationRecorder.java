package dev.prefetch.spring;

import dev.prefetch.api.GenerationResult;

/** Hears how every generation of a {@link PrefetchChatModel} ended. Called by the engine's thread; must not block. */
public interface GenerationRecorder {

    /** A recorder that ignores everything. */
    GenerationRecorder NONE = new GenerationRecorder() {};

    /** A generation ended by itself, by a limit or by cancellation. */
    default void completed(GenerationResult result) {}

    /** A generation failed. */
    default void failed(RuntimeException failure) {}

    /** Another chat model was asked instead. */
    default void fellBack(ChatFallback.Reason reason) {}

    /** The recorder for one engine of several. */
    default GenerationRecorder forEngine(String name) {
        return this;
    }
}
