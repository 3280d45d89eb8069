package dev.prefetch.template;

import java.util.Iterator;
import java.util.Map;

/** What {@code keys()}, {@code values()} and {@code items()} return: sized and iterable, but without an order to index. */
record DictView(Kind kind, DictValue dict) implements Iterable<Object> {

    enum Kind {
        KEYS,
        VALUES,
        ITEMS
    }

    @Override
    public Iterator<Object> iterator() {
        return switch (kind) {
            case KEYS -> dict.keys().iterator();
            case VALUES -> dict.values().iterator();
            case ITEMS -> {
                Iterator<Map.Entry<Object, Object>> entries = dict.entries().iterator();
                yield new Iterator<>() {
                    @Override
                    public boolean hasNext() {
                        return entries.hasNext();
                    }

                    @Override
                    public Object next() {
                        Map.Entry<Object, Object> entry = entries.next();
                        return ListValue.pair(entry.getKey(), entry.getValue());
                    }
                };
            }
        };
    }
}
