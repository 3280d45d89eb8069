/**
 * Chat templates: a Jinja subset with bounded time and memory and no access to Java objects.
 *
 * <p>Independent of every other room.
 */
@NullMarked
package dev.prefetch.template;

import org.jspecify.annotations.NullMarked;
