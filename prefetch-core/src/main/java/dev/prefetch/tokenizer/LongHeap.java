package dev.prefetch.tokenizer;

import java.util.Arrays;

/** A binary min-heap of longs. Appending everything and ordering once is cheaper than pushing one by one. */
final class LongHeap {

    private long[] items = new long[64];
    private int size;

    boolean isEmpty() {
        return size == 0;
    }

    void clear() {
        size = 0;
    }

    /** Adds an item without keeping the order; {@link #order()} must follow before the next {@link #pop()}. */
    void append(long item) {
        if (size == items.length) {
            items = Arrays.copyOf(items, Math.multiplyExact(size, 2));
        }
        items[size++] = item;
    }

    void order() {
        for (int i = (size >>> 1) - 1; i >= 0; i--) {
            siftDown(i, items[i]);
        }
    }

    void push(long item) {
        append(item);
        int i = size - 1;
        while (i > 0) {
            int parent = (i - 1) >>> 1;
            if (items[parent] <= item) {
                break;
            }
            items[i] = items[parent];
            i = parent;
        }
        items[i] = item;
    }

    /** Removes and returns the smallest item; the heap must not be empty. */
    long pop() {
        long top = items[0];
        long last = items[--size];
        if (size > 0) {
            siftDown(0, last);
        }
        return top;
    }

    private void siftDown(int hole, long item) {
        int i = hole;
        int half = size >>> 1;
        while (i < half) {
            int child = 2 * i + 1;
            if (child + 1 < size && items[child + 1] < items[child]) {
                child++;
            }
            if (item <= items[child]) {
                break;
            }
            items[i] = items[child];
            i = child;
        }
        items[i] = item;
    }
}
