package dev.prefetch.grammar;

import java.util.ArrayDeque;
import java.util.Deque;

/**
 * A grammar on a vocabulary: says which tokens may come next. What it works out is remembered and shared by all texts it
 * {@link #begin() begins}. Belongs to one thread at a time, with all its texts.
 */
public final class GrammarMask {

    /** Masks that are remembered, 19 KiB each for 150,000 tokens. */
    private static final int MAX_MASKS = 1024;

    private final TokenVocabulary vocabulary;
    private final Network network;
    private final Automaton automaton;
    private final Deque<Automaton.State> remembered = new ArrayDeque<>();

    public GrammarMask(Grammar grammar, TokenVocabulary vocabulary) {
        this.vocabulary = vocabulary;
        this.network = new Network(grammar.root());
        this.automaton = new Automaton(network);
    }

    /** A new text. */
    public Text begin() {
        return new Text();
    }

    private long[] mask(Automaton.State state) {
        long[] mask = state.mask();
        if (mask == null) {
            mask = vocabulary.allowed(state, network.markers());
            state.remember(mask);
            remembered.add(state);
            if (remembered.size() > MAX_MASKS) {
                remembered.remove().remember(null);
            }
        }
        return mask;
    }

    /** A text that grows token by token. */
    public final class Text {

        private Automaton.State state = automaton.start();

        private Text() {}

        /**
         * Takes out what must not come next.
         *
         * @param logits one per token of the vocabulary, or more; set to negative infinity where the token is not allowed
         * @throws IllegalStateException when no token may come, because the vocabulary cannot spell the grammar's texts
         */
        public void mask(float[] logits) {
            long[] mask = GrammarMask.this.mask(state);
            long any = 0;
            for (int word = 0; word < mask.length; word++) {
                long bits = mask[word];
                any |= bits;
                if (bits == -1) {
                    continue;
                }
                int from = word << 6;
                int to = Math.min(from + 64, vocabulary.size());
                for (int token = from; token < to; token++) {
                    if ((bits >>> token & 1) == 0) {
                        logits[token] = Float.NEGATIVE_INFINITY;
                    }
                }
            }
            if (any == 0) {
                throw new IllegalStateException(
                        "the grammar allows no further token: the vocabulary cannot spell what has to follow");
            }
        }

        /**
         * Takes the next token of the text.
         *
         * @throws IllegalArgumentException when it is not allowed here
         */
        public void accept(int token) {
            if (vocabulary.isEnd(token) && state.accepts()) {
                return;
            }
            Automaton.State after = state;
            int marker = vocabulary.marker(token, network.markers());
            if (marker >= 0) {
                after = after.next(Network.FIRST_MARKER + marker);
            } else {
                for (byte b : vocabulary.bytes(token)) {
                    after = after.next(b & 0xff);
                }
            }
            if (after.isDead()) {
                throw new IllegalArgumentException("token " + token + " does not follow the grammar");
            }
            state = after;
        }

        /** Whether the text may end here. */
        public boolean mayEnd() {
            return state.accepts();
        }
    }
}
