package dev.prefetch.tokenizer;

import java.util.Arrays;

/** A growing list of ints, without boxing. */
final class IntList {

    private int[] values;
    private int size;

    IntList(int capacity) {
        values = new int[Math.max(capacity, 16)];
    }

    void add(int value) {
        if (size == values.length) {
            values = Arrays.copyOf(values, Math.multiplyExact(size, 2));
        }
        values[size++] = value;
    }

    int get(int index) {
        return values[index];
    }

    int size() {
        return size;
    }

    void clear() {
        size = 0;
    }

    /** Drops everything behind the first {@code newSize} values. */
    void truncate(int newSize) {
        size = Math.min(size, newSize);
    }

    /** Turns the order of the values from {@code from} on around. */
    void reverse(int from) {
        for (int i = from, j = size - 1; i < j; i++, j--) {
            int value = values[i];
            values[i] = values[j];
            values[j] = value;
        }
    }

    int[] toArray() {
        return Arrays.copyOf(values, size);
    }
}
