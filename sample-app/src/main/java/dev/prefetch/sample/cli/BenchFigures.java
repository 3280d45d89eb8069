package dev.prefetch.sample.cli;

import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.Regime;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.ToDoubleFunction;
import java.util.function.ToLongFunction;

/** What several runs of one kind gave. */
final class BenchFigures {

    private final Regime regime;
    private final int tokens;
    private final List<Double> speeds = new ArrayList<>();
    private final List<PrefetchStatistics> transfers = new ArrayList<>();

    BenchFigures(Regime regime, int tokens) {
        this.regime = regime;
        this.tokens = tokens;
    }

    /** The sweeps these figures are about. */
    Regime regime() {
        return regime;
    }

    void addSpeed(double tokensPerSecond) {
        speeds.add(tokensPerSecond);
    }

    void addTransfers(PrefetchStatistics statistics) {
        transfers.add(statistics);
    }

    Map<String, Object> tokensPerSecond() {
        return Map.of("median", median(speeds), "runs", List.copyOf(speeds));
    }

    /** Medians over the runs. */
    Map<String, Object> transfers() {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put(
                "bytesByTier",
                Map.of("DISK", count(PrefetchStatistics::diskBytes), "HOST", count(PrefetchStatistics::hostBytes)));
        map.put("sweepNanos", count(PrefetchStatistics::sweepNanos));
        map.put("computeNanos", count(PrefetchStatistics::computeNanos));
        map.put("stallNanos", count(PrefetchStatistics::stallNanos));
        map.put("linkBusyNanos", count(PrefetchStatistics::linkBusyNanos));
        map.put("linkBytesPerSecond", middle(PrefetchStatistics::linkBytesPerSecond));
        map.put("overlapEfficiency", middle(PrefetchStatistics::overlapEfficiency));
        map.put("rooflineFraction", middle(PrefetchStatistics::rooflineFraction));
        map.put("expertHitRate", middle(PrefetchStatistics::expertHitRate));
        return map;
    }

    /** Two or three lines for people. */
    String describe() {
        String name = regime.name().toLowerCase(Locale.ROOT);
        if (speeds.isEmpty()) {
            return String.format(Locale.ROOT, "%-8s not measured%n", name);
        }
        String runs = String.join(
                " ",
                speeds.stream().map(v -> String.format(Locale.ROOT, "%.2f", v)).toList());
        String text = String.format(
                Locale.ROOT, "%-8s %d tokens: median %.2f tokens/s (%s)%n", name, tokens, median(speeds), runs);
        if (count(PrefetchStatistics::diskBytes) > 0) {
            text += String.format(
                    Locale.ROOT,
                    "%8s %.1f MiB from disk at %.0f MB/s, compute %.2f s, stall %.2f s, overlap efficiency %.3f,"
                            + " roofline fraction %.3f%s%n",
                    "",
                    count(PrefetchStatistics::diskBytes) / (double) (1 << 20),
                    middle(PrefetchStatistics::linkBytesPerSecond) / 1e6,
                    count(PrefetchStatistics::computeNanos) / 1e9,
                    count(PrefetchStatistics::stallNanos) / 1e9,
                    middle(PrefetchStatistics::overlapEfficiency),
                    middle(PrefetchStatistics::rooflineFraction),
                    middle(PrefetchStatistics::expertHitRate) > 0
                            ? String.format(
                                    Locale.ROOT, ", expert hit rate %.3f", middle(PrefetchStatistics::expertHitRate))
                            : "");
        }
        return text;
    }

    private long count(ToLongFunction<PrefetchStatistics> figure) {
        return Math.round(middle(figure::applyAsLong));
    }

    private double middle(ToDoubleFunction<PrefetchStatistics> figure) {
        return median(transfers.stream().map(figure::applyAsDouble).toList());
    }

    static double median(List<Double> values) {
        double[] sorted =
                values.stream().mapToDouble(Double::doubleValue).sorted().toArray();
        int middle = sorted.length / 2;
        if (sorted.length == 0) {
            return 0;
        }
        return sorted.length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
    }
}
