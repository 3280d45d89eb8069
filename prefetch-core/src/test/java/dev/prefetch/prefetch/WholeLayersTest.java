package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class WholeLayersTest {

    private final WholeLayers wholeLayers = new WholeLayers();

    @Test
    void waitsForTheRouterUntilItKnowsHowMuchPromptsTouch() {
        assertThat(wholeLayers.touchedShare(512)).isEqualTo(-1);
        assertThat(wholeLayers.pay(512, 1, 1, 1)).isFalse();
    }

    @Test
    void readsAheadWhenNearlyEverythingIsTouched() {
        wholeLayers.observe(512, 0.95);
        // 2 s instead of 1 + 1.9.
        assertThat(wholeLayers.pay(512, 1, 1, 2)).isTrue();
    }

    @Test
    void waitsForTheRouterWhenLittleIsTouched() {
        wholeLayers.observe(512, 0.3);
        // 1 + 1.2 instead of 4.
        assertThat(wholeLayers.pay(512, 1, 1, 4)).isFalse();
    }

    @Test
    void readsAheadForNothingMoreWhenComputeHidesIt() {
        wholeLayers.observe(512, 0.5);
        assertThat(wholeLayers.pay(512, 10, 10, 2))
                .as("compute hides it either way")
                .isFalse();
        assertThat(wholeLayers.pay(512, 10, 1, 8)).as("11 instead of 14").isTrue();
    }

    @Test
    void neverReadsAheadWhatIsThere() {
        wholeLayers.observe(512, 1);
        assertThat(wholeLayers.pay(512, 1, 1, 0)).isFalse();
    }

    @Test
    void learnsSlowlyAndPerSize() {
        wholeLayers.observe(512, 1);
        wholeLayers.observe(600, 0);
        assertThat(wholeLayers.touchedShare(1000)).isEqualTo(0.9);
        assertThat(wholeLayers.touchedShare(2)).isEqualTo(-1);
    }
}
