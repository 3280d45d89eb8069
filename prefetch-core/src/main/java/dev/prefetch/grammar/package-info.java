/**
 * Text that follows a grammar: JSON schemas and GBNF as grammars over bytes, and which tokens may come next. Knows no
 * other room: a vocabulary is the bytes of its tokens.
 */
@NullMarked
package dev.prefetch.grammar;

import org.jspecify.annotations.NullMarked;
