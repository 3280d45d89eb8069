/**
 * The chat over HTTP: one page and the few requests it makes. Uses Spring AI's {@code ChatClient} for the answers and the
 * engine only to say what runs.
 */
@NullMarked
package dev.prefetch.sample.web;

import org.jspecify.annotations.NullMarked;
