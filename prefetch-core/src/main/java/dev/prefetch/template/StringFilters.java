package dev.prefetch.template;

import java.util.List;
import java.util.Locale;

/** Filters that make a string. They accept any value and print it first, except where noted. */
final class StringFilters {

    private StringFilters() {}

    static Object escape(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("escape");
        return escape(evaluator.budget(), evaluator.print(value));
    }

    /** HTML escapes; the result is markup. */
    static Text escape(Budget budget, Text text) {
        if (text.isMarkup()) {
            return text;
        }
        String string = text.string();
        TextBuilder out = new TextBuilder(budget);
        int plain = 0;
        for (int i = 0; i < string.length(); i++) {
            String entity = switch (string.charAt(i)) {
                case '&' -> "&amp;";
                case '<' -> "&lt;";
                case '>' -> "&gt;";
                case '\'' -> "&#39;";
                case '"' -> "&#34;";
                default -> null;
            };
            if (entity != null) {
                out.append(text, plain, i).append(entity, text.isMarked(i));
                plain = i + 1;
            }
        }
        return out.append(text, plain, string.length()).toText().withMarkup(true);
    }

    static Object safe(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("safe");
        return evaluator.print(value).withMarkup(true);
    }

    static Object string(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("string");
        return evaluator.print(value);
    }

    static Object upper(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("upper");
        return evaluator.print(value).upper();
    }

    static Object lower(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("lower");
        return evaluator.print(value).lower();
    }

    static Object capitalize(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("capitalize");
        return capitalize(evaluator.print(value));
    }

    static Text capitalize(Text text) {
        if (text.isEmpty()) {
            return text;
        }
        int first = text.string().offsetByCodePoints(0, 1);
        return new TextBuilder()
                .append(text.substring(0, first).mapRuns(StringFilters::titleCase))
                .append(text.substring(first, text.units()).lower())
                .toText()
                .withMarkup(text.isMarkup());
    }

    private static String titleCase(String character) {
        int c = character.codePointAt(0);
        int title = Character.toTitleCase(c);
        return title == c ? character.toUpperCase(Locale.ROOT) : Character.toString(title);
    }

    /** The filter: words start after white space, hyphens and opening brackets. */
    static Object title(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("title");
        return title(evaluator.print(value), c -> c == '-' || "({[<".indexOf(c) >= 0 || PythonChars.isSpace(c));
    }

    /** The method: words start after anything that is not a letter. */
    static Text titleEveryWord(Text text) {
        return title(text, c -> !Character.isLetter(c));
    }

    private static Text title(Text text, java.util.function.IntPredicate separates) {
        String string = text.string();
        TextBuilder out = new TextBuilder();
        boolean wordStart = true;
        for (int i = 0; i < string.length(); ) {
            int c = string.codePointAt(i);
            int next = i + Character.charCount(c);
            Text character = text.substring(i, next);
            out.append(wordStart ? character.mapRuns(StringFilters::titleCase) : character.lower());
            wordStart = separates.test(c);
            i = next;
        }
        return out.toText().withMarkup(text.isMarkup());
    }

    static Object trim(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("trim", "chars");
        return StringMethods.strip(evaluator.print(value), bound.hasValue(0) ? bound.text(0) : null, true, true);
    }

    static Object replace(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("replace", "old", "new", "count");
        return StringMethods.replace(
                evaluator.budget(),
                evaluator.print(value),
                evaluator.print(bound.required(0)),
                evaluator.print(bound.required(1)),
                bound.hasValue(2) ? bound.integer(2, -1) : -1);
    }

    static Object format(Evaluator evaluator, Object value, Arguments arguments) {
        Text format = evaluator.print(value);
        if (arguments.named().isEmpty()) {
            return PercentFormat.format(evaluator, format, new ListValue(arguments.positional(), true));
        }
        if (!arguments.positional().isEmpty()) {
            throw TemplateFault.evaluation("format() takes positional or named arguments, not both");
        }
        DictValue named = new DictValue();
        arguments.named().forEach((name, argument) -> named.put(Text.of(name), argument));
        return PercentFormat.format(evaluator, format, named);
    }

    static Object center(Evaluator evaluator, Object value, Arguments arguments) {
        long width = arguments.bind("center", "width").integer(0, 80);
        Text text = evaluator.print(value);
        long missing = Math.max(0, width - text.length());
        long left = missing / 2 + (missing & width & 1);
        Text space = Text.of(" ");
        return new TextBuilder(evaluator.budget())
                .repeat(space, left)
                .append(text)
                .repeat(space, missing - left)
                .toText();
    }

    /** Indents every line but, unless asked for, the first and blank ones. Only strings. */
    static Object indent(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("indent", "width", "first", "blank");
        if (!(value instanceof Text text)) {
            Operators.requireDefined(value);
            throw TemplateFault.evaluation("indent() needs a string, got a " + Values.typeName(value));
        }
        Budget budget = evaluator.budget();
        Text indentation = bound.has(0) && bound.required(0) instanceof Text given
                ? given
                : new TextBuilder(budget)
                        .repeat(Text.of(" "), bound.integer(0, 4))
                        .toText();
        boolean indentBlank = bound.truth(2, false);
        // A line break at the end starts one more, empty line; Python's splitlines would drop it.
        Text closed = new TextBuilder(budget).append(text).append("\n").toText();
        List<Object> lines = StringMethods.splitLines(budget, closed, false);
        TextBuilder out = new TextBuilder(budget);
        for (int i = 0; i < lines.size(); i++) {
            Text line = (Text) lines.get(i);
            if (i > 0) {
                out.append("\n");
            }
            if (i == 0 ? bound.truth(1, false) : indentBlank || !line.isEmpty()) {
                out.append(indentation);
            }
            out.append(line);
        }
        return out.toText().withMarkup(text.isMarkup());
    }

    static Object truncate(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("truncate", "length", "killwords", "end", "leeway");
        Text text = evaluator.print(value);
        Text end = bound.text(2, Text.of("..."));
        long length = bound.integer(0, 255);
        if (length < end.length()) {
            throw TemplateFault.evaluation("truncate() needs a length of at least " + end.length());
        }
        if (text.length() <= length + bound.integer(3, 5)) {
            return text;
        }
        int cut = text.string().offsetByCodePoints(0, (int) length - end.length());
        if (!bound.truth(1, false)) {
            int space = text.string().lastIndexOf(' ', cut - 1);
            cut = space >= 0 ? space : cut;
        }
        return new TextBuilder(evaluator.budget())
                .append(text, 0, cut)
                .append(end)
                .toText();
    }

    static Object wordCount(Evaluator evaluator, Object value, Arguments arguments) {
        arguments.bind("wordcount");
        long words = 0;
        boolean inWord = false;
        for (int c : (Iterable<Integer>) evaluator.print(value).string().codePoints()::iterator) {
            boolean wordChar = Character.isLetterOrDigit(c) || c == '_';
            words += wordChar && !inWord ? 1 : 0;
            inWord = wordChar;
        }
        return words;
    }
}
