/** Resilience4j in front of the chat model. Optional on the class path. */
@NullMarked
package dev.prefetch.spring.resilience;

import org.jspecify.annotations.NullMarked;
