package dev.prefetch.tokenizer;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

/** Joins the bytes of the tokens and gives out the characters as they become complete. */
final class StreamingDecoder implements TokenDecoder {

    private final VocabularyTokenizer tokenizer;
    private final boolean withControlTokens;
    private final CharsetDecoder utf8 = StandardCharsets.UTF_8
            .newDecoder()
            .onMalformedInput(CodingErrorAction.REPLACE)
            .onUnmappableCharacter(CodingErrorAction.REPLACE);
    private final StringBuilder complete = new StringBuilder();

    /** Bytes of an unfinished character in front, new bytes behind them. */
    private ByteBuffer bytes = ByteBuffer.allocate(64);

    private final CharBuffer characters = CharBuffer.allocate(64);
    private boolean spacePrefixExpected;

    StreamingDecoder(VocabularyTokenizer tokenizer, boolean withControlTokens) {
        this.tokenizer = tokenizer;
        this.withControlTokens = withControlTokens;
        this.spacePrefixExpected = tokenizer.addsSpacePrefix();
    }

    @Override
    public String next(int token) {
        append(token);
        return take();
    }

    @Override
    public String flush() {
        decode(true);
        utf8.flush(characters);
        drain();
        utf8.reset();
        bytes.clear();
        spacePrefixExpected = tokenizer.addsSpacePrefix();
        return take();
    }

    /** Takes the next token; {@link #take()} or {@link #flush()} give what is complete. */
    void append(int token) {
        TokenType type = tokenizer.vocabulary().type(token);
        if (!type.isHidden() || withControlTokens) {
            put(tokenizer.bytes(token), type.isText());
            decode(false);
        }
        // The encoder puts a space in front of text that follows a special token; see SentencePieceTokenizer.
        if (type.isHidden() || type == TokenType.USER_DEFINED) {
            spacePrefixExpected = tokenizer.addsSpacePrefix();
        }
    }

    private String take() {
        String result = complete.toString();
        complete.setLength(0);
        return result;
    }

    private void put(byte[] piece, boolean isText) {
        int from = 0;
        if (isText && spacePrefixExpected && piece.length > 0) {
            from = piece[0] == ' ' ? 1 : 0;
        }
        if (piece.length > 0) {
            spacePrefixExpected = false;
        }
        if (bytes.remaining() < piece.length) {
            bytes = ByteBuffer.allocate(2 * (bytes.position() + piece.length)).put(bytes.flip());
        }
        bytes.put(piece, from, piece.length - from);
    }

    private void decode(boolean endOfInput) {
        bytes.flip();
        while (utf8.decode(bytes, characters, endOfInput).isOverflow()) {
            drain();
        }
        drain();
        bytes.compact();
    }

    private void drain() {
        complete.append(characters.flip());
        characters.clear();
    }
}
