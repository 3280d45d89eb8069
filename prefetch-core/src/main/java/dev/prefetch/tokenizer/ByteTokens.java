package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufFormatException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.regex.Pattern;

/** The tokens {@code <0xHH>} with which a vocabulary of characters writes what it has no token for. */
final class ByteTokens {

    private static final Pattern TEXT = Pattern.compile("<0x[0-9A-Fa-f]{2}>");

    private ByteTokens() {}

    /**
     * By byte: its token, or -1. Where the file gives no types, the tokens get theirs by their text.
     *
     * @throws GgufFormatException when a token for a byte has another text
     */
    static int[] of(Vocabulary vocabulary) {
        int[] tokens = new int[256];
        Arrays.fill(tokens, -1);
        for (int token = 0; token < vocabulary.size(); token++) {
            String text = vocabulary.text(token);
            boolean byteText = TEXT.matcher(text).matches();
            if (vocabulary.type(token) == TokenType.BYTE && !byteText) {
                throw vocabulary.failure(
                        Vocabulary.TOKENS_KEY, "has '" + text + "' at index " + token + " for a byte, expected <0xHH>");
            }
            if (byteText && !vocabulary.typesGiven()) {
                vocabulary.setType(token, TokenType.BYTE);
            }
            if (vocabulary.type(token) == TokenType.BYTE) {
                tokens[byteOf(text)] = token;
            }
        }
        return tokens;
    }

    /** The byte, 0 to 255, that the text of a token of type {@link TokenType#BYTE} stands for. */
    static int byteOf(String text) {
        return HexFormat.fromHexDigits(text, 3, 5);
    }
}
