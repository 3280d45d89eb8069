/** Utilities that the tests of several rooms share. */
@NullMarked
package dev.prefetch.testing;

import org.jspecify.annotations.NullMarked;
