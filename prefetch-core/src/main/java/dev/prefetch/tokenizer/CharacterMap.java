package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.gguf.GgufMetadata;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;

/**
 * SentencePiece's normaliser ({@code tokenizer.ggml.precompiled_charsmap}): replaces the longest run of characters that
 * it knows, wherever one starts, and leaves all others alone.
 *
 * <p>The file stores the runs as an XOR-compressed compact double array: a length in bytes, that many bytes of 32-bit
 * units, and the replacements, each ended by a zero byte. The child of a node with base {@code b} for byte {@code c} is
 * the unit {@code b ^ c}, if it is labelled {@code c}. It is unpacked and checked here once, so that looking up needs no
 * checks.
 *
 * @see <a href="https://doi.org/10.1109/ACCESS.2018.2880003">Kanda, "Space- and time-efficient string dictionaries"
 *     (2018)</a>
 */
final class CharacterMap {

    static final String KEY = "tokenizer.ggml.precompiled_charsmap";

    /** Far above what maps of all of Unicode's normalisation forms need. */
    private static final int MAX_NODES = 1 << 21;

    private static final int MAX_RUN_BYTES = 128;
    private static final int LABEL_MASK = 1 << 31 | 0xFF;
    private static final int HAS_VALUE = 1 << 8;
    private static final int WIDE_BASE = 1 << 9;

    private final TokenTrie runs = new TokenTrie();
    private final List<String> replacements = new ArrayList<>();
    private final IntList lengths = new IntList(16);

    private CharacterMap() {}

    /**
     * The map of a file; one that replaces nothing where it has none.
     *
     * @throws GgufFormatException when it is malformed; names the key
     */
    static CharacterMap of(GgufMetadata metadata) {
        CharacterMap map = new CharacterMap();
        long[] numbers = metadata.integers(KEY).orElse(null);
        if (numbers != null && numbers.length > 0) {
            byte[] bytes = new byte[numbers.length];
            for (int i = 0; i < bytes.length; i++) {
                bytes[i] = (byte) numbers[i];
            }
            new Unpacker(metadata.source(), bytes, map).unpack();
        }
        return map;
    }

    private void add(String run, String replacement) {
        runs.add(run, replacements.size());
        replacements.add(replacement);
        lengths.add(run.length());
    }

    /** The text {@code text[from, to)} with every known run replaced; halves of surrogate pairs become U+FFFD. */
    String apply(String text, int from, int to) {
        StringBuilder result = new StringBuilder(to - from);
        int position = from;
        while (position < to) {
            int index = runs.longestMatch(text, position, to);
            if (index >= 0) {
                result.append(replacements.get(index));
                position += lengths.get(index);
                continue;
            }
            int c = text.codePointAt(position);
            int length = Math.min(Character.charCount(c), to - position);
            boolean half =
                    length < Character.charCount(c) || c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE;
            result.appendCodePoint(half ? 0xFFFD : c);
            position += length;
        }
        return result.toString();
    }

    /** Walks the double array of a file, trusting nothing in it. */
    private static final class Unpacker {

        private final String source;
        private final byte[] bytes;
        private final CharacterMap map;
        private final int[] units;
        private final int textsAt;

        Unpacker(String source, byte[] bytes, CharacterMap map) {
            this.source = source;
            this.bytes = bytes;
            this.map = map;
            ByteBuffer buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
            long arrayBytes = bytes.length < 4 ? -1 : Integer.toUnsignedLong(buffer.getInt());
            if (arrayBytes < 4 || arrayBytes % 4 != 0 || arrayBytes + 4 > bytes.length) {
                throw failure("has " + bytes.length + " bytes, which cannot hold an array of " + arrayBytes);
            }
            units = new int[(int) (arrayBytes / 4)];
            buffer.asIntBuffer().get(units);
            textsAt = (int) (arrayBytes + 4);
        }

        private GgufFormatException failure(String problem) {
            return new GgufFormatException(source + ": key '" + KEY + "' " + problem);
        }

        /** A node reached by a path of bytes; its children's units are around {@code base}. */
        private record Node(int base, byte[] path) {}

        void unpack() {
            int nodes = 0;
            Deque<Node> open = new ArrayDeque<>();
            open.push(new Node(base(units[0]), new byte[0]));
            while (!open.isEmpty()) {
                Node node = open.pop();
                for (int c = 1; c < 256; c++) {
                    int child = node.base() ^ c;
                    if (child < 0 || child >= units.length || (units[child] & LABEL_MASK) != c) {
                        continue;
                    }
                    // Nodes with equal trees below them may be one, so a node met twice is no mistake, but a loop is.
                    if (++nodes > MAX_NODES || node.path().length == MAX_RUN_BYTES) {
                        throw failure("has more than " + MAX_NODES + " nodes, or a run of more than " + MAX_RUN_BYTES
                                + " bytes");
                    }
                    byte[] path = Arrays.copyOf(node.path(), node.path().length + 1);
                    path[path.length - 1] = (byte) c;
                    int base = child ^ base(units[child]);
                    if ((units[child] & HAS_VALUE) != 0) {
                        addValue(base, path);
                    }
                    open.push(new Node(base, path));
                }
            }
        }

        private static int base(int unit) {
            return unit >>> 10 << ((unit & WIDE_BASE) >>> 6);
        }

        private void addValue(int unit, byte[] path) {
            if (unit < 0 || unit >= units.length) {
                throw failure("points to unit " + unit + " of " + units.length);
            }
            long start = textsAt + (long) (units[unit] & Integer.MAX_VALUE);
            int end = (int) Math.min(start, bytes.length);
            while (end < bytes.length && bytes[end] != 0) {
                end++;
            }
            if (end == bytes.length) {
                throw failure("has a replacement at byte " + start + " that runs past its end");
            }
            map.add(text(path), text(Arrays.copyOfRange(bytes, (int) start, end)));
        }

        private String text(byte[] utf8) {
            try {
                return StandardCharsets.UTF_8
                        .newDecoder()
                        .decode(ByteBuffer.wrap(utf8))
                        .toString();
            } catch (CharacterCodingException e) {
                throw failure("has a text that is not UTF-8: " + Arrays.toString(utf8));
            }
        }
    }
}
