package dev.prefetch.prefetch;

import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * An amount of memory as users write it: bytes, or a share of something.
 *
 * @param bytes bytes, or -1 when it is a share
 * @param share share of the whole between 0 and 1; 0 when it is in bytes
 */
public record MemoryAmount(long bytes, double share) {

    private static final Pattern FORM = Pattern.compile("(\\d+(?:\\.\\d+)?)\\s*([a-zA-Z%]*)");

    /**
     * Reads {@code 3GiB}, {@code 512MB}, {@code 1.5g}, {@code 1048576} or {@code 40%}. As in Spring's data sizes, KB, MB,
     * GB and TB are powers of 1024.
     *
     * @throws IllegalArgumentException when the text has no such form
     */
    public static MemoryAmount parse(String text) {
        Matcher matcher = FORM.matcher(text.strip());
        if (!matcher.matches()) {
            throw unreadable(text);
        }
        double number = Double.parseDouble(matcher.group(1));
        String unit = matcher.group(2).toLowerCase(Locale.ROOT);
        if (unit.equals("%")) {
            if (number > 100) {
                throw unreadable(text);
            }
            return new MemoryAmount(-1, number / 100);
        }
        int shift = switch (unit) {
            case "", "b" -> 0;
            case "k", "kb", "kib" -> 10;
            case "m", "mb", "mib" -> 20;
            case "g", "gb", "gib" -> 30;
            case "t", "tb", "tib" -> 40;
            default -> throw unreadable(text);
        };
        double bytes = number * (1L << shift);
        if (bytes >= Long.MAX_VALUE) {
            throw unreadable(text);
        }
        return new MemoryAmount((long) bytes, 0);
    }

    private static IllegalArgumentException unreadable(String text) {
        return new IllegalArgumentException("'" + text + "' is not an amount of memory such as 3GiB, 512MB or 40%");
    }

    /** The bytes it stands for, given the whole of which it may be a share. */
    public long of(long whole) {
        return bytes >= 0 ? bytes : (long) (share * whole);
    }

    /** In a form that {@link #parse} reads. */
    @Override
    public String toString() {
        return bytes >= 0 ? bytes + "B" : 100 * share + "%";
    }
}
