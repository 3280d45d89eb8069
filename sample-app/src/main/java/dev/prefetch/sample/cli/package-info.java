/**
 * The command line. May use the engine's rooms and, for {@code serve} only, the web application; starts no Spring
 * context otherwise.
 */
@NullMarked
package dev.prefetch.sample.cli;

import org.jspecify.annotations.NullMarked;
