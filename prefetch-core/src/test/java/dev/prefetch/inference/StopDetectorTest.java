package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class StopDetectorTest {

    @Test
    void passesTextThroughWhenThereIsNothingToStopAt() {
        StopDetector detector = new StopDetector(List.of());
        assertThat(detector.accept("hello")).isEqualTo("hello");
        assertThat(detector.flush()).isEmpty();
        assertThat(detector.stopped()).isFalse();
    }

    @Test
    void stopsAtASequenceThatSpansPieces() {
        StopDetector detector = new StopDetector(List.of("END."));
        assertThat(detector.accept("abcE")).isEqualTo("abc");
        assertThat(detector.accept("ND")).isEmpty();
        assertThat(detector.accept(".xyz")).isEmpty();
        assertThat(detector.stopped()).isTrue();
        assertThat(detector.accept("more")).isEmpty();
        assertThat(detector.flush()).isEmpty();
    }

    @Test
    void releasesHeldTextOnceItCannotBeAStop() {
        StopDetector detector = new StopDetector(List.of("ENDE"));
        assertThat(detector.accept("xEND")).isEqualTo("x");
        assertThat(detector.accept("!")).isEqualTo("END!");
    }

    @Test
    void releasesHeldTextAtTheEnd() {
        StopDetector detector = new StopDetector(List.of("\n\n"));
        assertThat(detector.accept("a\n")).isEqualTo("a");
        assertThat(detector.flush()).isEqualTo("\n");
    }

    @Test
    void takesTheEarliestOfSeveralSequences() {
        StopDetector detector = new StopDetector(List.of("zz", "b"));
        assertThat(detector.accept("abzz")).isEqualTo("a");
        assertThat(detector.stopped()).isTrue();
    }

    @Test
    void givesTheTextBeforeTheFirstStopForEverySplitting() {
        long seed = 11;
        Random random = new Random(seed);
        for (int round = 0; round < 2_000; round++) {
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < 30; i++) {
                text.append((char) ('a' + random.nextInt(3)));
            }
            List<String> stops = List.of("abca", "cc", "bab");
            int expectedEnd = stops.stream()
                    .mapToInt(text.toString()::indexOf)
                    .filter(at -> at >= 0)
                    .min()
                    .orElse(-1);
            StopDetector detector = new StopDetector(stops);
            StringBuilder emitted = new StringBuilder();
            for (int at = 0; at < text.length(); ) {
                int next = Math.min(text.length(), at + 1 + random.nextInt(4));
                emitted.append(detector.accept(text.substring(at, next)));
                at = next;
            }
            emitted.append(detector.flush());
            assertThat(detector.stopped()).as("seed %d round %d", seed, round).isEqualTo(expectedEnd >= 0);
            // Several stops in one piece: what was emitted ends at a stop and holds none.
            String prefix = emitted.toString();
            assertThat(text.toString()).startsWith(prefix);
            if (expectedEnd < 0) {
                assertThat(prefix).isEqualTo(text.toString());
            } else {
                assertThat(stops).noneMatch(prefix::contains);
                assertThat(stops).anyMatch(stop -> text.toString().startsWith(stop, prefix.length()));
            }
        }
    }
}
