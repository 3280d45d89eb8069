package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class PairMergerTest {

    @Test
    void mergesLikeTheDefinition() {
        long seed = 7;
        Random random = new Random(seed);
        for (int round = 0; round < 3000; round++) {
            TableMerger merger = new TableMerger(random, 2 + random.nextInt(12));
            List<Integer> symbols =
                    random.ints(random.nextInt(40), 0, merger.alphabet).boxed().toList();
            assertThat(merger.merge(symbols))
                    .as("seed %d, round %d", seed, round)
                    .isEqualTo(merger.naive(symbols));
        }
    }

    @Test
    void looksAtEachPairAConstantNumberOfTimes() {
        TableMerger merger = new TableMerger(new Random(1), 2);
        int size = 1_000_000;
        merger.reserve(size);
        for (int i = 0; i < size; i++) {
            merger.set(i, 0);
        }
        merger.run(size);
        assertThat(merger.calls).isBetween((long) size - 1, 3L * size);
    }

    /** Merges by a random table; equal priorities are frequent. */
    private static final class TableMerger extends PairMerger {

        private final int alphabet;
        private final long[][] table;
        private long calls;

        TableMerger(Random random, int alphabet) {
            this.alphabet = alphabet;
            this.table = new long[alphabet][alphabet];
            for (long[] row : table) {
                for (int i = 0; i < alphabet; i++) {
                    int priority = random.nextInt(-3, 8);
                    row[i] = random.nextInt(4) == 0 ? NONE : (long) priority << 32 | random.nextInt(alphabet);
                }
            }
        }

        @Override
        protected long merge(int left, int right, int end) {
            calls++;
            return table[symbol(left)][symbol(right)];
        }

        List<Integer> merge(List<Integer> symbols) {
            reserve(symbols.size());
            for (int i = 0; i < symbols.size(); i++) {
                set(i, symbols.get(i));
            }
            run(symbols.size());
            List<Integer> result = new ArrayList<>();
            for (int i = 0; i < symbols.size(); i = next(i)) {
                result.add(symbol(i));
            }
            return result;
        }

        List<Integer> naive(List<Integer> symbols) {
            List<Integer> result = new ArrayList<>(symbols);
            while (true) {
                int best = -1;
                for (int i = 0; i + 1 < result.size(); i++) {
                    long merge = table[result.get(i)][result.get(i + 1)];
                    if (merge != NONE
                            && (best < 0 || merge >> 32 < table[result.get(best)][result.get(best + 1)] >> 32)) {
                        best = i;
                    }
                }
                if (best < 0) {
                    return result;
                }
                result.set(best, (int) table[result.get(best)][result.get(best + 1)]);
                result.remove(best + 1);
            }
        }
    }
}
