package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.gguf.GgufMetadata;
import java.nio.charset.StandardCharsets;

/**
 * SentencePiece's byte-pair encoding ({@code tokenizer.ggml.model = llama}): neighbouring pieces whose joined text is a
 * token are merged, best score first; what is left outside the vocabulary becomes bytes. Spaces are written U+2581.
 *
 * <p>Control, unknown and byte tokens are never the result of a merge, so that text which spells one stays text.
 *
 * @see <a href="https://github.com/google/sentencepiece">SentencePiece (Kudo, Richardson 2018)</a>
 */
final class SentencePieceTokenizer extends VocabularyTokenizer {

    private static final char SPACE = '▁';
    private static final Vocabulary.Defaults DEFAULTS = new Vocabulary.Defaults(1, 2, 0, true);

    private final boolean addsSpacePrefix;

    /** By token: its place in the order of merging, best score lowest. */
    private final int[] priorities;

    /** By byte: its token, else the unknown token, else -1. */
    private final int[] byteTokens;

    /** @throws GgufFormatException when the vocabulary is broken */
    SentencePieceTokenizer(GgufMetadata metadata) {
        this(metadata, new Vocabulary(metadata, DEFAULTS));
    }

    private SentencePieceTokenizer(GgufMetadata metadata, Vocabulary vocabulary) {
        super(vocabulary);
        this.byteTokens = ByteTokens.of(vocabulary);
        for (int b = 0; b < byteTokens.length; b++) {
            if (byteTokens[b] < 0) {
                byteTokens[b] = vocabulary.unknown();
            }
        }
        this.addsSpacePrefix = metadata.boolOr("tokenizer.ggml.add_space_prefix", true);
        float[] scores = vocabulary.scores();
        this.priorities = new int[scores.length];
        for (int i = 0; i < scores.length; i++) {
            priorities[i] = priority(scores[i]);
        }
    }

    /** A number that is smaller for a larger score. */
    private static int priority(float score) {
        int bits = Float.floatToIntBits(score + 0.0f); // one zero: -0 and 0 are equal scores
        return ~(bits ^ (bits >> 31) & Integer.MAX_VALUE);
    }

    @Override
    boolean addsSpacePrefix() {
        return addsSpacePrefix;
    }

    @Override
    byte[] bytes(int token) {
        String text = vocabulary().text(token);
        return switch (vocabulary().type(token)) {
            case BYTE -> new byte[] {(byte) ByteTokens.byteOf(text)};
            case NORMAL, UNDEFINED, UNUSED -> text.replace(SPACE, ' ').getBytes(StandardCharsets.UTF_8);
            case CONTROL, UNKNOWN, USER_DEFINED -> text.getBytes(StandardCharsets.UTF_8);
        };
    }

    @Override
    FragmentEncoder newFragmentEncoder() {
        return new Encoder();
    }

    private final class Encoder extends PairMerger implements FragmentEncoder {

        private char[] characters = {};

        /** By position: where its character starts; one more for the end. */
        private int[] offsets = {};

        @Override
        public void encode(String text, int from, int to, boolean afterSpecial, IntList out) {
            int prefix = afterSpecial && addsSpacePrefix ? 1 : 0;
            int length = prefix + to - from;
            if (characters.length < length) {
                characters = new char[length];
                offsets = new int[length + 1];
            }
            characters[0] = SPACE;
            text.getChars(from, to, characters, prefix);
            reserve(length);
            int count = 0;
            for (int i = 0; i < length; count++) {
                if (characters[i] == ' ') {
                    characters[i] = SPACE;
                }
                offsets[count] = i;
                i += Character.charCount(Character.codePointAt(characters, i, length));
                set(count, find(offsets[count], i));
            }
            offsets[count] = length;
            run(count);
            for (int i = 0; i < count; i = next(i)) {
                if (symbol(i) >= 0) {
                    out.add(symbol(i));
                } else {
                    addBytes(Character.codePointAt(characters, offsets[i], length), out);
                }
            }
        }

        @Override
        protected long merge(int left, int right, int end) {
            int token = find(offsets[left], offsets[end]);
            return token < 0 ? NONE : (long) priorities[token] << 32 | token;
        }

        private int find(int from, int to) {
            int token = vocabulary().index().find(characters, from, to);
            if (token < 0) {
                return -1;
            }
            TokenType type = vocabulary().type(token);
            return type.isHidden() || type == TokenType.BYTE ? -1 : token;
        }

        private void addBytes(int character, IntList out) {
            Utf8.forEachByte(character, b -> {
                if (byteTokens[b] >= 0) {
                    out.add(byteTokens[b]);
                }
            });
        }
    }
}
