package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.PrefetchEngine;

/** Opens engines; a bean of this type replaces {@link PrefetchEngine#open}, which tests do. */
@FunctionalInterface
interface EngineOpener {

    PrefetchEngine open(EngineOptions options);
}
