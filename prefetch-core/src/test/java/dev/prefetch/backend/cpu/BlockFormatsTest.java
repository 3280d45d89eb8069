package dev.prefetch.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.gguf.GgmlType;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Expansion of the block formats, against values computed by the {@code dequantize} of the Python package {@code gguf}
 * ({@code blocks.bin}: per type its name, the number of blocks, random blocks, the expected floats; a third of the blocks
 * have subnormal, largest, zero and negative-zero scales) and against blocks worked out by hand.
 */
class BlockFormatsTest {

    record Sample(GgmlType type, byte[] blocks, float[] expected) {

        @Override
        public String toString() {
            return type.name();
        }
    }

    static List<Sample> samples() throws IOException {
        List<Sample> samples = new ArrayList<>();
        try (InputStream resource = BlockFormatsTest.class.getResourceAsStream("blocks.bin");
                DataInputStream in = new DataInputStream(resource)) {
            for (int length = in.read(); length >= 0; length = in.read()) {
                GgmlType type = GgmlType.valueOf(new String(in.readNBytes(length), StandardCharsets.US_ASCII));
                int blocks = Integer.reverseBytes(in.readInt());
                byte[] bytes = in.readNBytes(blocks * type.blockBytes());
                byte[] floats = in.readNBytes(4 * blocks * type.blockElements());
                float[] expected = MemorySegment.ofArray(floats).toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
                samples.add(new Sample(type, bytes, expected));
            }
        }
        return samples;
    }

    @ParameterizedTest
    @MethodSource("samples")
    void expandsAsTheReferenceImplementation(Sample sample) {
        for (Kernels kernels : TestData.kernelSets()) {
            assertThat(expand(kernels, sample.type(), sample.blocks()))
                    .as("%s by %s", sample.type(), kernels.name())
                    // Values, not bits: the sign of a zero is of no consequence.
                    .usingElementComparator((a, b) -> a.floatValue() == b.floatValue() ? 0 : 1)
                    .containsExactly(sample.expected());
        }
    }

    @Test
    void samplesCoverEveryBlockFormat() throws IOException {
        List<GgmlType> sampled = samples().stream().map(Sample::type).toList();
        assertThat(ScalarDequantizer.TYPES.stream().filter(t -> t.blockElements() > 1))
                .containsExactlyInAnyOrderElementsOf(sampled);
    }

    @Test
    void halvesOfEveryKindAreExact() {
        short[] halves = new short[1 << 16];
        int n = 0;
        for (int bits = 0; bits < 1 << 16; bits++) {
            // Of the numbers that are none, one of either sign: their other bits are of no consequence.
            if ((bits & 0x7c00) != 0x7c00 || (bits & 0x3ff) == 0 || (bits & 0x3ff) == 0x200) {
                halves[n++] = (short) bits;
            }
        }
        byte[] bytes = new byte[2 * n];
        MemorySegment.ofArray(bytes).copyFrom(MemorySegment.ofArray(halves).asSlice(0, 2L * n));
        for (Kernels kernels : TestData.kernelSets()) {
            float[] floats = expand(kernels, GgmlType.F16, bytes);
            for (int i = 0; i < n; i++) {
                assertThat(Float.floatToRawIntBits(floats[i]))
                        .as("half %04x", halves[i])
                        .isEqualTo(Float.floatToRawIntBits(Float.float16ToFloat(halves[i])));
            }
        }
    }

    @Test
    void bfloatsAreTheUpperHalvesOfFloats() {
        byte[] bytes = {0x00, 0x3f, (byte) 0x80, (byte) 0xbf, 0x7f, 0x7f, 0x01, 0x00, 0x00, (byte) 0x80};
        float[] expected = {0.5f, -1, 0x1.fep127f, Float.intBitsToFloat(0x10000), -0f};
        for (Kernels kernels : TestData.kernelSets()) {
            assertThat(expand(kernels, GgmlType.BF16, bytes)).containsExactly(expected);
        }
    }

