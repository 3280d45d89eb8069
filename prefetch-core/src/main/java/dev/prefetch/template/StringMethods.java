package dev.prefetch.template;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;

/** The methods of strings, as Python has them. Results keep the marks of the characters they are made of. */
final class StringMethods {

    private interface Method {
        Object call(Evaluator evaluator, Text self, Arguments arguments);
    }

    private static final Map<String, Method> ALL = Map.ofEntries(
            Map.entry("strip", (e, s, a) -> strip(s, a.bind("strip", "chars"), true, true)),
            Map.entry("lstrip", (e, s, a) -> strip(s, a.bind("lstrip", "chars"), true, false)),
            Map.entry("rstrip", (e, s, a) -> strip(s, a.bind("rstrip", "chars"), false, true)),
            Map.entry("split", (e, s, a) -> split(e.budget(), s, a.bind("split", "sep", "maxsplit"), false)),
            Map.entry("rsplit", (e, s, a) -> split(e.budget(), s, a.bind("rsplit", "sep", "maxsplit"), true)),
            Map.entry("splitlines", (e, s, a) -> splitLines(e.budget(), s, a)),
            Map.entry(
                    "partition",
                    (e, s, a) -> partition(s, a.bind("partition", "sep").text(0), false)),
            Map.entry(
                    "rpartition",
                    (e, s, a) -> partition(s, a.bind("rpartition", "sep").text(0), true)),
            Map.entry("join", (e, s, a) -> join(e, s, a)),
            Map.entry("replace", (e, s, a) -> replace(e.budget(), s, a.bind("replace", "old", "new", "count"))),
            Map.entry(
                    "removeprefix",
                    (e, s, a) ->
                            removePrefix(s, a.bind("removeprefix", "prefix").text(0))),
            Map.entry(
                    "removesuffix",
                    (e, s, a) ->
                            removeSuffix(s, a.bind("removesuffix", "suffix").text(0))),
            Map.entry("startswith", (e, s, a) -> matchesEnd(s, a.bind("startswith", "prefix", "start", "end"), true)),
            Map.entry("endswith", (e, s, a) -> matchesEnd(s, a.bind("endswith", "suffix", "start", "end"), false)),
            Map.entry("find", (e, s, a) -> find(s, a.bind("find", "sub", "start", "end"), false)),
            Map.entry("rfind", (e, s, a) -> find(s, a.bind("rfind", "sub", "start", "end"), true)),
            Map.entry("index", (e, s, a) -> found(find(s, a.bind("index", "sub", "start", "end"), false))),
            Map.entry("rindex", (e, s, a) -> found(find(s, a.bind("rindex", "sub", "start", "end"), true))),
            Map.entry("count", (e, s, a) -> count(s, a.bind("count", "sub").text(0))),
            Map.entry("upper", (e, s, a) -> noArguments("upper", a, s.upper())),
            Map.entry("lower", (e, s, a) -> noArguments("lower", a, s.lower())),
            Map.entry(
                    "casefold",
                    (e, s, a) -> noArguments("casefold", a, s.upper().lower())),
            Map.entry("title", (e, s, a) -> noArguments("title", a, StringFilters.titleEveryWord(s))),
            Map.entry("capitalize", (e, s, a) -> noArguments("capitalize", a, StringFilters.capitalize(s))),
            Map.entry("format", (e, s, a) -> BraceFormat.format(e, s, a)),
            Map.entry("zfill", (e, s, a) -> zeroFill(e.budget(), s, a.bind("zfill", "width"))),
            Map.entry("ljust", (e, s, a) -> pad(e.budget(), s, a.bind("ljust", "width", "fillchar"), 0)),
            Map.entry("center", (e, s, a) -> pad(e.budget(), s, a.bind("center", "width", "fillchar"), 1)),
            Map.entry("rjust", (e, s, a) -> pad(e.budget(), s, a.bind("rjust", "width", "fillchar"), 2)),
            Map.entry("isdigit", (e, s, a) -> noArguments("isdigit", a, all(s, Character::isDigit))),
            Map.entry("isdecimal", (e, s, a) -> noArguments("isdecimal", a, all(s, Character::isDigit))),
            Map.entry("isnumeric", (e, s, a) -> noArguments("isnumeric", a, all(s, StringMethods::isNumeric))),
            Map.entry("isalpha", (e, s, a) -> noArguments("isalpha", a, all(s, Character::isLetter))),
            Map.entry("isalnum", (e, s, a) -> noArguments("isalnum", a, all(s, StringMethods::isAlphanumeric))),
            Map.entry("isspace", (e, s, a) -> noArguments("isspace", a, all(s, PythonChars::isSpace))),
            Map.entry("isupper", (e, s, a) -> noArguments("isupper", a, isCased(s, true))),
            Map.entry("islower", (e, s, a) -> noArguments("islower", a, isCased(s, false))));

