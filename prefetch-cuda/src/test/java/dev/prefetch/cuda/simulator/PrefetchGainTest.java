package dev.prefetch.cuda.simulator;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.cuda.simulator.PrefetchGain.Blocks;
import dev.prefetch.cuda.simulator.PrefetchGain.Link;
import java.io.IOException;
import java.nio.file.Files;
import org.junit.jupiter.api.Test;

class PrefetchGainTest {

    /** The document is what the program gives: `PrefetchGain.main` writes it again. */
    @Test
    void standsInTheDocumentAsItWasMeasured() throws IOException {
        assertThat(PrefetchGain.written()).isEqualTo(PrefetchGain.generated().strip());
        assertThat(Files.readString(PrefetchGain.PLOT)).isEqualTo(PrefetchGain.plot());
    }

    @Test
    void reachesTheBoundWithTwoSlotsOfEqualBlocks() {
        for (Link link : Link.values()) {
            for (int tokens : PrefetchGain.TOKENS) {
                double bound = PrefetchGain.bound(link, tokens);
                assertThat(PrefetchGain.gain(Blocks.LAYERS, 2, link, tokens))
                        .as("%s, %d tokens", link, tokens)
                        .isCloseTo(bound, within(0.01 * bound));
            }
        }
    }

    @Test
    void gainsNothingWithOneSlot() {
        assertThat(PrefetchGain.gain(Blocks.LAYERS, 1, Link.PCIE4_X16, 1024)).isCloseTo(1, within(0.01));
    }

    /** The small block is computed long before the large one behind it has arrived. */
    @Test
    void needsAThirdSlotForBlocksOfUnequalSize() {
        double bound = PrefetchGain.bound(Link.PCIE4_X16, 1024);
        assertThat(PrefetchGain.gain(Blocks.PARTS, 2, Link.PCIE4_X16, 1024)).isLessThan(0.8 * bound);
        assertThat(PrefetchGain.gain(Blocks.PARTS, 3, Link.PCIE4_X16, 1024)).isCloseTo(bound, within(0.01 * bound));
    }
}
