package dev.prefetch.template;

import java.util.Iterator;
import java.util.List;

/** A list or tuple. Immutable: the Jinja sandbox forbids changing lists, so nothing needs to. */
record ListValue(List<Object> items, boolean tuple) implements Iterable<Object> {

    static ListValue list(List<Object> items) {
        return new ListValue(items, false);
    }

    static ListValue pair(Object first, Object second) {
        return new ListValue(List.of(first, second), true);
    }

    int size() {
        return items.size();
    }

    @Override
    public Iterator<Object> iterator() {
        return items.iterator();
    }
}
