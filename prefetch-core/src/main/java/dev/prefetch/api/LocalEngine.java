package dev.prefetch.api;

final class LocalEngine {

    private LocalEngine() {}

    static PrefetchEngine open(EngineOptions options) {
        throw new UnsupportedOperationException("opening " + options.model());
    }
}
