package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.gguf.GgufMetadata;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Set;

/**
 * The checked contents of the {@code tokenizer.ggml.*} keys that every kind of tokenizer has: texts, types, the ids with
 * a role. Immutable.
 *
 * <p>An empty text is allowed (it is never found and decodes to nothing), as is a list longer than the model needs;
 * everything that would make an id ambiguous or point outside the vocabulary is refused.
 */
final class Vocabulary {

    static final String TOKENS_KEY = "tokenizer.ggml.tokens";
    private static final String TYPES_KEY = "tokenizer.ggml.token_type";
    private static final String SCORES_KEY = "tokenizer.ggml.scores";
    private static final String ADD_BEGIN_KEY = "tokenizer.ggml.add_bos_token";
    private static final String END_KEY = "tokenizer.ggml.eos_token_id";

    /** Ids that a kind of tokenizer implies when the file is silent; -1 for none. */
    record Defaults(int begin, int end, int unknown, boolean addsBegin) {

        static final Defaults NONE = new Defaults(-1, -1, -1, false);
    }

    private final GgufMetadata metadata;
    private final String[] texts;
    private final TokenType[] types;
    private final boolean typesGiven;
    private final TextIndex index;
    private final int begin;
    private final int end;
    private final int unknown;
    private final boolean addsBegin;
    private final Set<Integer> endOfGeneration;
    private final boolean specialTokensStripRight;

    /**
     * @throws GgufFormatException when a key is missing, has the wrong type or length, or an id that is out of range, or
     *     when two tokens have the same text
     */
    Vocabulary(GgufMetadata metadata, Defaults defaults) {
        this(metadata, defaults, END_KEY);
    }

    /** @param endKey the key of the token that ends a text, for kinds of tokenizers that call it something else */
    Vocabulary(GgufMetadata metadata, Defaults defaults, String endKey) {
        this.metadata = metadata;
        List<String> tokens = metadata.requireStrings(TOKENS_KEY);
        if (tokens.isEmpty()) {
            throw failure(TOKENS_KEY, "is empty");
        }
        this.texts = tokens.toArray(String[]::new);
        this.typesGiven = metadata.contains(TYPES_KEY);
        this.types = readTypes();
        this.index = indexOfTexts();
        this.begin = id("tokenizer.ggml.bos_token_id", defaults.begin());
        this.end = id(endKey, defaults.end());
        this.unknown = id("tokenizer.ggml.unknown_token_id", defaults.unknown());
        boolean beginAsked = metadata.boolOr(ADD_BEGIN_KEY, false);
        if (beginAsked && begin < 0) {
            throw failure(ADD_BEGIN_KEY, "is true, but key 'tokenizer.ggml.bos_token_id' is missing");
        }
        this.addsBegin = metadata.contains(ADD_BEGIN_KEY) ? beginAsked : defaults.addsBegin() && begin >= 0;
        this.endOfGeneration = EndOfGeneration.collect(this);
        // Hugging Face marks Phi-3's special tokens as swallowing the white space behind them. GGUF has no field for
        // that; llama.cpp, too, goes by the name.
        String name = metadata.stringOr("general.name", "").toLowerCase(Locale.ROOT);
        this.specialTokensStripRight = name.contains("phi-3") || name.contains("phi3");
    }

    private TokenType[] readTypes() {
        TokenType[] result = new TokenType[texts.length];
        long[] numbers = metadata.integers(TYPES_KEY).orElse(null);
        if (numbers != null && numbers.length != texts.length) {
            throw failure(TYPES_KEY, "has " + numbers.length + " elements, but there are " + texts.length + " tokens");
        }
        for (int i = 0; i < texts.length; i++) {
            TokenType type = numbers == null ? TokenType.NORMAL : TokenType.ofNumber(numbers[i]);
            if (type == null) {
                throw failure(TYPES_KEY, "has the unknown type " + numbers[i] + " at index " + i);
            }
            result[i] = type;
        }
        return result;
    }

    private TextIndex indexOfTexts() {
        TextIndex result = new TextIndex(texts);
        for (int i = 0; i < texts.length; i++) {
            if (texts[i].isEmpty()) {
                continue;
            }
            int other = result.add(i);
            if (other != TextIndex.ABSENT) {
                throw failure(TOKENS_KEY, "has the text '" + texts[i] + "' twice, at index " + other + " and " + i);
            }
        }
        return result;
    }

    /** The id under a key, or the fallback where it lies inside the vocabulary, or -1. */
    int id(String key, int fallback) {
        long id = metadata.longOr(key, -1);
        if (metadata.contains(key)) {
            if (id < 0 || id >= texts.length) {
                throw failure(key, "is " + id + ", but there are " + texts.length + " tokens");
            }
            return (int) id;
        }
        return fallback < texts.length ? fallback : -1;
    }

    /**
     * The scores, one per token.
     *
     * @throws GgufFormatException when they are missing, of the wrong number, or not numbers
     */
    float[] scores() {
        float[] scores = metadata.floats(SCORES_KEY).orElseThrow(() -> failure(SCORES_KEY, "is missing"));
        if (scores.length != texts.length) {
            throw failure(SCORES_KEY, "has " + scores.length + " elements, but there are " + texts.length + " tokens");
        }
        for (int i = 0; i < scores.length; i++) {
            if (Float.isNaN(scores[i])) {
                throw failure(SCORES_KEY, "is not a number at index " + i);
            }
        }
        return scores;
    }

    GgufFormatException failure(String key, String problem) {
        return new GgufFormatException(metadata.source() + ": key '" + key + "' " + problem);
    }

    int size() {
        return texts.length;
    }

    /** @throws IndexOutOfBoundsException for an id outside the vocabulary */
    String text(int token) {
        return texts[Objects.checkIndex(token, texts.length)];
    }

    /** @throws IndexOutOfBoundsException for an id outside the vocabulary */
    TokenType type(int token) {
        return types[Objects.checkIndex(token, types.length)];
    }

    /** Corrects a type the file has wrong; only while the vocabulary is being built. */
    void setType(int token, TokenType type) {
        types[token] = type;
    }

    /** Whether the file says what types its tokens have. */
    boolean typesGiven() {
        return typesGiven;
    }

    /** The token with that text, of any type, or -1. */
    int find(String text) {
        return index.find(text);
    }

    TextIndex index() {
        return index;
    }

    int begin() {
        return begin;
    }

    int end() {
        return end;
    }

    int unknown() {
        return unknown;
    }

    boolean addsBegin() {
        return addsBegin;
    }

    Set<Integer> endOfGeneration() {
        return endOfGeneration;
    }

    /** Whether white space behind a recognised special token vanishes. */
    boolean specialTokensStripRight() {
        return specialTokensStripRight;
    }
}
