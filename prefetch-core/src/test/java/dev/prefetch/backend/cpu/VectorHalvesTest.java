package dev.prefetch.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import jdk.incubator.vector.IntVector;
import org.junit.jupiter.api.Test;

class VectorHalvesTest {

    /** Also the one that this processor does not use. */
    @Test
    void bothConversionsAreExactForEveryFiniteHalf() {
        int compared = 0;
        for (int first = 0; first < 1 << 16; first += Vectors.LANES) {
            int[] words = new int[Vectors.LANES];
            for (int i = 0; i < words.length; i++) {
                // What stands in the lower half must not matter.
                words[i] = first + i << 16 | 0xa5a5;
            }
            IntVector z = IntVector.fromArray(Vectors.I, words, 0);
            float[] byProduct =
                    VectorHalves.tooSmall(z).mul(VectorHalves.TOO_SMALL).toArray();
            float[] byMinimum = VectorHalves.exact(z).toArray();
            for (int i = 0; i < words.length; i++) {
                float exact = Float.float16ToFloat((short) (first + i));
                if (Float.isFinite(exact)) {
                    int bits = Float.floatToRawIntBits(exact);
                    assertThat(Float.floatToRawIntBits(byProduct[i])).isEqualTo(bits);
                    assertThat(Float.floatToRawIntBits(byMinimum[i])).isEqualTo(bits);
                    compared++;
                }
            }
        }
        assertThat(compared).isEqualTo((1 << 16) - (1 << 11));
    }
}
