package dev.prefetch.grammar;

import dev.prefetch.grammar.Expr.Rule;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Reads GBNF: rules {@code name ::= ...} of texts, character classes, groups, alternatives and repetitions; {@code #}
 * begins a comment. The first rule to look at is {@code root}. A rule goes on over several lines inside parentheses and
 * after {@code |}.
 */
final class GbnfParser {

    private static final int MAX_REPETITIONS = 4096;
    private static final int MAX_DEPTH = 200;
    private static final int LAST_CODE_POINT = 0x10FFFF;

    private final String source;
    private final Map<String, Rule> rules = new LinkedHashMap<>();
    private final Set<String> defined = new HashSet<>();
    private int at;

    GbnfParser(String source) {
        this.source = source;
    }

    Expr parse() {
        skipSpace(true);
        while (at < source.length()) {
            String name = name();
            skipSpace(false);
            if (!source.startsWith("::=", at)) {
                throw error("'::=' expected");
            }
            at += 3;
            skipSpace(true);
            if (!defined.add(name)) {
                throw error("the rule '" + name + "' is defined twice");
            }
            rule(name).define(alternatives(false, 0));
            skipSpace(true);
        }
        rules.keySet().stream()
                .filter(name -> !defined.contains(name))
                .findFirst()
                .ifPresent(name -> {
                    throw new IllegalArgumentException("GBNF: the rule '" + name + "' is used, but not defined");
                });
        if (!defined.contains("root")) {
            throw new IllegalArgumentException("GBNF: there is no rule 'root'");
        }
        return new Expr.Ref(rule("root"));
    }

    private Rule rule(String name) {
        return rules.computeIfAbsent(name, Rule::new);
    }

    private Expr alternatives(boolean inGroup, int depth) {
        if (depth > MAX_DEPTH) {
            throw error("groups nest deeper than " + MAX_DEPTH);
        }
        List<Expr> options = new ArrayList<>();
        options.add(sequence(inGroup, depth));
        while (at < source.length() && source.charAt(at) == '|') {
            at++;
            skipSpace(true);
            options.add(sequence(inGroup, depth));
        }
        return Expr.choice(options);
    }

    private Expr sequence(boolean inGroup, int depth) {
        List<Expr> parts = new ArrayList<>();
        while (at < source.length()) {
            char c = source.charAt(at);
            if (c == '|' || c == ')' || c == '\n' || c == '\r') {
                break;
            }
            parts.add(repeated(item(depth)));
            skipSpace(inGroup);
        }
        return new Expr.Sequence(parts);
    }

    private Expr item(int depth) {
        char c = source.charAt(at);
        if (c == '"') {
            return literal();
        } else if (c == '[') {
            return characterClass();
        } else if (c == '.') {
            at++;
            return codePoints(List.of(new int[] {0, LAST_CODE_POINT}));
        } else if (c == '(') {
            at++;
            skipSpace(true);
            Expr group = alternatives(true, depth + 1);
            if (at >= source.length() || source.charAt(at) != ')') {
                throw error("')' expected");
            }
            at++;
            return group;
        }
        return new Expr.Ref(rule(name()));
    }

    private Expr repeated(Expr item) {
        if (at >= source.length()) {
            return item;
        }
        return switch (source.charAt(at)) {
            case '*' -> counted(item, 0, -1);
            case '+' -> counted(item, 1, -1);
            case '?' -> counted(item, 0, 1);
            case '{' -> {
                int close = source.indexOf('}', at);
                String[] limits = close < 0
                        ? new String[0]
                        : source.substring(at + 1, close).split(",", -1);
                if (limits.length < 1 || limits.length > 2) {
                    throw error("a repetition is {n}, {n,} or {n,m}");
                }
                int min = number(limits[0].isBlank() && limits.length == 2 ? "0" : limits[0]);
                int max = limits.length == 1 ? min : limits[1].isBlank() ? -1 : number(limits[1]);
                if (max >= 0 && max < min) {
                    throw error("a repetition of at least " + min + " and at most " + max);
                }
                at = close;
                yield counted(item, min, max);
            }
            default -> item;
        };
    }

    private Expr counted(Expr item, int min, int max) {
        at++;
        return Expr.repeat(Expr.ref("repeated", item), min, max);
    }

    private int number(String text) {
        String digits = text.strip();
        if (!digits.matches("\\d{1,6}") || Integer.parseInt(digits) > MAX_REPETITIONS) {
            throw error("a repetition must be a number of at most " + MAX_REPETITIONS);
        }
        return Integer.parseInt(digits);
    }

    private Expr literal() {
        at++;
        StringBuilder text = new StringBuilder();
        while (peek("'\"'") != '"') {
            text.appendCodePoint(character());
        }
        at++;
        return Expr.text(text.toString());
    }

    private Expr characterClass() {
        at++;
        boolean negated = peek("']'") == '^';
        if (negated) {
            at++;
        }
        List<int[]> ranges = new ArrayList<>();
        while (peek("']'") != ']') {
            int from = character();
            int to = from;
            if (source.startsWith("-", at) && !source.startsWith("-]", at)) {
                at++;
                peek("a character");
                to = character();
            }
            if (to < from) {
                throw error("a range of characters that ends before it begins");
            }
            ranges.add(new int[] {from, to});
        }
        at++;
        if (ranges.isEmpty() && !negated) {
            throw error("a class of no characters");
        }
        return codePoints(negated ? complement(ranges) : ranges);
    }

    private static List<int[]> complement(List<int[]> ranges) {
        List<int[]> sorted = new ArrayList<>(ranges);
        sorted.sort((a, b) -> Integer.compare(a[0], b[0]));
        List<int[]> result = new ArrayList<>();
        int next = 0;
        for (int[] range : sorted) {
            if (range[0] > next) {
                result.add(new int[] {next, range[0] - 1});
            }
            next = Math.max(next, range[1] + 1);
        }
        if (next <= LAST_CODE_POINT) {
            result.add(new int[] {next, LAST_CODE_POINT});
        }
        return result;
    }

    private Expr codePoints(List<int[]> ranges) {
        List<Expr> options = new ArrayList<>();
        for (int[] range : ranges) {
            addUtf8(options, range[0], range[1]);
        }
        if (options.isEmpty()) {
            throw error("a class of no characters");
        }
        return Expr.choice(options);
    }

    /** The UTF-8 of a range of characters: cut where the length changes, then where only last bytes differ. */
    private static void addUtf8(List<Expr> options, int from, int to) {
        int[][] pieces = {{0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, LAST_CODE_POINT}};
        for (int[] piece : pieces) {
            int least = Math.max(from, piece[0]);
            int most = Math.min(to, piece[1]);
            if (least <= most) {
                addSameLength(options, least, most);
            }
        }
    }

    private static void addSameLength(List<Expr> options, int from, int to) {
        byte[] low = utf8(from);
        for (int trailing = 1; trailing < low.length; trailing++) {
            int mask = (1 << 6 * trailing) - 1;
            if ((from & ~mask) != (to & ~mask)) {
                if ((from & mask) != 0) {
                    addSameLength(options, from, from | mask);
                    addSameLength(options, (from | mask) + 1, to);
                    return;
                }
                if ((to & mask) != mask) {
                    addSameLength(options, from, (to & ~mask) - 1);
                    addSameLength(options, to & ~mask, to);
                    return;
                }
            }
        }
        byte[] high = utf8(to);
        List<Expr> bytes = new ArrayList<>();
        for (int i = 0; i < low.length; i++) {
            bytes.add(Expr.range(low[i] & 0xff, high[i] & 0xff));
        }
        options.add(new Expr.Sequence(bytes));
    }

    private static byte[] utf8(int codePoint) {
        return Character.toString(codePoint).getBytes(StandardCharsets.UTF_8);
    }

    private int character() {
        int c = source.codePointAt(at);
        at += Character.charCount(c);
        if (c != '\\') {
            return c;
        }
        char escaped = peek("an escaped character");
        at++;
        return switch (escaped) {
            case 'n' -> '\n';
            case 'r' -> '\r';
            case 't' -> '\t';
            case 'x' -> hex(2);
            case 'u' -> hex(4);
            case 'U' -> hex(8);
            case '"', '\\', '[', ']', '-', '^' -> escaped;
            default -> throw error("unknown escape '\\" + escaped + "'");
        };
    }

    private int hex(int digits) {
        if (at + digits > source.length() || !source.substring(at, at + digits).matches("[0-9a-fA-F]+")) {
            throw error(digits + " hexadecimal digits expected");
        }
        long value = Long.parseLong(source, at, at + digits, 16);
        at += digits;
        if (value > LAST_CODE_POINT || value >= Character.MIN_SURROGATE && value <= Character.MAX_SURROGATE) {
            throw error("there is no such character");
        }
        return (int) value;
    }

    private String name() {
        int from = at;
        while (at < source.length()
                && (source.charAt(at) == '-'
                        || source.charAt(at) == '_'
                        || source.charAt(at) < 128 && Character.isLetterOrDigit(source.charAt(at)))) {
            at++;
        }
        if (at == from) {
            throw error("a rule's name expected");
        }
        return source.substring(from, at);
    }

    private char peek(String expected) {
        if (at >= source.length()) {
            throw error(expected + " expected");
        }
        return source.charAt(at);
    }

    private void skipSpace(boolean newLines) {
        while (at < source.length()) {
            char c = source.charAt(at);
            if (c == '#') {
                int end = source.indexOf('\n', at);
                at = end < 0 ? source.length() : end;
            } else if (c == ' ' || c == '\t' || newLines && (c == '\n' || c == '\r')) {
                at++;
            } else {
                return;
            }
        }
    }

    private IllegalArgumentException error(String what) {
        int line = (int) source.substring(0, Math.min(at, source.length()))
                        .chars()
                        .filter(c -> c == '\n')
                        .count()
                + 1;
        return new IllegalArgumentException("GBNF, line " + line + ": " + what);
    }
}