    private StringMethods() {}

    static @Nullable Object find(Text self, String name) {
        Method method = ALL.get(name);
        if (method == null) {
            return null;
        }
        return new BuiltIn(name, (evaluator, arguments) -> {
            Budget budget = evaluator.budget();
            budget.scan(self.units());
            Object result = method.call(evaluator, self, arguments);
            if (result instanceof Text text && text != self) {
                budget.allocateString(text.units());
            }
            return result;
        });
    }

    private static Object noArguments(String name, Arguments arguments, Object result) {
        arguments.bind(name);
        return result;
    }

    private static Text strip(Text self, Arguments.Bound bound, boolean left, boolean right) {
        return strip(self, bound.hasValue(0) ? bound.text(0) : null, left, right);
    }

    /** @param chars the characters to remove; white space when {@code null} */
    static Text strip(Text self, @Nullable Text chars, boolean left, boolean right) {
        String s = self.string();
        int begin = 0;
        int end = s.length();
        if (chars == null) {
            begin = left ? PythonChars.skipSpace(s, 0, end) : 0;
            end = right ? PythonChars.skipSpaceBack(s, begin, end) : end;
            return self.substring(begin, end);
        }
        IntPredicate removed =
                chars.string().codePoints().boxed().collect(java.util.stream.Collectors.toSet())::contains;
        while (left && begin < end && removed.test(s.codePointAt(begin))) {
            begin += Character.charCount(s.codePointAt(begin));
        }
        while (right && begin < end && removed.test(s.codePointBefore(end))) {
            end -= Character.charCount(s.codePointBefore(end));
        }
        return self.substring(begin, end);
    }

    private static Object split(Budget budget, Text self, Arguments.Bound bound, boolean fromRight) {
        long max = bound.integer(1, -1);
        long limit = max < 0 ? Long.MAX_VALUE : max;
        budget.allocateString(self.units());
        List<Object> parts;
        if (!bound.hasValue(0)) {
            parts = fromRight ? splitSpaceFromRight(budget, self, limit) : splitSpace(budget, self, limit);
        } else {
            Text separator = bound.text(0);
            if (separator.isEmpty()) {
                throw TemplateFault.evaluation("split() needs a separator that is not empty");
            }
            parts = fromRight
                    ? splitFromRight(budget, self, separator.string(), limit)
                    : split(budget, self, separator.string(), limit);
        }
        return ListValue.list(parts);
    }

    private static List<Object> split(Budget budget, Text self, String separator, long limit) {
        List<Object> parts = new ArrayList<>();
        int from = 0;
        while (parts.size() < limit) {
            int at = TextSearch.indexOf(self.string(), separator, from);
            if (at < 0) {
                break;
            }
            add(budget, parts, self, from, at);
            from = at + separator.length();
        }
        add(budget, parts, self, from, self.units());
        return parts;
    }

    private static List<Object> splitFromRight(Budget budget, Text self, String separator, long limit) {
        List<Object> parts = new ArrayList<>();
        int to = self.units();
        while (parts.size() < limit) {
            budget.scan(separator.length() > 32 ? to : 0);
            int at = TextSearch.lastIndexOf(self.string(), separator, 0, to);
            if (at < 0) {
                break;
            }
            add(budget, parts, self, at + separator.length(), to);
            to = at;
        }
        add(budget, parts, self, 0, to);
        return parts.reversed();
    }

    private static List<Object> splitSpace(Budget budget, Text self, long limit) {
        List<Object> parts = new ArrayList<>();
        String s = self.string();
        int from = PythonChars.skipSpace(s, 0, s.length());
        while (from < s.length()) {
            int to = from;
            while (to < s.length() && (parts.size() >= limit || !PythonChars.isSpace(s.charAt(to)))) {
                to++;
            }
            add(budget, parts, self, from, to);
            from = PythonChars.skipSpace(s, to, s.length());
        }
        return parts;
    }

