package dev.prefetch.prefetch;

import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;

/**
 * What was measured of the link from the host's memory to a device's.
 *
 * @param pageLocked rates from page-locked memory, by the size of a copy, smallest first
 * @param pageable rates from memory that is not page-locked
 */
public record LinkReport(List<Rate> pageLocked, List<Rate> pageable) {

    /**
     * @param copyBytes bytes of one copy
     * @param bytesPerSecond of such copies, one behind the other
     */
    public record Rate(long copyBytes, double bytesPerSecond) {}

    public LinkReport {
        pageLocked = List.copyOf(pageLocked);
        pageable = List.copyOf(pageable);
        if (pageLocked.isEmpty()) {
            throw new IllegalArgumentException("nothing was measured");
        }
    }

    /** The highest rate that copies reached. */
    public double bytesPerSecond() {
        return pageLocked.stream().mapToDouble(Rate::bytesPerSecond).max().orElseThrow();
    }

    /** The rate of copies of about this size from page-locked memory: of the largest measured that is no larger. */
    public double bytesPerSecond(long copyBytes) {
        return pageLocked.stream()
                .filter(rate -> rate.copyBytes() <= copyBytes)
                .max(Comparator.comparingLong(Rate::copyBytes))
                .orElse(pageLocked.getFirst())
                .bytesPerSecond();
    }

    /** The report in a line. */
    public String describe() {
        return "page-locked " + describe(pageLocked) + (pageable.isEmpty() ? "" : "; pageable " + describe(pageable));
    }

    private static String describe(List<Rate> rates) {
        return rates.stream()
                .map(rate -> String.format(
                        Locale.ROOT, "%.2f GB/s at %d KiB", rate.bytesPerSecond() / 1e9, rate.copyBytes() >> 10))
                .collect(Collectors.joining(", "));
    }
}
