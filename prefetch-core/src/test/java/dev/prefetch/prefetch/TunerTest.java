package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.backend.Devices;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.Plan.Residency;
import java.util.List;
import java.util.Random;
import java.util.function.IntToLongFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TunerTest {

    private static int run(Tuner tuner, int lookAhead, int sweeps, IntToLongFunction nanos) {
        int now = lookAhead;
        for (int i = 0; i < sweeps; i++) {
            now = tuner.sweepTook(nanos.applyAsLong(now), 1);
        }
        return now;
    }

    @ParameterizedTest
    @CsvSource({"1,6,4", "1,6,6", "6,6,2", "3,6,1", "2,2,1", "1,1,1"})
    void findsTheFastestLookAhead(int start, int most, int best) {
        Tuner tuner = new Tuner(start, most);
        int found = run(tuner, start, 150, lookAhead -> 1_000_000L + 100_000L * Math.abs(lookAhead - best));
        assertThat(found).isEqualTo(best);
    }

    /** Without looking ahead nothing hides the transfers, however alike the sweeps of a small model are. */
    @Test
    void neverStaysWithoutLookAhead() {
        Tuner tuner = new Tuner(0, 3);
        assertThat(tuner.sweepTook(1_000_000L, 1)).isEqualTo(1);
        assertThat(run(tuner, 1, 150, lookAhead -> lookAhead == 0 ? 900_000L : 1_000_000L))
                .isEqualTo(1);
        assertThat(new Tuner(0, 0).sweepTook(1_000_000L, 1)).isZero();
    }

    @Test
    void keepsWhatItHasWhenNothingIsClearlyBetter() {
        Random random = new Random(7);
        Tuner tuner = new Tuner(3, 6);
        int found = run(tuner, 3, 150, lookAhead -> 1_000_000L + random.nextInt(5_000));
        assertThat(found).isEqualTo(3);
    }

    @Test
    void isNotMisledByASingleSlowSweep() {
        Tuner tuner = new Tuner(2, 3);
        int[] sweep = {0};
        int found = run(tuner, 2, 150, lookAhead -> {
            long normal = lookAhead == 2 ? 1_000_000L : 1_100_000L;
            return sweep[0]++ % 7 == 0 ? 10 * normal : normal;
        });
        assertThat(found).isEqualTo(2);
    }

    @Test
    void rollsBackWhenTheNumberOfTokensChangesDuringATrial() {
        Tuner tuner = new Tuner(1, 4);
        int now = 1;
        for (int i = 0; now == 1 && i < 100; i++) {
            now = tuner.sweepTook(1_000_000, 1);
        }
        assertThat(now).isEqualTo(2);
        assertThat(tuner.sweepTook(1_000_000, 5)).isEqualTo(1);
    }

    @Test
    void looksAgainAfterARest() {
        Tuner tuner = new Tuner(2, 4);
        assertThat(run(tuner, 2, 100, lookAhead -> 1_000_000L)).isEqualTo(2);
        int found = run(tuner, 2, 2 * Tuner.RESTING_SWEEPS, lookAhead -> 1_000_000L - 100_000L * lookAhead);
        assertThat(found).isEqualTo(4);
    }

    @Test
    void worksOnRealWeightsWithinTheSlots() {
        TestModel model = TestModel.dense(2, 4);
        try (StreamingWeights weights = StreamingWeights.open(
                model.plan(4, 0, 0, b -> Residency.STREAMED),
                Devices.of(new TestDevice()),
                new TestReader(model.fileSize),
                List.of(),
                StreamingOptions.DEFAULT.withTune(true),
                (done, total) -> {})) {
            for (int i = 0; i < 60; i++) {
                weights.beginSweep(Regime.DECODE, 1);
                for (WeightBlock block : model.blocks) {
                    try (WeightLease lease = weights.acquire(block)) {
                        assertThat(TestModel.firstDifference(lease)).isNull();
                    }
                }
                weights.endSweep();
                assertThat(weights.lookAheadBlocks()).isBetween(1, 3);
            }
        }
    }
}
