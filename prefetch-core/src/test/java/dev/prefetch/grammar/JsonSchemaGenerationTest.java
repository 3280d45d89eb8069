package dev.prefetch.grammar;

import static org.assertj.core.api.Assertions.assertThat;

import com.networknt.schema.InputFormat;
import com.networknt.schema.Schema;
import com.networknt.schema.SchemaRegistry;
import com.networknt.schema.SpecificationVersion;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.testing.DemoModel;
import dev.prefetch.tokenizer.Tokenizer;
import dev.prefetch.tokenizer.Tokenizers;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.json.JsonMapper;

/**
 * Text made by chance alone, except that the grammar says which tokens may come: an independent validator has to find it
 * valid, whatever the schema. The seed is the test's argument.
 */
class JsonSchemaGenerationTest {

    private static final int SCHEMAS = 200;

    /** From here on chance favours what ends strings, arrays and objects: it would go on for very long otherwise. */
    private static final int TOKENS_BEFORE_CLOSING = 60;

    private static final int MAX_TOKENS = 3000;

    private static Tokenizer tokenizer;
    private static TokenVocabulary vocabulary;
    private static float[] closing;

    @BeforeAll
    static void readVocabulary() {
        try (GgufFile file = GgufFile.open(DemoModel.file())) {
            tokenizer = Tokenizers.from(file.metadata());
        }
        int size = tokenizer.vocabularySize();
        byte[][] tokens = new byte[size][];
        String[] control = new String[size];
        closing = new float[size];
        for (int token = 0; token < size; token++) {
            tokens[token] = tokenizer.tokenBytes(token);
            control[token] = tokenizer.isControl(token) ? tokenizer.tokenText(token) : null;
            String text = new String(tokens[token], StandardCharsets.UTF_8);
            closing[token] = text.matches("[\"}\\]]")
                            || tokenizer.endOfGenerationTokens().contains(token)
                    ? 20
                    : text.matches("null|[0-9]") ? 10 : 0;
        }
        vocabulary = new TokenVocabulary(tokens, control, tokenizer.endOfGenerationTokens());
    }

    private static Stream<Integer> seeds() {
        return IntStream.range(0, SCHEMAS).boxed();
    }

    @ParameterizedTest
    @MethodSource("seeds")
    void everyTextIsValid(int seed) {
        java.util.SplittableRandom random = new java.util.SplittableRandom(seed);
        String schema = JsonMapper.shared().writeValueAsString(new SchemaGenerator(random).generate());

        String text = generate(schema, random);

        Schema validator = SchemaRegistry.withDefaultDialect(SpecificationVersion.DRAFT_2020_12)
                .getSchema(schema);
        assertThat(validator.validate(
                        text,
                        InputFormat.JSON,
                        context -> context.executionConfig(config -> config.formatAssertionsEnabled(true))))
                .as("%s of %s", text, schema)
                .isEmpty();
    }

    private static String generate(String schema, java.util.SplittableRandom random) {
        GrammarMask.Text text = new GrammarMask(Grammar.jsonSchema(schema), vocabulary).begin();
        ByteArrayOutputStream written = new ByteArrayOutputStream();
        for (int count = 0; count < MAX_TOKENS; count++) {
            float[] logits = new float[vocabulary.size()];
            for (int token = 0; token < logits.length; token++) {
                logits[token] = (float) random.nextDouble(10) + (count < TOKENS_BEFORE_CLOSING ? 0 : closing[token]);
            }
            text.mask(logits);
            int best = 0;
            for (int token = 1; token < logits.length; token++) {
                best = logits[token] > logits[best] ? token : best;
            }
            text.accept(best);
            if (tokenizer.endOfGenerationTokens().contains(best)) {
                return written.toString(StandardCharsets.UTF_8);
            }
            written.writeBytes(tokenizer.tokenBytes(best));
        }
        throw new AssertionError("no end within " + MAX_TOKENS + " tokens for " + schema + ": "
                + written.toString(StandardCharsets.UTF_8));
    }
}
