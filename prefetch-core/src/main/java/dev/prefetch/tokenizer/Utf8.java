package dev.prefetch.tokenizer;

import java.util.function.IntConsumer;

/** UTF-8 of single code points; half of a surrogate pair, which has none, is written as U+FFFD. */
final class Utf8 {

    private static final int REPLACEMENT = 0xFFFD;

    private Utf8() {}

    /** Code points of {@code text[from, to)}, with U+FFFD for halves of surrogate pairs. */
    static int[] codePoints(String text, int from, int to) {
        int[] result = new int[text.codePointCount(from, to)];
        int count = 0;
        for (int i = from; i < to; count++) {
            int c = text.codePointAt(i);
            // A pair that the range cuts is two halves.
            int length = Math.min(Character.charCount(c), to - i);
            result[count] = length < Character.charCount(c) || isSurrogate(c) ? REPLACEMENT : c;
            i += length;
        }
        return result;
    }

    /** Hands the bytes (0 to 255) of a code point to {@code sink}. */
    static void forEachByte(int codePoint, IntConsumer sink) {
        int c = isSurrogate(codePoint) ? REPLACEMENT : codePoint;
        if (c < 0x80) {
            sink.accept(c);
        } else if (c < 0x800) {
            sink.accept(0xC0 | c >> 6);
            sink.accept(0x80 | c & 0x3F);
        } else if (c < 0x10000) {
            sink.accept(0xE0 | c >> 12);
            sink.accept(0x80 | c >> 6 & 0x3F);
            sink.accept(0x80 | c & 0x3F);
        } else {
            sink.accept(0xF0 | c >> 18);
            sink.accept(0x80 | c >> 12 & 0x3F);
            sink.accept(0x80 | c >> 6 & 0x3F);
            sink.accept(0x80 | c & 0x3F);
        }
    }

    private static boolean isSurrogate(int codePoint) {
        return codePoint >= Character.MIN_SURROGATE && codePoint <= Character.MAX_SURROGATE;
    }
}