    @Test
    void q80MultipliesSignedBytes() {
        byte[] block = new byte[34];
        half(block, 0, 0.5f);
        block[2] = -128;
        block[33] = 127;
        for (Kernels kernels : TestData.kernelSets()) {
            float[] floats = expand(kernels, GgmlType.Q8_0, block);
            assertThat(floats[0]).isEqualTo(-64);
            assertThat(floats[1]).isZero();
            assertThat(floats[31]).isEqualTo(63.5f);
        }
    }

    @Test
    void q40HoldsTheSecondHalfInTheHighNibbles() {
        byte[] block = new byte[18];
        half(block, 0, 2);
        block[2] = (byte) 0xf0;
        block[17] = 0x0f;
        for (Kernels kernels : TestData.kernelSets()) {
            float[] floats = expand(kernels, GgmlType.Q4_0, block);
            assertThat(floats[0]).isEqualTo(-16);
            assertThat(floats[16]).isEqualTo(14);
            assertThat(floats[15]).isEqualTo(14);
            assertThat(floats[31]).isEqualTo(-16);
        }
    }

    @Test
    void q4kUnpacksSixBitScalesAndMinima() {
        byte[] block = new byte[144];
        half(block, 0, 1);
        half(block, 2, 0.5f);
        // Group 0: scale 63, minimum 1. Group 7: scale 0b10_0101 = 37, minimum 0b11_0110 = 54.
        block[4] = 63;
        block[8] = 1;
        block[7] |= (byte) (0b10 << 6);
        block[11] |= (byte) (0b11 << 6);
        block[15] = 0x65;
        Arrays.fill(block, 16, 48, (byte) 0x02);
        Arrays.fill(block, 112, 144, (byte) 0x30);
        for (Kernels kernels : TestData.kernelSets()) {
            float[] floats = expand(kernels, GgmlType.Q4_K, block);
            assertThat(floats[0]).isEqualTo(63 * 2 - 0.5f);
            assertThat(floats[31]).isEqualTo(63 * 2 - 0.5f);
            assertThat(floats[224]).isEqualTo(37 * 3 - 27);
            assertThat(floats[255]).isEqualTo(37 * 3 - 27);
        }
    }

    @Test
    void q6kCombinesFourLowAndTwoHighBits() {
        byte[] block = new byte[210];
        half(block, 208, 0.25f);
        Arrays.fill(block, 192, 208, (byte) 1);
        block[192 + 15] = -2;
        // Element 0: low 5, high 3 -> 53 - 32. Element 255 (second half, last quarter): low 9, high 1 -> 25 - 32.
        block[0] = 5;
        block[128] = 3;
        block[127] = (byte) 0x90;
        block[191] = (byte) (1 << 6);
        for (Kernels kernels : TestData.kernelSets()) {
            float[] floats = expand(kernels, GgmlType.Q6_K, block);
            assertThat(floats[0]).isEqualTo(21 * 0.25f);
            assertThat(floats[1]).isEqualTo(-32 * 0.25f);
            assertThat(floats[255]).isEqualTo(-7 * -2 * 0.25f);
        }
    }

    @Test
    void refusesUnsupportedTypes() {
        assertThatThrownBy(() -> ScalarDequantizer.expand(GgmlType.Q8_K, 0, 256, 0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("Q8_K");
    }

    private static void half(byte[] block, int at, float value) {
        MemorySegment.ofArray(block).set(ValueLayout.JAVA_SHORT_UNALIGNED, at, Float.floatToFloat16(value));
    }

    /** Expands with exactly the memory that the blocks need, followed by a guard that must stay untouched. */
    private static float[] expand(Kernels kernels, GgmlType type, byte[] blocks) {
        int elements = blocks.length / type.blockBytes() * type.blockElements();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment in = arena.allocate(blocks.length, 1).copyFrom(MemorySegment.ofArray(blocks));
            MemorySegment out = arena.allocate(4L * elements + 64, 64).fill((byte) 0x5a);
            kernels.expand(type, in.address(), elements, out.address());
            assertThat(out.asSlice(4L * elements).toArray(ValueLayout.JAVA_BYTE))
                    .containsOnly(0x5a);
            return out.asSlice(0, 4L * elements).toArray(ValueLayout.JAVA_FLOAT);
        }
    }
}
