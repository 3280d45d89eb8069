package dev.prefetch.template;

import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** A mapping in insertion order. Filled once, by its maker, and not changed afterwards. */
final class DictValue {

    private final Map<Object, Object> entries = new LinkedHashMap<>();

    /** The value under a key, or {@code null}. */
    @Nullable
    Object get(Object key) {
        return entries.get(canonical(key));
    }

    @Nullable
    Object get(String key) {
        return entries.get(Text.of(key));
    }

    void put(Object key, Object value) {
        entries.put(canonical(key), value);
    }

    int size() {
        return entries.size();
    }

    Set<Object> keys() {
        return entries.keySet();
    }

    Collection<Object> values() {
        return entries.values();
    }

    Set<Map.Entry<Object, Object>> entries() {
        return entries.entrySet();
    }

    /**
     * The key as a Java object whose {@code equals} is Python's: 1, 1.0 and true are one key. Of tuples only flat ones
     * are keys, because hashing nested ones is work that no budget sees.
     */
    static Object canonical(Object key) {
        return switch (key) {
            case Boolean b -> b ? 1L : 0L;
            case Double d when d == Math.rint(d) && Math.abs(d) < 1e18 -> d.longValue();
            case ListValue list -> {
                if (!list.tuple() || list.items().stream().anyMatch(ListValue.class::isInstance)) {
                    throw unhashable(key);
                }
                yield new ListValue(
                        list.items().stream().map(DictValue::canonical).toList(), true);
            }
            case DictValue _ -> throw unhashable(key);
            default -> key;
        };
    }

    private static TemplateFault unhashable(Object key) {
        return TemplateFault.evaluation("a " + Values.typeName(key) + " cannot be a key or be compared for uniqueness");
    }
}
