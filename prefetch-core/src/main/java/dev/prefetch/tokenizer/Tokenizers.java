package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.gguf.GgufMetadata;

/** Builds the tokenizer that a model file describes. */
public final class Tokenizers {

    private static final String MODEL_KEY = "tokenizer.ggml.model";

    private Tokenizers() {}

    /**
     * The tokenizer of a file: byte-level byte-pair encoding ({@code gpt2}), SentencePiece's byte-pair encoding
     * ({@code llama}) or unigram model ({@code t5}), or WordPiece ({@code bert}).
     *
     * @throws GgufFormatException when the vocabulary is missing or broken; the message names the key
     * @throws UnsupportedTokenizerException when the model type or the pre-tokenizer is not implemented
     */
    public static Tokenizer from(GgufMetadata metadata) {
        String model = metadata.requireString(MODEL_KEY);
        return switch (model) {
            case "gpt2" -> new BytePairTokenizer(metadata);
            case "llama" -> new SentencePieceTokenizer(metadata);
            case "t5" -> new UnigramTokenizer(metadata);
            case "bert" -> new WordPieceTokenizer(metadata);
            default ->
                throw new UnsupportedTokenizerException(metadata.source() + ": the tokenizer model '" + model
                        + "' (key '" + MODEL_KEY + "') is not supported; supported are gpt2, llama, t5 and bert");
        };
    }
}
