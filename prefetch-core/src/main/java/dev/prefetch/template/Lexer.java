package dev.prefetch.template;

import dev.prefetch.template.Token.Kind;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Cuts a template into tokens, with the white-space rules of Jinja under {@code trim_blocks} and {@code lstrip_blocks}:
 * one newline after a block or comment is dropped, and so is the indentation before it; {@code -} at either end of any
 * tag drops all white space on that side, {@code +} keeps it. The last newline of the source is dropped.
 */
final class Lexer {

    // Possessive throughout: a long literal must not make the matcher backtrack or recurse.
    private static final Pattern FLOAT = Pattern.compile(
            "(?<!\\.)DIGITS(?:(?:\\.DIGITS)?+[eE][+\\-]?DIGITS|\\.DIGITS)".replace("DIGITS", "(?:\\d++_)*+\\d++"));
    private static final Pattern INTEGER = Pattern.compile(
            "0[bB](?:_?[01])++|0[oO](?:_?[0-7])++|0[xX](?:_?[0-9a-fA-F])++|[1-9](?:_?\\d)*+|0(?:_?0)*+");
    private static final Pattern RAW_BEGIN = Pattern.compile("\\{%([-+]?)\\s*+raw\\s*+(-?)%}");
    private static final Pattern RAW_END = Pattern.compile("\\{%([-+]?)\\s*+endraw\\s*+([-+]?)%}");
    private static final Set<String> LONG_OPERATORS = Set.of("**", "//", "==", "!=", ">=", "<=");
    private static final String OPERATORS = "+-/*%~[](){}><=.:|,;";

    private final String source;
    private final int[] lineStarts;
    private final List<Token> tokens = new ArrayList<>();
    private int pos;
    /** Whether the text at {@link #pos} starts a line, so that white space before a block may be its indentation. */
    private boolean lineStarting = true;

    Lexer(String template) {
        String normalized = template.replace("\r\n", "\n").replace('\r', '\n');
        this.source = normalized.endsWith("\n") ? normalized.substring(0, normalized.length() - 1) : normalized;
        this.lineStarts = lineStarts(source);
    }

    List<Token> tokenize() {
        while (pos < source.length()) {
            lexText();
        }
        tokens.add(new Token(Kind.END, "", at(source.length())));
        return tokens;
    }

    /** Text up to the next tag, and the tag. */
    private void lexText() {
        int open = nextTag(pos);
        if (open < 0) {
            addData(pos, source.length());
            pos = source.length();
            return;
        }
        char type = source.charAt(open + 1);
        if (type == '%') {
            Matcher raw = RAW_BEGIN.matcher(source).region(open, source.length());
            if (raw.lookingAt()) {
                addData(pos, textEnd(open, signOf(raw.group(1)), true));
                lexRaw(open, raw);
                return;
            }
        }
        int start = open + 2;
        char sign = start < source.length() ? source.charAt(start) : ' ';
        if (sign == '-' || sign == '+') {
            start++;
        }
        addData(pos, textEnd(open, sign, type != '{'));
        pos = start;
        switch (type) {
            case '#' -> skipComment(open);
            case '%' -> lexTag(Kind.BLOCK_BEGIN, Kind.BLOCK_END, open);
            default -> lexTag(Kind.OUTPUT_BEGIN, Kind.OUTPUT_END, open);
        }
    }

    private int nextTag(int from) {
        for (int i = source.indexOf('{', from); i >= 0 && i + 1 < source.length(); i = source.indexOf('{', i + 1)) {
            char next = source.charAt(i + 1);
            if (next == '%' || next == '{' || next == '#') {
                return i;
            }
        }
        return -1;
    }

    /** Where the text before the tag at {@code open} ends once white-space control is applied. */
    private int textEnd(int open, char sign, boolean mayBeIndented) {
        if (sign == '-') {
            return PythonChars.skipSpaceBack(source, pos, open);
        }
        if (sign != '+' && mayBeIndented) {
            int lineStart = open;
            while (lineStart > pos && source.charAt(lineStart - 1) != '\n') {
                lineStart--;
            }
            boolean startsLine = lineStart > pos || lineStarting;
            if (startsLine && PythonChars.skipSpace(source, lineStart, open) == open) {
                return lineStart;
            }
        }
        return open;
    }

