package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufMetadata;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Small vocabularies made on the spot, with every byte, so that any text can be expressed. */
final class Vocabularies {

    private final Map<String, Object> values = new LinkedHashMap<>();
    private final List<String> tokens = new ArrayList<>();
    private final List<Long> types = new ArrayList<>();
    private final List<Float> scores = new ArrayList<>();
    private final List<String> merges = new ArrayList<>();

    /** Ids 0 to 255 are the bytes. */
    static Vocabularies byteLevel(String preTokenizer) {
        Vocabularies result = new Vocabularies();
        result.values.put("tokenizer.ggml.model", "gpt2");
        result.values.put("tokenizer.ggml.pre", preTokenizer);
        for (int b = 0; b < 256; b++) {
            result.token(String.valueOf(ByteCharacters.characterOf(b)), TokenType.NORMAL);
        }
        return result;
    }

    /** Ids 0 to 2 are unknown, begin and end; 3 to 258 the bytes; 259 the space. */
    static Vocabularies sentencePiece() {
        Vocabularies result = new Vocabularies();
        result.values.put("tokenizer.ggml.model", "llama");
        result.token("<unk>", TokenType.UNKNOWN);
        result.token("<s>", TokenType.CONTROL);
        result.token("</s>", TokenType.CONTROL);
        for (int b = 0; b < 256; b++) {
            result.token("<0x%02X>".formatted(b), TokenType.BYTE);
        }
        return result.piece("▁", -1000);
    }

    /** Byte pairs of characters. Ids 0 to 2 are unknown, begin and end; 3 to 258 the bytes; 259 the space, 260 to 262 a to c. */
    static Vocabularies characters(String preTokenizer) {
        Vocabularies result = sentencePiece();
        result.values.put("tokenizer.ggml.model", "gpt2");
        result.values.put("tokenizer.ggml.pre", preTokenizer);
        result.values.put("tokenizer.ggml.bos_token_id", 1L);
        result.values.put("tokenizer.ggml.eos_token_id", 2L);
        for (String text : List.of("a", "b", "c")) {
            result.token(text, TokenType.NORMAL);
        }
        return result;
    }

    /** Ids 0 to 2 are padding, end and unknown; pieces follow. */
    static Vocabularies unigram() {
        Vocabularies result = new Vocabularies();
        result.values.put("tokenizer.ggml.model", "t5");
        result.token("<pad>", TokenType.CONTROL);
        result.token("</s>", TokenType.CONTROL);
        return result.token("<unk>", TokenType.UNKNOWN);
    }

    /** Ids 0 to 2 are begin, end and unknown; pieces follow, those that begin a word with U+2581. */
    static Vocabularies wordPiece() {
        Vocabularies result = new Vocabularies();
        result.values.put("tokenizer.ggml.model", "bert");
        result.values.put("tokenizer.ggml.bos_token_id", 0L);
        result.values.put("tokenizer.ggml.seperator_token_id", 1L);
        result.values.put("tokenizer.ggml.unknown_token_id", 2L);
        result.token("[CLS]", TokenType.CONTROL);
        result.token("[SEP]", TokenType.CONTROL);
        return result.token("[UNK]", TokenType.UNKNOWN);
    }

    Vocabularies token(String text, TokenType type) {
        tokens.add(text);
        types.add((long) type.ordinal());
        scores.add(0f);
        return this;
    }

    Vocabularies piece(String text, float score) {
        token(text, TokenType.NORMAL);
        scores.set(scores.size() - 1, score);
        return this;
    }

    /** Adds a merge and the token it makes, unless there is one. */
    Vocabularies merge(String left, String right) {
        merges.add(left + " " + right);
        if (!tokens.contains(left + right)) {
            token(left + right, TokenType.NORMAL);
        }
        return this;
    }

    Vocabularies with(String key, Object value) {
        values.put(key, value);
        return this;
    }

    int id(String text) {
        return tokens.indexOf(text);
    }

    /** The values as they stand, for tests that break them. */
    Map<String, Object> values() {
        Map<String, Object> result = new LinkedHashMap<>();
        result.put("tokenizer.ggml.tokens", List.copyOf(tokens));
        result.put(
                "tokenizer.ggml.token_type",
                types.stream().mapToLong(Long::longValue).toArray());
        float[] scoreArray = new float[scores.size()];
        for (int i = 0; i < scoreArray.length; i++) {
            scoreArray[i] = scores.get(i);
        }
        Object model = values.get("tokenizer.ggml.model");
        if (model.equals("llama") || model.equals("t5")) {
            result.put("tokenizer.ggml.scores", scoreArray);
        } else if (List.of("gpt2", "gemma4", "whitespace").contains(model)) {
            result.put("tokenizer.ggml.merges", List.copyOf(merges));
        }
        result.putAll(values);
        return result;
    }

    Tokenizer build() {
        return build(values());
    }

    static Tokenizer build(Map<String, Object> values) {
        return Tokenizers.from(GgufMetadata.of("test.gguf", values));
    }
}
