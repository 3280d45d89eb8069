package dev.prefetch.grammar;

import dev.prefetch.grammar.Expr.Rule;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The parts that JSON texts (RFC 8259) consist of, and JSON values as texts. */
final class JsonTexts {

    /** Digits a number may have in front of and behind the point: more are no use and models repeat themselves. */
    static final int DIGITS = 15;

    /** Space between tokens: none, a blank, or a new line with at most 20 blanks. */
    static final Expr SPACE = Expr.ref(
            "space",
            Expr.choice(Expr.EMPTY, Expr.text(" "), Expr.seq(Expr.text("\n"), Expr.repeat(Expr.text(" "), 0, 20))));

    /** Space behind a colon. */
    private static final Expr BLANK = Expr.optional(Expr.text(" "));

    static final Expr DIGIT = Expr.range('0', '9');

    /** One character of a string: one Unicode scalar value, as it is or escaped. Surrogates cannot be escaped alone. */
    static final Expr CHARACTER = Expr.ref("character", character());

    static final Expr STRING = Expr.ref("string", Expr.seq(Expr.text("\""), new Expr.Star(CHARACTER), Expr.text("\"")));

    static final Expr BOOLEAN = Expr.ref("boolean", Expr.choice(Expr.text("true"), Expr.text("false")));

    static final Expr NULL = Expr.text("null");

    static final Expr INTEGER = Expr.ref(
            "integer",
            Expr.seq(
                    Expr.optional(Expr.text("-")),
                    Expr.choice(Expr.text("0"), Expr.seq(Expr.range('1', '9'), Expr.repeat(DIGIT, 0, DIGITS - 1)))));

    static final Expr NUMBER = Expr.ref(
            "number",
            Expr.seq(
                    INTEGER,
                    Expr.optional(Expr.seq(Expr.text("."), Expr.repeat(DIGIT, 1, DIGITS))),
                    Expr.optional(Expr.seq(
                            Expr.choice(Expr.text("e"), Expr.text("E")),
                            Expr.optional(Expr.choice(Expr.text("+"), Expr.text("-"))),
                            Expr.repeat(DIGIT, 1, 2)))));

    private static final Rule VALUE = new Rule("value");
    private static final Expr OBJECT = Expr.ref("object", object(anyMembers(0, -1, new Expr.Ref(VALUE))));

    /** Any JSON value. */
    static final Expr ANY = new Expr.Ref(VALUE);

    static {
        VALUE.define(Expr.choice(OBJECT, array(ANY, 0, -1), STRING, NUMBER, BOOLEAN, NULL));
    }

    private JsonTexts() {}

    static Expr anyObject() {
        return OBJECT;
    }

    private static Expr character() {
        Expr continuation = Expr.range(0x80, 0xBF);
        Expr hex = Expr.choice(DIGIT, Expr.range('a', 'f'), Expr.range('A', 'F'));
        ByteSet plain = ByteSet.range(0x20, 0x7F).minus(ByteSet.of('"')).minus(ByteSet.of('\\'));
        Expr simpleEscape =
                Expr.choice("\"\\/bfnrt".chars().mapToObj(c -> Expr.range(c, c)).toList());
        Expr basicHex = Expr.choice(
                Expr.seq(
                        Expr.choice(
                                DIGIT,
                                Expr.range('a', 'c'),
                                Expr.range('e', 'f'),
                                Expr.range('A', 'C'),
                                Expr.range('E', 'F')),
                        hex),
                Expr.seq(Expr.choice(Expr.text("d"), Expr.text("D")), Expr.range('0', '7')));
        return Expr.choice(
                new Expr.Bytes(plain),
                Expr.seq(Expr.range(0xC2, 0xDF), continuation),
                Expr.seq(Expr.range(0xE0, 0xE0), Expr.range(0xA0, 0xBF), continuation),
                Expr.seq(Expr.range(0xE1, 0xEC), continuation, continuation),
                Expr.seq(Expr.range(0xED, 0xED), Expr.range(0x80, 0x9F), continuation),
                Expr.seq(Expr.range(0xEE, 0xEF), continuation, continuation),
                Expr.seq(Expr.range(0xF0, 0xF0), Expr.range(0x90, 0xBF), continuation, continuation),
                Expr.seq(Expr.range(0xF1, 0xF3), continuation, continuation, continuation),
                Expr.seq(Expr.range(0xF4, 0xF4), Expr.range(0x80, 0x8F), continuation, continuation),
                Expr.seq(Expr.text("\\"), Expr.choice(simpleEscape, Expr.seq(Expr.text("u"), basicHex, hex, hex))));
    }

