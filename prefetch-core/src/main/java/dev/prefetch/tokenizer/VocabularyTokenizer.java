package dev.prefetch.tokenizer;

import java.util.List;
import java.util.Set;

/** What all tokenizers share: the vocabulary's roles, the special tokens, and decoding by way of bytes. */
abstract class VocabularyTokenizer implements Tokenizer {

    private final Vocabulary vocabulary;
    private final SpecialTokens specialTokens;

    VocabularyTokenizer(Vocabulary vocabulary) {
        this.vocabulary = vocabulary;
        this.specialTokens = new SpecialTokens(vocabulary);
    }

    /** Encodes the parts of one text in order. Holds the work space, hence one per call. */
    interface FragmentEncoder {

        /** Appends the tokens of {@code text[from, to)}, which holds no special tokens. */
        void encode(String text, int from, int to, boolean afterSpecial, IntList out);
    }

    abstract FragmentEncoder newFragmentEncoder();

    /** The bytes a token stands for, of whatever type it is. */
    abstract byte[] bytes(int token);

    /** Whether encoding puts a space in front of text that begins or follows a special token. */
    abstract boolean addsSpacePrefix();

    final Vocabulary vocabulary() {
        return vocabulary;
    }

    @Override
    public final int vocabularySize() {
        return vocabulary.size();
    }

    @Override
    public final int beginToken() {
        return vocabulary.begin();
    }

    @Override
    public final int endToken() {
        return vocabulary.end();
    }

    @Override
    public boolean addsBeginToken() {
        return vocabulary.addsBegin();
    }

    @Override
    public final Set<Integer> endOfGenerationTokens() {
        return vocabulary.endOfGeneration();
    }

    @Override
    public final String tokenText(int token) {
        return vocabulary.text(token);
    }

    @Override
    public final byte[] tokenBytes(int token) {
        return bytes(token);
    }

    @Override
    public final boolean isControl(int token) {
        return vocabulary.type(token).isHidden();
    }

    @Override
    public final int[] encode(List<TextSpan> spans) {
        IntList out = new IntList(64);
        FragmentEncoder encoder = newFragmentEncoder();
        specialTokens.partition(spans, new SpecialTokens.Sink() {
            private boolean afterSpecial = true;

            @Override
            public void text(String text, int from, int to) {
                encoder.encode(text, from, to, afterSpecial, out);
                afterSpecial = false;
            }

            @Override
            public void special(int token) {
                out.add(token);
                afterSpecial = true;
            }
        });
        return out.toArray();
    }

    @Override
    public final String decode(int[] tokens, boolean withControlTokens) {
        StreamingDecoder decoder = new StreamingDecoder(this, withControlTokens);
        for (int token : tokens) {
            decoder.append(token);
        }
        return decoder.flush();
    }

    @Override
    public final TokenDecoder newDecoder(boolean withControlTokens) {
        return new StreamingDecoder(this, withControlTokens);
    }
}
