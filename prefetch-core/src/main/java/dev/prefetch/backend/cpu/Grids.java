package dev.prefetch.backend.cpu;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * The points of the formats that store several elements as an index: part of the format as the scales are, and the same for
 * every model. The resource has a 16-bit word per point, with 2 bits (of points of eight elements) or 4 bits (of points of
 * four) per element; they choose one of the values here.
 *
 * @see <a href="https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h">where they are defined</a> (MIT
 *     License, copyright the ggml authors)
 */
final class Grids {

    private static final byte[] TWO_BITS = {0x08, 0x19, 0x2b};
    private static final byte[] TERNARY = {-1, 0, 1};
    private static final byte[] THREE_BITS = {0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3e};
    private static final byte[] ODD = {1, 3, 5, 7, 9, 11, 13, 15};

    static final byte[] IQ2_XXS;
    static final byte[] IQ2_XS;
    static final byte[] IQ2_S;
    /** Of {@code IQ1_S} and {@code IQ1_M}. */
    static final byte[] IQ1;

    static final byte[] IQ3_XXS;
    static final byte[] IQ3_S;

    static {
        try (InputStream in = Grids.class.getResourceAsStream("grids.bin")) {
            ByteBuffer words = ByteBuffer.wrap(in.readAllBytes()).order(ByteOrder.LITTLE_ENDIAN);
            IQ2_XXS = points(words, 256, 8, TWO_BITS);
            IQ2_XS = points(words, 512, 8, TWO_BITS);
            IQ2_S = points(words, 1024, 8, TWO_BITS);
            IQ1 = points(words, 2048, 8, TERNARY);
            IQ3_XXS = points(words, 256, 4, THREE_BITS);
            IQ3_S = points(words, 512, 4, ODD);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private Grids() {}

    private static byte[] points(ByteBuffer words, int count, int elements, byte[] values) {
        byte[] points = new byte[count * elements];
        int bits = 16 / elements;
        for (int i = 0; i < count; i++) {
            int word = words.getShort() & 0xffff;
            for (int j = 0; j < elements; j++) {
                points[i * elements + j] = values[word >> bits * j & (1 << bits) - 1];
            }
        }
        return points;
    }
}
