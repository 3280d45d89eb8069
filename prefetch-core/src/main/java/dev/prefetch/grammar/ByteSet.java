package dev.prefetch.grammar;

/** A set of bytes, as four words of 64 bits. Immutable. */
record ByteSet(long a, long b, long c, long d) {

    static final ByteSet NONE = new ByteSet(0, 0, 0, 0);

    static ByteSet of(int value) {
        return range(value, value);
    }

    /** From one byte to another, both in it. */
    static ByteSet range(int from, int to) {
        long[] words = new long[4];
        for (int i = from; i <= to; i++) {
            words[i >> 6] |= 1L << i;
        }
        return new ByteSet(words[0], words[1], words[2], words[3]);
    }

    ByteSet or(ByteSet other) {
        return new ByteSet(a | other.a, b | other.b, c | other.c, d | other.d);
    }

    ByteSet minus(ByteSet other) {
        return new ByteSet(a & ~other.a, b & ~other.b, c & ~other.c, d & ~other.d);
    }

    boolean contains(int value) {
        long word = switch (value >> 6) {
            case 0 -> a;
            case 1 -> b;
            case 2 -> c;
            default -> d;
        };
        return (word >>> value & 1) != 0;
    }

    boolean isEmpty() {
        return (a | b | c | d) == 0;
    }
}
