package dev.prefetch.tokenizer;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * The one-to-one mapping of bytes to printable characters in which byte-level vocabularies are written: printable
 * Latin-1 characters stand for themselves, the other 68 bytes for U+0100 upwards.
 *
 * <p>Source: {@code bytes_to_unicode} of GPT-2's published encoder.
 */
final class ByteCharacters {

    private static final char[] CHARACTER = new char[256];
    private static final short[] BYTE = new short[0x144];

    static {
        Arrays.fill(BYTE, (short) -1);
        int others = 0;
        for (int b = 0; b < 256; b++) {
            boolean printable = b > 0x20 && b < 0x7F || b > 0xA0 && b != 0xAD;
            char character = (char) (printable ? b : 0x100 + others++);
            CHARACTER[b] = character;
            BYTE[character] = (short) b;
        }
    }

    private ByteCharacters() {}

    /** The character that stands for a byte (0 to 255). */
    static char characterOf(int b) {
        return CHARACTER[b];
    }

    /**
     * The bytes a token's text stands for. A character that stands for no byte is taken literally, so that a token that
     * was stored unmapped is shown as it is.
     */
    static byte[] bytesOf(String text) {
        byte[] bytes = new byte[text.length()];
        for (int i = 0; i < bytes.length; i++) {
            char character = text.charAt(i);
            if (character >= BYTE.length || BYTE[character] < 0) {
                return mixed(text);
            }
            bytes[i] = (byte) BYTE[character];
        }
        return bytes;
    }

    private static byte[] mixed(String text) {
        var out = new ByteArrayOutputStream();
        text.codePoints().forEach(c -> {
            if (c < BYTE.length && BYTE[c] >= 0) {
                out.write(BYTE[c]);
            } else {
                out.writeBytes(Character.toString(c).getBytes(StandardCharsets.UTF_8));
            }
        });
        return out.toByteArray();
    }
}
