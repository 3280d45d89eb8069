package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.gguf.GgufMetadata;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Builds the tokenizer that a model file describes. */
public final class Tokenizers {

    private static final Logger LOG = LoggerFactory.getLogger(Tokenizers.class);
    private static final String MODEL_KEY = "tokenizer.ggml.model";
    private static final String PRE_KEY = "tokenizer.ggml.pre";

    private Tokenizers() {}

    /**
     * The tokenizer of a file: byte-pair encoding ({@code gpt2}, {@code gemma4}, {@code whitespace}), SentencePiece's
     * byte-pair encoding ({@code llama}) or unigram model ({@code t5}), or WordPiece ({@code bert}).
     *
     * @throws GgufFormatException when the vocabulary is missing or broken; the message names the key
     * @throws UnsupportedTokenizerException when the model type or the pre-tokenizer is not implemented
     */
    public static Tokenizer from(GgufMetadata metadata) {
        String model = metadata.requireString(MODEL_KEY);
        return switch (model) {
            case "gpt2", "whitespace" -> bytePairs(metadata, preTokenizer(metadata), model.equals("whitespace"));
            case "gemma4" -> bytePairs(metadata, known(metadata, "gemma4"), false);
            case "llama" -> new SentencePieceTokenizer(metadata);
            case "t5" -> new UnigramTokenizer(metadata);
            case "bert" -> new WordPieceTokenizer(metadata);
            default ->
                throw new UnsupportedTokenizerException(
                        metadata.source() + ": the tokenizer model '" + model + "' (key '" + MODEL_KEY
                                + "') is not supported; supported are gpt2, llama, t5, bert, gemma4 and whitespace");
        };
    }

    private static Tokenizer bytePairs(GgufMetadata metadata, PreTokenizer preTokenizer, boolean dropsWhiteSpace) {
        return preTokenizer.symbols() == PreTokenizer.Symbols.BYTES
                ? new BytePairTokenizer(metadata, preTokenizer)
                : new CharacterPairTokenizer(metadata, preTokenizer, dropsWhiteSpace);
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
        return known(metadata, name);
    }

    private static PreTokenizer known(GgufMetadata metadata, String name) {
        return PreTokenizers.named(name)
                .orElseThrow(() -> new UnsupportedTokenizerException(metadata.source() + ": the pre-tokenizer '" + name
                        + "' (key '" + PRE_KEY + "') is not supported; supported are " + PreTokenizers.names()));
    }
}
