package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.gguf.GgufMetadata;
import java.nio.charset.StandardCharsets;

/**
 * Byte-pair encoding whose symbols are characters, not bytes: the pre-tokenizers {@code gemma4}, {@code sarvam-moe} and
 * {@code whitespace} ({@code tokenizer.ggml.model = gpt2}, {@code gemma4} or {@code whitespace}). A character that is no
 * token becomes the tokens of its bytes, or else the unknown token.
 *
 * <p>The model {@code whitespace} drops white space and may put text into lower case: encoding is not reversible there.
 *
 * @see <a href="https://aclanthology.org/P16-1162">Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with
 *     Subword Units" (2016)</a>
 */
final class CharacterPairTokenizer extends VocabularyTokenizer {

    private static final char SPACE = '▁';

    private final PreTokenizer preTokenizer;
    private final boolean marksSpaces;
    private final boolean dropsWhiteSpace;
    private final boolean lowerCase;

    /** By byte: its token, or -1. */
    private final int[] byteTokens;

    private final PairMap merges;

    /** @throws GgufFormatException when the vocabulary is broken */
    CharacterPairTokenizer(GgufMetadata metadata, PreTokenizer preTokenizer, boolean dropsWhiteSpace) {
        super(new Vocabulary(metadata, Vocabulary.Defaults.NONE));
        this.preTokenizer = preTokenizer;
        this.marksSpaces = preTokenizer.symbols() == PreTokenizer.Symbols.CHARACTERS_WITH_MARKED_SPACES;
        this.dropsWhiteSpace = dropsWhiteSpace;
        this.lowerCase = dropsWhiteSpace && metadata.boolOr("tokenizer.ggml.normalizer.lowercase", false);
        this.byteTokens = ByteTokens.of(vocabulary());
        this.merges = Merges.read(metadata, vocabulary());
    }

    /** Gemma 4 was trained with a begin token, but its files say that none is wanted. */
    @Override
    public boolean addsBeginToken() {
        return super.addsBeginToken() || preTokenizer.addsBegin() && beginToken() >= 0;
    }

    @Override
    boolean addsSpacePrefix() {
        return false;
    }

    @Override
    byte[] bytes(int token) {
        String text = vocabulary().text(token);
        return switch (vocabulary().type(token)) {
            case BYTE -> new byte[] {(byte) ByteTokens.byteOf(text)};
            case NORMAL, UNDEFINED, UNUSED ->
                (marksSpaces ? text.replace(SPACE, ' ') : text).getBytes(StandardCharsets.UTF_8);
            case CONTROL, UNKNOWN, USER_DEFINED -> text.getBytes(StandardCharsets.UTF_8);
        };
    }

    @Override
    FragmentEncoder newFragmentEncoder() {
        return new Encoder();
    }

    private final class Encoder extends PairMerger implements FragmentEncoder {

        private final char[] word = new char[vocabulary().index().longest() + 2];

        @Override
        public void encode(String text, int from, int to, boolean afterSpecial, IntList out) {
            int[] codePoints = Utf8.codePoints(text, from, to);
            for (int i = 0; i < codePoints.length; i++) {
                if (marksSpaces && codePoints[i] == ' ') {
                    codePoints[i] = SPACE;
                } else if (lowerCase) {
                    codePoints[i] = Character.toLowerCase(codePoints[i]);
                }
            }
            IntList ends = preTokenizer.split(codePoints);
            int start = 0;
            for (int i = 0; i < ends.size(); i++) {
                // White space and other characters never share a piece of the pre-tokenizer 'whitespace'.
                if (!dropsWhiteSpace || !CharacterClass.isWhiteSpace(codePoints[start])) {
                    encodePiece(codePoints, start, ends.get(i), out);
                }
                start = ends.get(i);
            }
        }

        private void encodePiece(int[] codePoints, int from, int to, IntList out) {
            if (preTokenizer.wholeLineBreaksFirst() && codePoints[from] == '\n') {
                int whole = find(codePoints, from, to);
                if (whole >= 0) {
                    out.add(whole);
                    return;
                }
            }
            int count = to - from;
            reserve(count);
            for (int i = 0; i < count; i++) {
                set(i, find(codePoints, from + i, from + i + 1));
            }
            run(count);
            for (int i = 0; i < count; i = next(i)) {
                if (symbol(i) >= 0) {
                    out.add(symbol(i));
                } else {
                    addBytes(codePoints[from + i], out);
                }
            }
        }

        private int find(int[] codePoints, int from, int to) {
            int length = 0;
            for (int i = from; i < to; i++) {
                if (length + 2 > word.length) {
                    return -1;
                }
                length += Character.toChars(codePoints[i], word, length);
            }
            int token = vocabulary().index().find(word, 0, length);
            if (token < 0) {
                return -1;
            }
            TokenType type = vocabulary().type(token);
            return type.isHidden() || type == TokenType.BYTE ? -1 : token;
        }

        private void addBytes(int codePoint, IntList out) {
            int before = out.size();
            Utf8.forEachByte(codePoint, b -> {
                if (byteTokens[b] >= 0) {
                    out.add(byteTokens[b]);
                }
            });
            if (out.size() == before && vocabulary().unknown() >= 0) {
                out.add(vocabulary().unknown());
            }
        }

        @Override
        protected long merge(int left, int right, int end) {
            long merge = merges.get(symbol(left), symbol(right));
            return merge == PairMap.ABSENT ? NONE : merge;
        }
    }
}
