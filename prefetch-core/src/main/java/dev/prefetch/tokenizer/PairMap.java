package dev.prefetch.tokenizer;

import java.util.Arrays;

/** A hash map from a pair of non-negative ints to a non-negative long, with open addressing and no boxing. */
final class PairMap {

    static final long ABSENT = -1;

    private long[] keys;
    private long[] values;
    private int size;

    PairMap(int expectedSize) {
        allocate(Integer.highestOneBit(Math.max(8, Math.min(expectedSize, 1 << 28))) * 4);
    }

    /** The value of a pair, or {@link #ABSENT}; negative ints are never present. */
    long get(int first, int second) {
        if ((first | second) < 0) {
            return ABSENT;
        }
        return values[slotOf(key(first, second))];
    }

    /** Stores a value unless the pair has one already; says whether it did. */
    boolean putIfAbsent(int first, int second, long value) {
        long key = key(first, second);
        int slot = slotOf(key);
        if (values[slot] != ABSENT) {
            return false;
        }
        keys[slot] = key;
        values[slot] = value;
        if (++size > keys.length >>> 1) {
            grow();
        }
        return true;
    }

    private static long key(int first, int second) {
        return (long) first << 32 | second;
    }

    private int slotOf(long key) {
        int mask = keys.length - 1;
        // Fibonacci hashing: ids are small and dense, so the high bits of the product are the well mixed ones.
        long mixed = key * 0x9E3779B97F4A7C15L;
        int slot = (int) (mixed >>> 32 ^ mixed >>> 48) & mask;
        while (values[slot] != ABSENT && keys[slot] != key) {
            slot = slot + 1 & mask;
        }
        return slot;
    }

    private void allocate(int capacity) {
        keys = new long[capacity];
        values = new long[capacity];
        Arrays.fill(values, ABSENT);
    }

    private void grow() {
        long[] oldKeys = keys;
        long[] oldValues = values;
        allocate(Math.multiplyExact(oldKeys.length, 2));
        for (int i = 0; i < oldKeys.length; i++) {
            if (oldValues[i] != ABSENT) {
                int slot = slotOf(oldKeys[i]);
                keys[slot] = oldKeys[i];
                values[slot] = oldValues[i];
            }
        }
    }
}
