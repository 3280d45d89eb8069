package dev.prefetch.tokenizer;

/** Decodes a stream of tokens and never emits half a character. Not thread-safe. */
public interface TokenDecoder {

    /**
     * Takes the next token and returns the characters that are complete now; empty while a multi-byte character is
     * unfinished, and for control tokens unless the decoder was asked to show them.
     *
     * @throws IndexOutOfBoundsException for an id outside the vocabulary
     */
    String next(int token);

    /** Returns what is left, with U+FFFD for an unfinished character, and starts anew. */
    String flush();
}