    private void lexRaw(int open, Matcher begin) {
        pos = begin.group(2).isEmpty() ? begin.end() : PythonChars.skipSpace(source, begin.end(), source.length());
        lineStarting = endsLine(begin.end());
        Matcher end = RAW_END.matcher(source);
        if (!end.find(pos)) {
            throw error("'{% raw %}' is never closed by '{% endraw %}'", open);
        }
        addData(pos, textEnd(end.start(), signOf(end.group(1)), true));
        closeTag(end.end(), signOf(end.group(2)), true);
    }

    private void skipComment(int open) {
        int end = source.indexOf("#}", pos);
        if (end < 0) {
            throw error("the comment is never closed by '#}'", open);
        }
        char sign = end > pos ? source.charAt(end - 1) : ' ';
        closeTag(end + 2, sign, true);
    }

    /** Moves past a tag that ends at {@code end}, and past the white space it swallows. */
    private void closeTag(int end, char sign, boolean trimsNewline) {
        pos = end;
        if (sign == '-') {
            pos = PythonChars.skipSpace(source, end, source.length());
        } else if (sign != '+' && trimsNewline && end < source.length() && source.charAt(end) == '\n') {
            pos = end + 1;
        }
        lineStarting = endsLine(end);
    }

    private boolean endsLine(int tagEnd) {
        return pos > tagEnd && source.charAt(pos - 1) == '\n';
    }

    private void lexTag(Kind begin, Kind end, int open) {
        tokens.add(new Token(begin, "", at(open)));
        Deque<Character> brackets = new ArrayDeque<>();
        while (true) {
            pos = PythonChars.skipSpace(source, pos, source.length());
            if (pos >= source.length()) {
                throw error("the tag is never closed by '" + (begin == Kind.BLOCK_BEGIN ? "%}" : "}}") + "'", open);
            }
            if (brackets.isEmpty() && lexTagEnd(end)) {
                return;
            }
            lexToken(brackets);
        }
    }

    private boolean lexTagEnd(Kind end) {
        boolean block = end == Kind.BLOCK_END;
        String delimiter = block ? "%}" : "}}";
        char first = source.charAt(pos);
        boolean signed = first == '-' || (first == '+' && block);
        if (!source.startsWith(delimiter, signed ? pos + 1 : pos)) {
            return false;
        }
        tokens.add(new Token(end, "", at(pos)));
        closeTag(pos + (signed ? 3 : 2), signed ? first : ' ', block);
        return true;
    }

    private void lexToken(Deque<Character> brackets) {
        char c = source.charAt(pos);
        if (c == '\'' || c == '"') {
            lexString(c);
        } else if (c >= '0' && c <= '9') {
            lexNumber();
        } else if (c == '_' || Character.isUnicodeIdentifierStart(source.codePointAt(pos))) {
            lexName();
        } else {
            lexOperator(c, brackets);
        }
    }

    private void lexName() {
        int end = pos;
        while (end < source.length()) {
            int c = source.codePointAt(end);
            if (c != '_' && !Character.isUnicodeIdentifierPart(c) || Character.isIdentifierIgnorable(c)) {
                break;
            }
            end += Character.charCount(c);
        }
        tokens.add(new Token(Kind.NAME, source.substring(pos, end), at(pos)));
        pos = end;
    }

    private void lexNumber() {
        Matcher number = FLOAT.matcher(source).region(pos, source.length()).useTransparentBounds(true);
        boolean isFloat = number.lookingAt();
        if (!isFloat) {
            number.usePattern(INTEGER).region(pos, source.length());
            if (!number.lookingAt()) {
                throw error("malformed number", pos);
            }
        }
        String digits = number.group().replace("_", "");
        Object value = isFloat ? (Object) Double.valueOf(digits) : integerLiteral(digits);
        tokens.add(new Token(isFloat ? Kind.FLOAT : Kind.INTEGER, number.group(), value, at(pos)));
        pos = number.end();
    }

    private Long integerLiteral(String digits) {
        int radix = 10;
        if (digits.length() > 2 && digits.charAt(0) == '0') {
            radix = switch (digits.charAt(1)) {
                case 'x', 'X' -> 16;
                case 'o', 'O' -> 8;
                case 'b', 'B' -> 2;
                default -> 10;
            };
        }
        try {
            return Long.valueOf(radix == 10 ? digits : digits.substring(2), radix);
        } catch (NumberFormatException e) {
            throw error("the integer " + digits + " does not fit in 64 bits", pos);
        }
    }

