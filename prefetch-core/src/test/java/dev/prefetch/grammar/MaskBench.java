package dev.prefetch.grammar;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.tokenizer.Tokenizer;
import dev.prefetch.tokenizer.Tokenizers;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;

/**
 * What a grammar costs per token, on the vocabulary of a GGUF file: for the first text that follows it, and for later ones,
 * which find the states worked out. A program, not a test: {@code MaskBench vocabulary.gguf}.
 */
final class MaskBench {

    private static final String SCHEMA = """
            {"type": "object", "required": ["people"], "properties": {"people": {"type": "array", "items": {
             "type": "object", "required": ["name", "age", "bio"], "additionalProperties": false, "properties": {
              "name": {"type": "string", "maxLength": 40}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
              "bio": {"type": "string"}, "tags": {"type": "array", "items": {"enum": ["new", "old"]}}}}}}}""";

    private MaskBench() {}

    public static void main(String[] args) {
        Tokenizer tokenizer;
        try (GgufFile file = GgufFile.open(Path.of(args[0]))) {
            tokenizer = Tokenizers.from(file.metadata());
        }
        int size = tokenizer.vocabularySize();
        byte[][] tokens = new byte[size][];
        String[] control = new String[size];
        for (int token = 0; token < size; token++) {
            tokens[token] = tokenizer.tokenBytes(token);
            control[token] = tokenizer.isControl(token) ? tokenizer.tokenText(token) : null;
        }
        long start = System.nanoTime();
        TokenVocabulary vocabulary = new TokenVocabulary(tokens, control, tokenizer.endOfGenerationTokens());
        report("tree of %d tokens".formatted(size), System.nanoTime() - start, 1);
        int[] text = tokenizer.encode(document());
        GrammarMask warmUp = new GrammarMask(Grammar.jsonSchema(SCHEMA), vocabulary);
        for (int i = 0; i < 20; i++) {
            run(warmUp, text, size);
        }
        start = System.nanoTime();
        GrammarMask mask = new GrammarMask(Grammar.jsonSchema(SCHEMA), vocabulary);
        report("schema to grammar", System.nanoTime() - start, 1);
        report("first text, per token", run(mask, text, size), text.length);
        report("second text, per token", run(mask, text, size), text.length);
    }

    private static String document() {
        StringBuilder people = new StringBuilder("{\"people\": [");
        for (int i = 0; i < 8; i++) {
            people.append(i == 0 ? "" : ", ")
                    .append("{\"name\": \"Ada Lovelace the ")
                    .append(i)
                    .append("th\", \"age\": ")
                    .append(30 + i)
                    .append(
                            ", \"bio\": \"Wrote the first program, for a machine that was never built; naïve readers and"
                                    + " 日本 disagree.\", \"tags\": [\"old\", \"new\"]}");
        }
        return people.append("]}").toString();
    }

    private static long run(GrammarMask mask, int[] text, int size) {
        GrammarMask.Text read = mask.begin();
        float[] logits = new float[size];
        long nanos = 0;
        for (int token : text) {
            Arrays.fill(logits, 1);
            long start = System.nanoTime();
            read.mask(logits);
            read.accept(token);
            nanos += System.nanoTime() - start;
            if (logits[token] != 1) {
                throw new IllegalStateException("token " + token + " should be allowed");
            }
        }
        return nanos;
    }

    private static void report(String what, long nanos, int count) {
        System.out.printf(Locale.ROOT, "%-28s %10.1f us%n", what, nanos / 1e3 / count);
    }
}
