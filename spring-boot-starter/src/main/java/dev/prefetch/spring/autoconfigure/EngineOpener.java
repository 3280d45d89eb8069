package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.prefetch.LoadListener;

/** Opens engines; a bean of this type replaces {@link PrefetchEngine#open(EngineOptions, LoadListener)}, which tests do. */
@FunctionalInterface
interface EngineOpener {

    PrefetchEngine open(EngineOptions options, LoadListener listener);
}