    private void lexString(char quote) {
        int end = pos + 1;
        while (end < source.length() && source.charAt(end) != quote) {
            end += source.charAt(end) == '\\' ? 2 : 1;
        }
        if (end >= source.length()) {
            throw error("the string is never closed by " + quote, pos);
        }
        String value = unescape(pos + 1, end);
        tokens.add(new Token(Kind.STRING, value, Text.of(value), at(pos)));
        pos = end + 1;
    }

    /** Python's {@code unicode-escape} rules: an unknown escape keeps its backslash. */
    private String unescape(int from, int to) {
        StringBuilder out = new StringBuilder(to - from);
        int i = from;
        while (i < to) {
            char c = source.charAt(i++);
            if (c != '\\') {
                out.append(c);
                continue;
            }
            char escape = source.charAt(i++);
            switch (escape) {
                case '\n' -> {}
                case '\\', '\'', '"' -> out.append(escape);
                case 'a' -> out.append('\u0007');
                case 'b' -> out.append('\b');
                case 'f' -> out.append('\f');
                case 'n' -> out.append('\n');
                case 'r' -> out.append('\r');
                case 't' -> out.append('\t');
                case 'v' -> out.append('\u000B');
                case 'x' -> i = appendHex(out, i, 2, to);
                case 'u' -> i = appendHex(out, i, 4, to);
                case 'U' -> i = appendHex(out, i, 8, to);
                case 'N' -> throw error("\\N{...} escapes are not supported", i - 2);
                case '0', '1', '2', '3', '4', '5', '6', '7' -> i = appendOctal(out, i - 1, to);
                default -> out.append('\\').append(escape);
            }
        }
        return out.toString();
    }

    private int appendHex(StringBuilder out, int from, int digits, int to) {
        int value = 0;
        for (int i = from; i < from + digits; i++) {
            int digit = i < to ? Character.digit(source.charAt(i), 16) : -1;
            if (digit < 0 || value > 0x10FFFF) {
                throw error("malformed character escape in a string", from - 2);
            }
            value = value * 16 + digit;
        }
        if (!Character.isValidCodePoint(value)) {
            throw error("the character escape is beyond Unicode", from - 2);
        }
        out.appendCodePoint(value);
        return from + digits;
    }

    private int appendOctal(StringBuilder out, int from, int to) {
        int value = 0;
        int i = from;
        while (i < to && i < from + 3 && source.charAt(i) >= '0' && source.charAt(i) <= '7') {
            value = value * 8 + source.charAt(i++) - '0';
        }
        out.append((char) value);
        return i;
    }

    private void lexOperator(char c, Deque<Character> brackets) {
        String two = source.substring(pos, Math.min(pos + 2, source.length()));
        String operator = LONG_OPERATORS.contains(two) ? two : String.valueOf(c);
        if (operator.length() == 1 && OPERATORS.indexOf(c) < 0) {
            throw error("unexpected character '" + Character.toString(source.codePointAt(pos)) + "'", pos);
        }
        switch (c) {
            case '(' -> brackets.push(')');
            case '[' -> brackets.push(']');
            case '{' -> brackets.push('}');
            case ')', ']', '}' -> {
                if (brackets.isEmpty()) {
                    throw error("unexpected '" + c + "'", pos);
                }
                char expected = brackets.pop();
                if (expected != c) {
                    throw error("unexpected '" + c + "', expected '" + expected + "'", pos);
                }
            }
            default -> {}
        }
        tokens.add(new Token(Kind.OPERATOR, operator, at(pos)));
        pos += operator.length();
    }

    private void addData(int from, int to) {
        if (from < to) {
            tokens.add(new Token(Kind.DATA, source.substring(from, to), at(from)));
        }
    }

    private static char signOf(String group) {
        return group.isEmpty() ? ' ' : group.charAt(0);
    }

    private Position at(int offset) {
        int found = Arrays.binarySearch(lineStarts, offset);
        int line = found >= 0 ? found : -found - 2;
        return new Position(line + 1, offset - lineStarts[line] + 1);
    }

    private TemplateException error(String message, int offset) {
        return new TemplateException(TemplateException.Kind.SYNTAX, message, at(offset));
    }

    private static int[] lineStarts(String source) {
        List<Integer> starts = new ArrayList<>();
        starts.add(0);
        for (int i = source.indexOf('\n'); i >= 0; i = source.indexOf('\n', i + 1)) {
            starts.add(i + 1);
        }
        return starts.stream().mapToInt(Integer::intValue).toArray();
    }
}
