package dev.prefetch.testing;

import dev.prefetch.gguf.GgmlType;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Random;
import java.util.zip.CRC32;

/**
 * Random data of the formats of weights with a given standard deviation. Everything comes from the integers of a
 * {@link Random}, whose sequence is specified, so that a name gives the same bytes on every machine.
 */
final class RandomBlocks {

    private final Random random;

    /** @param name what is made; another name gives other bytes */
    RandomBlocks(String name) {
        CRC32 crc = new CRC32();
        crc.update(name.getBytes(StandardCharsets.UTF_8));
        random = new Random(crc.getValue());
    }

    /** @param mean of plain values; block formats have none */
    byte[] make(GgmlType type, int elements, double deviation, double mean) {
        ByteBuffer out =
                ByteBuffer.allocate(Math.toIntExact(type.byteSize(elements))).order(ByteOrder.LITTLE_ENDIAN);
        while (out.hasRemaining()) {
            switch (type) {
                case F32 -> out.putFloat(value(deviation, mean));
                case F16 -> out.putShort(Float.floatToFloat16(value(deviation, mean)));
                case BF16 -> out.putShort((short) (Float.floatToRawIntBits(value(deviation, mean)) >>> 16));
                case Q8_0 -> bytes(half(out, deviation / 73.6), 32);
                case MXFP4 -> bytes(out.put((byte) (127 + Math.rint(log2(deviation / 2.93)))), 16);
                case Q4_K -> q4k(out, deviation);
                case Q6_K -> q6k(out, deviation);
                case IQ2_XXS -> bytes(half(out, deviation / 53.1), 64);
                case IQ2_XS -> bytes(half(out, deviation / 55.4), 72);
                case IQ2_S -> bytes(half(out, deviation / 56.3), 80);
                case IQ3_XXS -> bytes(half(out, deviation / 142), 96);
                case IQ3_S -> bytes(half(out, deviation / 137), 108);
                case IQ1_S -> bytes(half(out, deviation / 7.28), 48);
                case IQ1_M -> iq1m(out, deviation);
                case TQ1_0 -> {
                    bytes(out, 52);
                    half(out, deviation / 0.816);
                }
                case TQ2_0 -> half(ternary(out, 64), deviation / 0.816);
                default -> throw new IllegalArgumentException("no random blocks of " + type);
            }
        }
        return out.array();
    }

    /** Evenly distributed. */
    private float value(double deviation, double mean) {
        return (float) (mean + deviation * Math.sqrt(12) * (random.nextFloat() - 0.5));
    }

    private static double log2(double x) {
        return StrictMath.log(x) / StrictMath.log(2);
    }

    /** A scale within a quarter of {@code mean}. */
    private ByteBuffer half(ByteBuffer out, double mean) {
        return out.putShort(Float.floatToFloat16((float) (mean * (0.75 + 0.5 * random.nextFloat()))));
    }

    private void bytes(ByteBuffer out, int count) {
        byte[] bytes = new byte[count];
        random.nextBytes(bytes);
        out.put(bytes);
    }

    /** Scales and minima of 32 to 63, a minimum equal to its scale: {@code d * scale * (q - 7.5)}. */
    private void q4k(ByteBuffer out, double deviation) {
        float d = Float.float16ToFloat(Float.floatToFloat16((float) (deviation / (48.4 * 4.61))));
        out.putShort(Float.floatToFloat16(d)).putShort(Float.floatToFloat16(7.5f * d));
        int[] scales = random.ints(8, 32, 64).toArray();
        for (int i = 0; i < 4; i++) {
            out.put((byte) (scales[i] | scales[i + 4] >> 4 << 6));
        }
        for (int i = 0; i < 4; i++) {
            out.put((byte) (scales[i] | scales[i + 4] >> 4 << 6));
        }
        for (int i = 4; i < 8; i++) {
            out.put((byte) (scales[i] & 15 | scales[i] << 4));
        }
        bytes(out, 128);
    }

    /** {@code d * scale * (q - 32)} with scales of 32 to 127 and either sign. */
    private void q6k(ByteBuffer out, double deviation) {
        bytes(out, 192);
        for (int i = 0; i < 16; i++) {
            int scale = 32 + random.nextInt(96);
            out.put((byte) (random.nextBoolean() ? scale : -scale));
        }
        half(out, deviation / (84 * 18.5));
    }

    /** The nibbles of the scale stand above the four words of small scales. */
    private void iq1m(ByteBuffer out, double deviation) {
        bytes(out, 48);
        int d = Float.floatToFloat16((float) (deviation / 7.24)) & 0xffff;
        for (int i = 0; i < 4; i++) {
            out.putShort((short) (random.nextInt(1 << 12) | (d >> 4 * i & 15) << 12));
        }
    }

    /** Bytes without a pair of set bits, which {@code TQ2_0} does not use. */
    private ByteBuffer ternary(ByteBuffer out, int count) {
        for (int i = 0; i < count; i++) {
            int bits = 0;
            for (int j = 0; j < 4; j++) {
                bits |= random.nextInt(3) << 2 * j;
            }
            out.put((byte) bits);
        }
        return out;
    }
}
