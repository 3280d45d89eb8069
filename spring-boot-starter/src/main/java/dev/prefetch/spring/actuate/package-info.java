/**
 * What operators see: health, an endpoint, information and meters. Everything here is optional on the class path; what
 * needs it is in the auto-configuration.
 */
@NullMarked
package dev.prefetch.spring.actuate;

import org.jspecify.annotations.NullMarked;
