package dev.prefetch.tokenizer;

import java.util.List;
import java.util.Set;

/** Text to token ids and back. Immutable and thread-safe. */
public interface Tokenizer {

    /** Number of tokens; ids are {@code 0 .. vocabularySize() - 1}. */
    int vocabularySize();

    /** Token put at the start of a prompt, or -1. */
    int beginToken();

    /** Token that ends a text, or -1. */
    int endToken();

    /** Whether the file asks for {@link #beginToken()} in front of every prompt. */
    boolean addsBeginToken();

    /** Whether models of this kind want {@link #endToken()} behind every text, as encoders for embeddings do. */
    default boolean addsEndToken() {
        return false;
    }

    /** Tokens after which a model has finished its turn (end of text, end of turn, end of message). */
    Set<Integer> endOfGenerationTokens();

    /** The token's text as it stands in the vocabulary, for display and for template variables. */
    String tokenText(int token);

    /**
     * The bytes the token stands for: a part of a text in UTF-8, which may begin or end inside a character.
     *
     * @throws IndexOutOfBoundsException for an id outside the vocabulary
     */
    byte[] tokenBytes(int token);

    /** Whether the token is a control token: it is not text and is never shown. */
    boolean isControl(int token);

    /**
     * Encodes text whose parts differ in trust. Special tokens are recognised only in spans that allow them; everything
     * else is encoded as if the spans were one string. No begin or end token is added.
     */
    int[] encode(List<TextSpan> spans);

    /** Encodes plain text in which special tokens have no meaning. */
    default int[] encode(String text) {
        return encode(List.of(new TextSpan(text, false)));
    }

    /**
     * Decodes ids to text, replacing malformed UTF-8 by U+FFFD. Control tokens are left out unless asked for.
     *
     * @throws IndexOutOfBoundsException for an id outside the vocabulary
     */
    String decode(int[] tokens, boolean withControlTokens);

    /** A decoder that is fed token by token and leaves control tokens out. Not thread-safe. */
    default TokenDecoder newDecoder() {
        return newDecoder(false);
    }

    /**
     * A decoder that is fed token by token. Not thread-safe.
     *
     * @param withControlTokens whether the texts of control tokens are shown: some vocabularies mark the tags around tool
     *     calls and reasoning as control tokens, and whoever parses those needs to see them
     */
    TokenDecoder newDecoder(boolean withControlTokens);

    /**
     * A part of a text.
     *
     * @param text the characters
     * @param specialTokensAllowed true only for text that the template itself put there
     */
    record TextSpan(String text, boolean specialTokensAllowed) {}
}
