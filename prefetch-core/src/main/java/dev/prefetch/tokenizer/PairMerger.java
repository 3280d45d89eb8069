package dev.prefetch.tokenizer;

import java.util.Arrays;

/**
 * Replaces neighbouring symbols by their merged symbol, best pair first and the leftmost of equals first, until no pair
 * can be merged.
 *
 * <p>How it works: the symbols form a linked list over their first positions; {@code pair[i]} always holds the merge of
 * the symbol at {@code i} with its right neighbour. Every such merge is queued as {@code priority << 32 | i}. A merge
 * changes at most two pairs, so {@code n} symbols cost at most {@code 3n} queue entries: {@code O(n log n)} altogether. An
 * entry is stale when {@code pair[i]} no longer has its priority; it is skipped.
 *
 * <p>Source: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016). Not
 * thread-safe; meant to be used for one text after another.
 */
abstract class PairMerger {

    /** No merge exists. */
    static final long NONE = Long.MIN_VALUE;

    private int[] symbols = new int[64];
    private int[] previous = new int[64];
    private int[] next = new int[64];
    private long[] pair = new long[64];
    private final LongHeap queue = new LongHeap();
    private int count;

    /**
     * The merge of two neighbours: {@code priority << 32 | symbol}, smaller priorities first (signed, and not
     * {@link Integer#MIN_VALUE}), or {@link #NONE}.
     *
     * @param left first position of the left symbol; {@link #symbol(int)} tells what stands there
     * @param right first position of the right symbol
     * @param end position after the right symbol
     */
    protected abstract long merge(int left, int right, int end);

    /** Makes room for a new sequence of at most {@code size} symbols, to be filled with {@link #set}. */
    final void reserve(int size) {
        if (size > symbols.length) {
            int capacity = (int) Math.min(Integer.MAX_VALUE - 8L, size * 2L);
            symbols = new int[capacity];
            previous = new int[capacity];
            next = new int[capacity];
            pair = new long[capacity];
        }
    }

    final void set(int position, int symbol) {
        symbols[position] = symbol;
    }

    /** The symbol that starts at a position. */
    final int symbol(int position) {
        return symbols[position];
    }

    /** Position after the symbol that starts at {@code position}; the number of positions after the last one. */
    final int next(int position) {
        return next[position];
    }

    /**
     * Merges the first {@code size} symbols as long as possible. Afterwards they are walked from position 0 by
     * {@link #next(int)}.
     */
    final void run(int size) {
        count = size;
        Arrays.fill(pair, 0, count, NONE);
        queue.clear();
        for (int i = 0; i < count; i++) {
            previous[i] = i - 1;
            next[i] = i + 1;
            if (i + 1 < count) {
                pair[i] = merge(i, i + 1, i + 2);
                if (pair[i] != NONE) {
                    queue.append(entry(i));
                }
            }
        }
        queue.order();
        while (!queue.isEmpty()) {
            long entry = queue.pop();
            int left = (int) entry;
            if (pair[left] == NONE || entry(left) != entry) {
                continue;
            }
            int right = next[left];
            int end = next[right];
            symbols[left] = (int) pair[left];
            pair[right] = NONE;
            next[left] = end;
            if (end < count) {
                previous[end] = left;
            }
            update(left);
            if (previous[left] >= 0) {
                update(previous[left]);
            }
        }
    }

    private void update(int left) {
        int right = next[left];
        pair[left] = right < count ? merge(left, right, next[right]) : NONE;
        if (pair[left] != NONE) {
            queue.push(entry(left));
        }
    }

    private long entry(int left) {
        return pair[left] & 0xFFFFFFFF00000000L | left;
    }
}
