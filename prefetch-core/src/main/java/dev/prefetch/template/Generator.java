package dev.prefetch.template;

import java.util.Iterator;

/**
 * What filters such as {@code map} and {@code select} return: it can be walked over once, has no length, and is always
 * true. Templates depend on it: {@code (x | select('odd') | list) | length} needs the {@code list}.
 */
final class Generator implements Iterable<Object> {

    private final Iterator<Object> remaining;

    Generator(Iterable<Object> items) {
        this.remaining = items.iterator();
    }

    @Override
    public Iterator<Object> iterator() {
        return remaining;
    }
}
