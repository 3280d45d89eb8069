package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.gguf.GgufMetadata;
import java.nio.charset.StandardCharsets;

/**
 * Byte-level byte-pair encoding ({@code tokenizer.ggml.model = gpt2}): the pieces a pre-tokenizer cuts are merged from
 * their bytes, in the order of the vocabulary's list of merges.
 *
 * @see <a href="https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf">
 *     Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), 2.2</a>
 */
final class BytePairTokenizer extends VocabularyTokenizer {

    private final PreTokenizer preTokenizer;

    /** By byte: its token, or -1. */
    private final int[] byteTokens = new int[256];

    /** By pair of tokens: {@code rank << 32 | merged token}. */
    private final PairMap merges;

    /** @throws GgufFormatException when the vocabulary is broken */
    BytePairTokenizer(GgufMetadata metadata, PreTokenizer preTokenizer) {
        super(new Vocabulary(metadata, new Vocabulary.Defaults(-1, -1, -1, preTokenizer.addsBegin())));
        this.preTokenizer = preTokenizer;
        for (int b = 0; b < byteTokens.length; b++) {
            int token = vocabulary().find(String.valueOf(ByteCharacters.characterOf(b)));
            byteTokens[b] = token >= 0 && !vocabulary().type(token).isHidden()
                    ? token
                    : vocabulary().unknown();
        }
        this.merges = Merges.read(metadata, vocabulary());
    }

    @Override
    boolean addsSpacePrefix() {
        return false;
    }

    @Override
    byte[] bytes(int token) {
        String text = vocabulary().text(token);
        return switch (vocabulary().type(token)) {
            case NORMAL, UNDEFINED, UNUSED, BYTE -> ByteCharacters.bytesOf(text);
            case CONTROL, UNKNOWN, USER_DEFINED -> text.getBytes(StandardCharsets.UTF_8);
        };
    }

    @Override
    FragmentEncoder newFragmentEncoder() {
        return new Encoder();
    }

    private final class Encoder extends PairMerger implements FragmentEncoder {

        private final char[] word =
                new char[preTokenizer.wholeWordsFirst() ? vocabulary().index().longest() : 0];
        private final IntList bytes = new IntList(64);

        @Override
        public void encode(String text, int from, int to, boolean afterSpecial, IntList out) {
            int[] codePoints = Utf8.codePoints(text, from, to);
            IntList ends = preTokenizer.split(codePoints);
            int start = 0;
            for (int i = 0; i < ends.size(); i++) {
                bytes.clear();
                for (int j = start; j < ends.get(i); j++) {
                    Utf8.forEachByte(codePoints[j], bytes::add);
                }
                start = ends.get(i);
                encodePiece(out);
            }
        }

        private void encodePiece(IntList out) {
            int count = bytes.size();
            int whole = wholeWord(count);
            if (whole >= 0) {
                out.add(whole);
                return;
            }
            reserve(count);
            for (int i = 0; i < count; i++) {
                set(i, byteTokens[bytes.get(i)]);
            }
            run(count);
            for (int i = 0; i < count; i = next(i)) {
                if (symbol(i) >= 0) {
                    out.add(symbol(i));
                }
            }
        }

        private int wholeWord(int count) {
            if (count > word.length) {
                return -1;
            }
            for (int i = 0; i < count; i++) {
                word[i] = ByteCharacters.characterOf(bytes.get(i));
            }
            int token = vocabulary().index().find(word, 0, count);
            return token >= 0 && !vocabulary().type(token).isHidden() ? token : -1;
        }

        @Override
        protected long merge(int left, int right, int end) {
            long merge = merges.get(symbol(left), symbol(right));
            return merge == PairMap.ABSENT ? NONE : merge;
        }
    }
}
