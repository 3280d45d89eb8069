/**
 * The Spring AI chat model. Depends on the core's {@code api} and on Spring AI, not on Spring Boot: it can be used
 * without auto-configuration.
 */
@NullMarked
package dev.prefetch.spring;

import org.jspecify.annotations.NullMarked;