    private static List<Object> splitSpaceFromRight(Budget budget, Text self, long limit) {
        List<Object> parts = new ArrayList<>();
        String s = self.string();
        int to = PythonChars.skipSpaceBack(s, 0, s.length());
        while (to > 0) {
            int from = to;
            while (from > 0 && (parts.size() >= limit || !PythonChars.isSpace(s.charAt(from - 1)))) {
                from--;
            }
            add(budget, parts, self, from, to);
            to = PythonChars.skipSpaceBack(s, 0, from);
        }
        return parts.reversed();
    }

    private static void add(Budget budget, List<Object> parts, Text self, int from, int to) {
        budget.allocateElements(1);
        parts.add(self.substring(from, to));
    }

    private static Object splitLines(Budget budget, Text self, Arguments arguments) {
        boolean keepEnds = arguments.bind("splitlines", "keepends").truth(0, false);
        return ListValue.list(splitLines(budget, self, keepEnds));
    }

    static List<Object> splitLines(Budget budget, Text self, boolean keepEnds) {
        budget.allocateString(self.units());
        List<Object> lines = new ArrayList<>();
        String s = self.string();
        int from = 0;
        for (int i = 0; i < s.length(); i++) {
            if (PythonChars.isLineBreak(s.charAt(i))) {
                int end = s.startsWith("\r\n", i) ? i + 2 : i + 1;
                add(budget, lines, self, from, keepEnds ? end : i);
                from = end;
                i = end - 1;
            }
        }
        if (from < s.length()) {
            add(budget, lines, self, from, s.length());
        }
        return lines;
    }

    private static Object partition(Text self, Text separator, boolean last) {
        String s = self.string();
        String sep = separator.string();
        if (sep.isEmpty()) {
            throw TemplateFault.evaluation("partition() needs a separator that is not empty");
        }
        int at = last ? TextSearch.lastIndexOf(s, sep, 0, s.length()) : TextSearch.indexOf(s, sep, 0);
        if (at < 0) {
            List<Object> whole = last ? List.of(Text.EMPTY, Text.EMPTY, self) : List.of(self, Text.EMPTY, Text.EMPTY);
            return new ListValue(whole, true);
        }
        int after = at + sep.length();
        return new ListValue(
                List.of(self.substring(0, at), self.substring(at, after), self.substring(after, s.length())), true);
    }

    private static Object join(Evaluator evaluator, Text self, Arguments arguments) {
        Object items = arguments.bind("join", "items").required(0);
        TextBuilder out = new TextBuilder(evaluator.budget());
        boolean first = true;
        for (Object item : Values.toList(items, evaluator.budget())) {
            if (!(item instanceof Text text)) {
                throw TemplateFault.evaluation("the method join() needs strings, got a " + Values.typeName(item)
                        + "; the filter 'join' takes any value");
            }
            if (!first) {
                out.append(self);
            }
            out.append(text);
            first = false;
        }
        return out.toText();
    }

    private static Object replace(Budget budget, Text self, Arguments.Bound bound) {
        return replace(budget, self, bound.text(0), bound.text(1), bound.integer(2, -1));
    }

    /** @param count the greatest number of replacements; all when negative */
    static Text replace(Budget budget, Text self, Text old, Text with, long count) {
        String s = self.string();
        String pattern = old.string();
        TextBuilder out = new TextBuilder(budget);
        int from = 0;
        int searchFrom = 0;
        for (long done = 0; done != count; done++) {
            int at = searchFrom > s.length() ? -1 : TextSearch.indexOf(s, pattern, searchFrom);
            if (at < 0) {
                break;
            }
            out.append(self, from, at).append(with);
            from = at + pattern.length();
            // An empty pattern stands between any two characters, and a character may be two units.
            searchFrom = !pattern.isEmpty() ? from : at < s.length() ? s.offsetByCodePoints(at, 1) : at + 1;
        }
        if (from == 0 && out.units() == 0) {
            return self;
        }
        return out.append(self, from, s.length()).toText().withMarkup(self.isMarkup());
    }

    private static Text removePrefix(Text self, Text prefix) {
        return self.string().startsWith(prefix.string()) ? self.substring(prefix.units(), self.units()) : self;
    }

    private static Text removeSuffix(Text self, Text suffix) {
        return self.string().endsWith(suffix.string()) ? self.substring(0, self.units() - suffix.units()) : self;
    }

