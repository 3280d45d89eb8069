package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.gguf.GgufMetadata;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Byte-level byte-pair encoding ({@code tokenizer.ggml.model = gpt2}): the pieces a pre-tokenizer cuts are merged from
 * their bytes, in the order of the vocabulary's list of merges.
 *
 * @see <a href="https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf">
 *     Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), 2.2</a>
 */
final class BytePairTokenizer extends VocabularyTokenizer {

    private static final Logger LOG = LoggerFactory.getLogger(BytePairTokenizer.class);
    private static final String MERGES_KEY = "tokenizer.ggml.merges";
    private static final String PRE_KEY = "tokenizer.ggml.pre";

    private final PreTokenizer preTokenizer;

    /** By byte: its token, or -1. */
    private final int[] byteTokens = new int[256];

    /** By pair of tokens: {@code rank << 32 | merged token}. */
    private final PairMap merges;

    /**
     * @throws GgufFormatException when the vocabulary is broken
     * @throws UnsupportedTokenizerException when the pre-tokenizer is not known
     */
    BytePairTokenizer(GgufMetadata metadata) {
        PreTokenizer preTokenizer = preTokenizer(metadata);
        super(new Vocabulary(metadata, new Vocabulary.Defaults(-1, -1, -1, preTokenizer.addsBegin())));
        this.preTokenizer = preTokenizer;
        for (int b = 0; b < byteTokens.length; b++) {
            int token = vocabulary().find(String.valueOf(ByteCharacters.characterOf(b)));
            byteTokens[b] = token >= 0 && !vocabulary().type(token).isHidden()
                    ? token
                    : vocabulary().unknown();
        }
        this.merges = readMerges(metadata);
    }

    private static PreTokenizer preTokenizer(GgufMetadata metadata) {
        String name = metadata.stringOr(PRE_KEY, "");
        if (name.isEmpty()) {
            LOG.warn(
                    "{}: key '{}' is missing, so the pre-tokenizer '{}' is used and the model may do worse than it"
                            + " could; convert the model again with a current converter",
                    metadata.source(),
                    PRE_KEY,
                    PreTokenizers.DEFAULT);
            name = PreTokenizers.DEFAULT;
        }
        String wanted = name;
        return PreTokenizers.named(wanted)
                .orElseThrow(() -> new UnsupportedTokenizerException(
                        metadata.source() + ": the pre-tokenizer '" + wanted + "' (key '" + PRE_KEY
                                + "') is not supported; supported are " + PreTokenizers.names()));
    }

    private PairMap readMerges(GgufMetadata metadata) {
        List<String> lines = metadata.requireStrings(MERGES_KEY);
        PairMap result = new PairMap(lines.size());
        int ignored = 0;
        for (int rank = 0; rank < lines.size(); rank++) {
            String line = lines.get(rank);
            int space = line.indexOf(' ', 1);
            if (space < 0 || space == line.length() - 1) {
                throw vocabulary()
                        .failure(
                                MERGES_KEY, "has '" + line + "' at index " + rank + ", expected two texts and a space");
            }
            String left = line.substring(0, space);
            String right = line.substring(space + 1);
            int leftToken = vocabulary().find(left);
            int rightToken = vocabulary().find(right);
            int merged = vocabulary().find(left + right);
            if (leftToken < 0
                    || rightToken < 0
                    || merged < 0
                    || vocabulary().type(merged).isHidden()) {
                // Nothing the model knows could come of it. A control token is never made out of text.
                ignored++;
            } else {
                result.putIfAbsent(leftToken, rightToken, (long) rank << 32 | merged);
            }
        }
        if (ignored > 0) {
            LOG.warn(
                    "{}: {} of {} merges name tokens the vocabulary has not, and are ignored",
                    metadata.source(),
                    ignored,
                    lines.size());
        }
        return result;
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
