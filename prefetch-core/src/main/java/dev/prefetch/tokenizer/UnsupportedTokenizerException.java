package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufFormatException;

/** A vocabulary is well formed but of a kind that is not implemented. The message names the kind. */
public final class UnsupportedTokenizerException extends GgufFormatException {

    private static final long serialVersionUID = 1L;

    public UnsupportedTokenizerException(String message) {
        super(message);
    }
}
