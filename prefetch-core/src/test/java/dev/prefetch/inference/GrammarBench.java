package dev.prefetch.inference;

import dev.prefetch.grammar.Grammar;
import dev.prefetch.grammar.GrammarMask;
import dev.prefetch.grammar.TokenVocabulary;
import dev.prefetch.tokenizer.Tokenizer;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * What choosing among the tokens that a schema allows costs while a model generates: the time in the mask as a share of the
 * time from the first token to the end. The first text meets every place of the grammar for the first time, the others
 * find most of them worked out; the texts differ by their seed. Run {@code main} with a model and the tokens per text.
 */
final class GrammarBench {

    private static final String SCHEMA = """
            {"type": "object", "required": ["people"], "properties": {"people": {"type": "array", "minItems": 20, "items": {
             "type": "object", "required": ["name", "age", "bio", "tags"], "additionalProperties": false, "properties": {
              "name": {"type": "string", "maxLength": 40}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
              "bio": {"type": "string", "maxLength": 200}, "tags": {"type": "array", "items": {"enum": ["new", "old"]}}}}}}}""";

    private static final int TEXTS = 4;

    private GrammarBench() {}

    public static void main(String[] args) {
        int tokens = Integer.parseInt(args[1]);
        try (LoopFixture fixture = new LoopFixture(Path.of(args[0]))) {
            BatchLoop loop = fixture.loop(new BatchLimits(tokens + 8, 8, 1, fixture.kvBytes(tokens + 8, 8)));
            generate(fixture, loop, null, tokens, 0);
            report("no grammar", generate(fixture, loop, null, tokens, 1), null);
            GrammarMask mask = new GrammarMask(Grammar.jsonSchema(SCHEMA), vocabulary(fixture.tokenizer));
            for (int text = 1; text <= TEXTS; text++) {
                Timed constraint = new Timed(mask);
                report("text " + text, generate(fixture, loop, constraint, tokens, text), constraint);
            }
        }
    }

    private static SequenceListener.End generate(
            LoopFixture fixture, BatchLoop loop, @Nullable TokenConstraint constraint, int tokens, long seed) {
        LoopFixture.Running running = new LoopFixture.Running();
        SamplingOptions sampling = new SamplingOptions(1, 0, 1, 0, 1, 0, 0, 0, seed);
        loop.submit(new SequenceRequest(
                new int[] {1}, tokens, sampling, List.of(), constraint == null, constraint, 0, running));
        return running.end();
    }

    private static void report(String what, SequenceListener.End end, @Nullable Timed constraint) {
        int tokens = end.tokens().size() - 1;
        System.out.printf(Locale.ROOT, "%s: %d tokens, %.2f ms each", what, tokens, end.decodeNanos() / 1e6 / tokens);
        if (constraint != null) {
            System.out.printf(
                    Locale.ROOT,
                    ", of it %.3f ms for the mask: %.2f %%",
                    constraint.nanos / 1e6 / tokens,
                    100.0 * constraint.nanos / end.decodeNanos());
        }
        System.out.println();
    }

    static TokenVocabulary vocabulary(Tokenizer tokenizer) {
        int size = tokenizer.vocabularySize();
        byte[][] tokens = new byte[size][];
        @Nullable String[] control = new @Nullable String[size];
        for (int token = 0; token < size; token++) {
            tokens[token] = tokenizer.tokenBytes(token);
            control[token] = tokenizer.isControl(token) ? tokenizer.tokenText(token) : null;
        }
        return new TokenVocabulary(tokens, control, tokenizer.endOfGenerationTokens());
    }

    /** A constraint that measures itself, on the thread and with the caches it has in an engine. */
    private static final class Timed implements TokenConstraint {

        private final GrammarMask.Text text;
        private long nanos;

        Timed(GrammarMask mask) {
            text = mask.begin();
        }

        @Override
        public void mask(float[] logits) {
            long start = System.nanoTime();
            text.mask(logits);
            nanos += System.nanoTime() - start;
        }

        @Override
        public void accept(int token) {
            long start = System.nanoTime();
            text.accept(token);
            nanos += System.nanoTime() - start;
        }
    }
}
