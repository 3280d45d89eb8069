package dev.prefetch.api;

import dev.prefetch.grammar.Grammar;
import dev.prefetch.grammar.GrammarMask;
import dev.prefetch.grammar.TokenVocabulary;
import dev.prefetch.inference.TokenConstraint;
import dev.prefetch.tokenizer.Tokenizer;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Grammars on the vocabulary of an engine. Those used last are kept, so that what is worked out for one request serves the
 * next with the same grammar. Thread-safe; the constraints belong to the compute thread.
 */
final class GrammarConstraints {

    private static final int KEPT = 16;

    private final Tokenizer tokenizer;
    private final Map<Grammar, GrammarMask> masks = new LinkedHashMap<>(16, 0.75f, true) {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<Grammar, GrammarMask> eldest) {
            return size() > KEPT;
        }
    };
    private @Nullable TokenVocabulary vocabulary;

    GrammarConstraints(Tokenizer tokenizer) {
        this.tokenizer = tokenizer;
    }

    /** A constraint for one generation. */
    TokenConstraint of(Grammar grammar) {
        GrammarMask mask;
        synchronized (this) {
            if (vocabulary == null) {
                vocabulary = vocabulary(tokenizer);
            }
            TokenVocabulary known = vocabulary;
            mask = masks.computeIfAbsent(grammar, key -> new GrammarMask(key, known));
        }
        return new Constraint(mask);
    }

    private static TokenVocabulary vocabulary(Tokenizer tokenizer) {
        int size = tokenizer.vocabularySize();
        byte[][] tokens = new byte[size][];
        @Nullable String[] controlTexts = new @Nullable String[size];
        for (int token = 0; token < size; token++) {
            tokens[token] = tokenizer.tokenBytes(token);
            controlTexts[token] = tokenizer.isControl(token) ? tokenizer.tokenText(token) : null;
        }
        return new TokenVocabulary(tokens, controlTexts, tokenizer.endOfGenerationTokens());
    }

    /** Begins its text on the compute thread, where the mask belongs. */
    private static final class Constraint implements TokenConstraint {

        private final GrammarMask mask;
        private GrammarMask.@Nullable Text text;

        Constraint(GrammarMask mask) {
            this.mask = mask;
        }

        @Override
        public void mask(float[] logits) {
            begun().mask(logits);
        }

        @Override
        public void accept(int token) {
            begun().accept(token);
        }

        private GrammarMask.Text begun() {
            if (text == null) {
                text = mask.begin();
            }
            return text;
        }
    }
}
