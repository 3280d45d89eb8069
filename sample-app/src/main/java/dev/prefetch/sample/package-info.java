/**
 * The sample: a web chat on Spring AI's {@code ChatClient}, answered by a model inside the application.
 *
 * <p>{@code web} is the chat; {@code cli} is the command line, which starts the chat with {@code serve} and otherwise
 * uses the engine directly, without Spring.
 */
@NullMarked
package dev.prefetch.sample;

import org.jspecify.annotations.NullMarked;
