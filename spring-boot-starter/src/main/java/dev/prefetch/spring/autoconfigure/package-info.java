/**
 * Auto-configuration: properties, finding and loading the model, beans, and what is said when that fails.
 */
@NullMarked
package dev.prefetch.spring.autoconfigure;

import org.jspecify.annotations.NullMarked;