    private static Object matchesEnd(Text self, Arguments.Bound bound, boolean start) {
        int[] window = window(self, bound);
        List<Object> candidates =
                bound.required(0) instanceof ListValue list && list.tuple() ? list.items() : List.of(bound.text(0));
        for (Object candidate : candidates) {
            if (!(candidate instanceof Text text)) {
                throw bound.wrongType(0, "strings");
            }
            int at = start ? window[0] : window[1] - text.units();
            if (at >= window[0]
                    && at + text.units() <= window[1]
                    && self.string().startsWith(text.string(), at)) {
                return true;
            }
        }
        return false;
    }

    /** Where to search, in UTF-16 units, from the arguments {@code start} and {@code end}, which count code points. */
    private static int[] window(Text self, Arguments.Bound bound) {
        if (!bound.hasValue(1) && !bound.hasValue(2)) {
            return new int[] {0, self.units()};
        }
        int length = self.length();
        int start = clamp(bound.hasValue(1) ? bound.integer(1, 0) : 0, length);
        int end = Math.max(start, clamp(bound.hasValue(2) ? bound.integer(2, length) : length, length));
        return new int[] {
            self.string().offsetByCodePoints(0, start), self.string().offsetByCodePoints(0, end)
        };
    }

    private static int clamp(long index, int length) {
        return (int) Math.max(0, Math.min(length, index < 0 ? index + length : index));
    }

    private static Long find(Text self, Arguments.Bound bound, boolean last) {
        String wanted = bound.text(0).string();
        int[] window = window(self, bound);
        int at = last
                ? TextSearch.lastIndexOf(self.string(), wanted, window[0], window[1])
                : TextSearch.indexOf(self.string(), wanted, window[0]);
        if (at < 0 || at + wanted.length() > window[1]) {
            return -1L;
        }
        return (long) self.string().codePointCount(0, at);
    }

    private static Object found(Long index) {
        if (index < 0) {
            throw TemplateFault.evaluation("index(): the substring is not in the string");
        }
        return index;
    }

    private static Object count(Text self, Text wanted) {
        if (wanted.isEmpty()) {
            return self.length() + 1L;
        }
        long count = 0;
        int at = TextSearch.indexOf(self.string(), wanted.string(), 0);
        while (at >= 0) {
            count++;
            at = TextSearch.indexOf(self.string(), wanted.string(), at + wanted.units());
        }
        return count;
    }

    private static Object zeroFill(Budget budget, Text self, Arguments.Bound bound) {
        long missing = bound.integer(0, 0) - self.length();
        boolean signed = !self.isEmpty() && "+-".indexOf(self.string().charAt(0)) >= 0;
        int digits = signed ? 1 : 0;
        TextBuilder out = new TextBuilder(budget).append(self, 0, digits);
        return out.repeat(Text.of("0"), missing)
                .append(self, digits, self.units())
                .toText();
    }

    /** @param position 0 pads on the right, 1 on both sides, 2 on the left */
    private static Object pad(Budget budget, Text self, Arguments.Bound bound, int position) {
        Text fill = bound.text(1, Text.of(" "));
        if (fill.length() != 1) {
            throw TemplateFault.evaluation("the fill character must be one character");
        }
        long width = bound.integer(0, 0);
        long missing = Math.max(0, width - self.length());
        // Python gives the odd character to the left, unless the width is even.
        long left = position == 0 ? 0 : position == 2 ? missing : missing / 2 + (missing & width & 1);
        return new TextBuilder(budget)
                .repeat(fill, left)
                .append(self)
                .repeat(fill, missing - left)
                .toText();
    }

    private static boolean all(Text self, IntPredicate predicate) {
        return !self.isEmpty() && self.string().codePoints().allMatch(predicate);
    }

    private static boolean isNumeric(int c) {
        int type = Character.getType(c);
        return type == Character.DECIMAL_DIGIT_NUMBER
                || type == Character.LETTER_NUMBER
                || type == Character.OTHER_NUMBER;
    }

    private static boolean isAlphanumeric(int c) {
        return Character.isLetter(c) || isNumeric(c);
    }

    /** Whether there are letters with a case, and all are of this one. */
    static boolean isCased(Text self, boolean upper) {
        boolean cased = false;
        for (int c : (Iterable<Integer>) self.string().codePoints()::iterator) {
            if (Character.isUpperCase(c) || Character.isTitleCase(c) || Character.isLowerCase(c)) {
                if (Character.isUpperCase(c) != upper || Character.isTitleCase(c)) {
                    return false;
                }
                cased = true;
            }
        }
        return cased;
    }
}