    /** A string of a number of characters; {@code max} -1 for no limit. */
    static Expr string(int min, int max) {
        return min == 0 && max < 0
                ? STRING
                : Expr.seq(Expr.text("\""), Expr.repeat(CHARACTER, min, max), Expr.text("\""));
    }

    /** A string whose content is given. */
    static Expr string(Expr content) {
        return Expr.seq(Expr.text("\""), content, Expr.text("\""));
    }

    /** An object around its members. */
    static Expr object(Expr members) {
        return Expr.seq(Expr.text("{"), SPACE, members, Expr.text("}"));
    }

    /** A member, with the space behind it. */
    static Expr member(Expr name, Expr value) {
        return Expr.seq(name, Expr.text(":"), BLANK, value, SPACE);
    }

    /** Separator of members and of items. */
    static Expr comma() {
        return Expr.seq(Expr.text(","), SPACE);
    }

    /** Members of any name. */
    static Expr anyMembers(int min, int max, Expr value) {
        return list(Expr.ref("member", member(STRING, value)), min, max);
    }

    /** An array of items that are all alike. */
    static Expr array(Expr item, int min, int max) {
        return Expr.seq(Expr.text("["), SPACE, list(Expr.ref("item", Expr.seq(item, SPACE)), min, max), Expr.text("]"));
    }

    /** Parts between which commas stand. */
    static Expr list(Expr part, int min, int max) {
        if (max == 0) {
            return Expr.EMPTY;
        }
        Expr further = Expr.ref("further", Expr.seq(comma(), part));
        Expr some = Expr.seq(part, Expr.repeat(further, Math.max(0, min - 1), max < 0 ? -1 : max - 1));
        return min == 0 ? Expr.optional(some) : some;
    }

    /** Exactly a value. */
    static Expr value(@Nullable Object value) {
        return switch (value) {
            case null -> NULL;
            case String text -> Expr.text(quote(text));
            case Map<?, ?> map -> {
                List<Expr> members = new ArrayList<>();
                map.forEach((name, item) -> {
                    if (!members.isEmpty()) {
                        members.add(comma());
                    }
                    members.add(member(Expr.text(quote((String) name)), value(item)));
                });
                yield object(new Expr.Sequence(members));
            }
            case List<?> list -> {
                List<Expr> parts = new ArrayList<>(List.of(Expr.text("["), SPACE));
                for (int i = 0; i < list.size(); i++) {
                    if (i > 0) {
                        parts.add(comma());
                    }
                    parts.add(value(list.get(i)));
                    parts.add(SPACE);
                }
                parts.add(Expr.text("]"));
                yield new Expr.Sequence(parts);
            }
            default -> Expr.text(value.toString());
        };
    }

    /** A string as JSON writes it. */
    static String quote(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            switch (c) {
                case '"' -> quoted.append("\\\"");
                case '\\' -> quoted.append("\\\\");
                case '\n' -> quoted.append("\\n");
                case '\r' -> quoted.append("\\r");
                case '\t' -> quoted.append("\\t");
                default -> {
                    if (c < 0x20 || Character.isSurrogate(c) && !isPaired(text, i)) {
                        quoted.append("\\u%04x".formatted((int) c));
                    } else {
                        quoted.append(c);
                    }
                }
            }
        }
        return quoted.append('"').toString();
    }

    private static boolean isPaired(String text, int at) {
        char c = text.charAt(at);
        return Character.isHighSurrogate(c)
                ? at + 1 < text.length() && Character.isLowSurrogate(text.charAt(at + 1))
                : at > 0 && Character.isHighSurrogate(text.charAt(at - 1));
    }
}
