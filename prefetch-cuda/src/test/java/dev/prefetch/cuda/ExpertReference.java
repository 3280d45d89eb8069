package dev.prefetch.cuda;

import dev.prefetch.backend.ExpertChoice;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** The choice of experts by its definition. */
final class ExpertReference {

    private ExpertReference() {}

    record Pick(int expert, double weight) {}

    /** What {@link ExpertChoice} says, by sorting. */
    static List<Pick> choose(ExpertChoice how, float[] scores, float @Nullable [] bias) {
        double most = IntStream.range(0, scores.length)
                .mapToDouble(i -> scores[i])
                .max()
                .orElseThrow();
        double[] p = new double[scores.length];
        for (int i = 0; i < p.length; i++) {
            p[i] = how.sigmoid() ? 1 / (1 + Math.exp(-scores[i])) : Math.exp(scores[i] - most);
        }
        double all = how.sigmoid() ? 1 : Arrays.stream(p).sum();
        double[] ranks = new double[p.length];
        for (int i = 0; i < p.length; i++) {
            p[i] /= all;
            ranks[i] = p[i] + (bias == null ? 0 : bias[i]);
        }
        int size = how.experts() / how.groups();
        Comparator<Integer> byScore =
                Comparator.comparingDouble(group -> -IntStream.range(group * size, group * size + size)
                        .mapToObj(i -> ranks[i])
                        .sorted(Comparator.reverseOrder())
                        .limit(how.sigmoid() ? 2 : 1)
                        .mapToDouble(r -> r)
                        .sum());
        List<Integer> groups = IntStream.range(0, how.groups())
                .boxed()
                .sorted(byScore)
                .limit(how.groupsUsed())
                .toList();
        List<Integer> chosen = IntStream.range(0, how.experts())
                .boxed()
                .filter(i -> groups.contains(i / size))
                .sorted(Comparator.comparingDouble(i -> -ranks[i]))
                .limit(how.used())
                .toList();
        double sum = chosen.stream().mapToDouble(i -> p[i]).sum();
        return chosen.stream()
                .sorted()
                .map(i -> new Pick(i, (how.normalised() ? p[i] / sum : p[i]) * how.scale()))
                .toList();
    }
}
