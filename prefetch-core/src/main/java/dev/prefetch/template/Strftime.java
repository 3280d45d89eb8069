package dev.prefetch.template;

import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** {@code strftime} in the C locale. */
final class Strftime {

    private Strftime() {}

    /** The time in the given format; a directive that does not exist stays as it is written. */
    static String format(String format, ZonedDateTime time) {
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < format.length(); i++) {
            char c = format.charAt(i);
            if (c != '%' || i + 1 == format.length()) {
                out.append(c);
                continue;
            }
            char directive = format.charAt(++i);
            // %-d, as glibc has it: without padding.
            boolean unpadded = directive == '-' && i + 1 < format.length();
            if (unpadded) {
                directive = format.charAt(++i);
            }
            String value = directive(directive, time);
            if (value == null) {
                out.append(unpadded ? "%-" : "%").append(directive);
            } else {
                out.append(unpadded ? value.replaceFirst("^[ 0]+(?=.)", "") : value);
            }
        }
        return out.toString();
    }

    private static @Nullable String directive(char directive, ZonedDateTime time) {
        return switch (directive) {
            case '%' -> "%";
            case 'n' -> "\n";
            case 't' -> "\t";
            case 'e' -> String.format("%2d", time.getDayOfMonth());
            case 'u' -> String.valueOf(time.getDayOfWeek().getValue());
            case 'w' -> String.valueOf(time.getDayOfWeek().getValue() % 7);
            case 's' -> String.valueOf(time.toEpochSecond());
            default -> {
                String pattern = pattern(directive);
                yield pattern == null
                        ? null
                        : DateTimeFormatter.ofPattern(pattern, Locale.ENGLISH).format(time);
            }
        };
    }

    private static @Nullable String pattern(char directive) {
        return switch (directive) {
            case 'a' -> "EEE";
            case 'A' -> "EEEE";
            case 'b', 'h' -> "MMM";
            case 'B' -> "MMMM";
            case 'c' -> "EEE MMM ppd HH:mm:ss uuuu";
            case 'd' -> "dd";
            case 'D', 'x' -> "MM/dd/yy";
            case 'f' -> "SSSSSS";
            case 'F' -> "uuuu-MM-dd";
            case 'H' -> "HH";
            case 'I' -> "hh";
            case 'j' -> "DDD";
            case 'm' -> "MM";
            case 'M' -> "mm";
            case 'p' -> "a";
            case 'R' -> "HH:mm";
            case 'S' -> "ss";
            case 'T', 'X' -> "HH:mm:ss";
            case 'y' -> "yy";
            case 'Y' -> "uuuu";
            case 'z' -> "xx";
            case 'Z' -> "zzz";
            default -> null;
        };
    }
}
