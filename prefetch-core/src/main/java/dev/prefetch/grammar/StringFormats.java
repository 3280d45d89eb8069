package dev.prefetch.grammar;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The formats of strings that JSON schema names (draft 2020-12, validation, 7.3), as far as they can be enforced. */
final class StringFormats {

    private static final Expr HEX = Expr.choice(JsonTexts.DIGIT, Expr.range('a', 'f'), Expr.range('A', 'F'));

    private static final Expr DATE = Expr.ref("date", date());
    private static final Expr TIME = Expr.ref("time", time());

    private static final Map<String, Expr> FORMATS = Map.of(
            "date", DATE,
            "time", TIME,
            "date-time", Expr.seq(DATE, Expr.text("T"), TIME),
            "uuid", uuid(),
            "ipv4", ipv4(),
            "email", email());

    /** Formats of the standard that are not enforced here; a schema that asks for one is refused. */
    private static final Set<String> UNSUPPORTED = Set.of(
            "duration",
            "hostname",
            "idn-email",
            "idn-hostname",
            "ipv6",
            "iri",
            "iri-reference",
            "json-pointer",
            "regex",
            "relative-json-pointer",
            "uri",
            "uri-reference",
            "uri-template");

    private StringFormats() {}

    /** Whether the standard names the format and it cannot be enforced. */
    static boolean isUnsupported(String format) {
        return UNSUPPORTED.contains(format);
    }

    /** The content of a string of that format, or null for a format that the standard does not name: an annotation. */
    static @Nullable Expr content(String format) {
        return FORMATS.get(format);
    }

    private static Expr digits(int count) {
        return Expr.repeat(JsonTexts.DIGIT, count, count);
    }

    private static Expr twoDigits(int from, int to) {
        List<Expr> options = new ArrayList<>();
        for (int tens = from / 10; tens <= to / 10; tens++) {
            int least = Math.max(from, tens * 10) % 10;
            int most = Math.min(to, tens * 10 + 9) % 10;
            options.add(Expr.seq(Expr.text(String.valueOf(tens)), Expr.range('0' + least, '0' + most)));
        }
        return Expr.choice(options);
    }

    private static Expr texts(String... texts) {
        return Expr.choice(java.util.Arrays.stream(texts).map(Expr::text).toList());
    }

    /** RFC 3339, full-date, leap years included. */
    private static Expr date() {
        Expr monthAndDay = Expr.choice(
                Expr.seq(texts("01", "03", "05", "07", "08", "10", "12"), Expr.text("-"), twoDigits(1, 31)),
                Expr.seq(texts("04", "06", "09", "11"), Expr.text("-"), twoDigits(1, 30)),
                Expr.seq(Expr.text("02-"), twoDigits(1, 28)));
        List<Expr> leapCenturies = new ArrayList<>();
        List<Expr> leapYears = new ArrayList<>();
        for (int i = 0; i < 100; i += 4) {
            String two = "%02d".formatted(i);
            leapCenturies.add(Expr.text(two));
            if (i > 0) {
                leapYears.add(Expr.text(two));
            }
        }
        Expr leapYear = Expr.choice(
                Expr.seq(digits(2), Expr.choice(leapYears)), Expr.seq(Expr.choice(leapCenturies), Expr.text("00")));
        return Expr.choice(Expr.seq(digits(4), Expr.text("-"), monthAndDay), Expr.seq(leapYear, Expr.text("-02-29")));
    }

    /** RFC 3339, full-time, without leap seconds and with the offsets that are in use. */
    private static Expr time() {
        return Expr.seq(
                twoDigits(0, 23),
                Expr.text(":"),
                twoDigits(0, 59),
                Expr.text(":"),
                twoDigits(0, 59),
                Expr.optional(Expr.seq(Expr.text("."), Expr.repeat(JsonTexts.DIGIT, 1, 9))),
                Expr.choice(
                        Expr.text("Z"), Expr.seq(texts("+", "-"), twoDigits(0, 14), Expr.text(":"), twoDigits(0, 59))));
    }

    private static Expr uuid() {
        Expr dash = Expr.text("-");
        Expr four = Expr.repeat(HEX, 4, 4);
        return Expr.seq(Expr.repeat(HEX, 8, 8), dash, four, dash, four, dash, four, dash, Expr.repeat(HEX, 12, 12));
    }

    private static Expr ipv4() {
        Expr octet = Expr.choice(
                JsonTexts.DIGIT,
                twoDigits(10, 99),
                Expr.seq(Expr.text("1"), digits(2)),
                Expr.seq(Expr.text("2"), twoDigits(0, 55)));
        Expr dot = Expr.text(".");
        return Expr.seq(octet, dot, octet, dot, octet, dot, octet);
    }

    /** The common form of an address: a part of what RFC 5321 allows. */
    private static Expr email() {
        Expr letter = Expr.choice(Expr.range('a', 'z'), Expr.range('A', 'Z'), JsonTexts.DIGIT);
        Expr local = Expr.choice(letter, Expr.text("_"), Expr.text("+"), Expr.text("-"));
        Expr label = Expr.seq(letter, Expr.repeat(letter, 0, 30));
        return Expr.seq(
                Expr.repeat(local, 1, 30),
                Expr.repeat(Expr.seq(Expr.text("."), Expr.repeat(local, 1, 15)), 0, 1),
                Expr.text("@"),
                label,
                Expr.repeat(Expr.seq(Expr.text("."), label), 0, 2),
                Expr.text("."),
                Expr.repeat(Expr.range('a', 'z'), 2, 6));
    }
}
