package dev.prefetch.tokenizer;

import java.util.Arrays;

/** Finds the token with a given text. Looks at a range of characters directly, so that no substring is made. */
final class TextIndex {

    static final int ABSENT = -1;

    private final String[] texts;
    private final int[] slots;
    private int longest;

    /** An index over {@code texts}, still empty. */
    TextIndex(String[] texts) {
        this.texts = texts;
        this.slots = new int[Integer.highestOneBit(Math.max(8, texts.length)) * 4];
        Arrays.fill(slots, ABSENT);
    }

    /** Adds the text with that index; returns the index that already has the same text, or {@link #ABSENT}. */
    int add(int index) {
        String text = texts[index];
        char[] characters = text.toCharArray();
        int slot = slotOf(characters, 0, characters.length);
        if (slots[slot] != ABSENT) {
            return slots[slot];
        }
        slots[slot] = index;
        longest = Math.max(longest, characters.length);
        return ABSENT;
    }

    /** Length of the longest text in UTF-16 units. */
    int longest() {
        return longest;
    }

    int find(String text) {
        return find(text.toCharArray(), 0, text.length());
    }

    /** The index of the text {@code characters[from, to)}, or {@link #ABSENT}. Takes time bounded by the longest text. */
    int find(char[] characters, int from, int to) {
        return to - from > longest ? ABSENT : slots[slotOf(characters, from, to)];
    }

    private int slotOf(char[] characters, int from, int to) {
        int hash = 0;
        for (int i = from; i < to; i++) {
            hash = 31 * hash + characters[i];
        }
        hash *= 0x9E3779B9;
        int mask = slots.length - 1;
        int slot = (hash ^ hash >>> 16) & mask;
        while (slots[slot] != ABSENT && !matches(texts[slots[slot]], characters, from, to)) {
            slot = slot + 1 & mask;
        }
        return slot;
    }

    private static boolean matches(String text, char[] characters, int from, int to) {
        if (text.length() != to - from) {
            return false;
        }
        for (int i = from; i < to; i++) {
            if (text.charAt(i - from) != characters[i]) {
                return false;
            }
        }
        return true;
    }
}
