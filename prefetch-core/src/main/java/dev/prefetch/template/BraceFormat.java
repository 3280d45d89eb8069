package dev.prefetch.template;

import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** {@code 'text {} {name}'.format(...)}: Python's format strings, without fields inside format specifications. */
final class BraceFormat {

    private static final Pattern FIELD =
            Pattern.compile("([^.\\[!:]*+)((?:\\.[^.\\[!:]++|\\[[^\\]]++\\])*+)(?:!([rs]))?(?::(.*))?", Pattern.DOTALL);
    private static final Pattern STEP = Pattern.compile("\\.([^.\\[]++)|\\[([^\\]]++)\\]");
    private static final Pattern SPECIFICATION = Pattern.compile(
            "(?:(.)?([<>=^]))?([-+ ])?(#)?(0)?(\\d{1,9})?(,)?(?:\\.(\\d{1,9}))?([a-zA-Z%])?", Pattern.DOTALL);

    private final Evaluator evaluator;
    private final Text format;
    private final Arguments arguments;
    private final TextBuilder out;
    private int automatic;

    private BraceFormat(Evaluator evaluator, Text format, Arguments arguments) {
        this.evaluator = evaluator;
        this.format = format;
        this.arguments = arguments;
        this.out = new TextBuilder(evaluator.budget());
    }

    static Object format(Evaluator evaluator, Text format, Arguments arguments) {
        return new BraceFormat(evaluator, format, arguments).run();
    }

    private Text run() {
        String string = format.string();
        int i = 0;
        while (i < string.length()) {
            char c = string.charAt(i);
            boolean doubled = i + 1 < string.length() && string.charAt(i + 1) == c;
            if (c != '{' && c != '}') {
                out.append(format, i, i + 1);
                i++;
            } else if (doubled) {
                out.append(format, i, i + 1);
                i += 2;
            } else if (c == '}') {
                throw TemplateFault.evaluation("format() met a single '}'");
            } else {
                int close = string.indexOf('}', i);
                if (close < 0) {
                    throw TemplateFault.evaluation("format() met a '{' that is not closed");
                }
                field(string.substring(i + 1, close));
                i = close + 1;
            }
        }
        return out.toText().withMarkup(format.isMarkup());
    }

    private void field(String field) {
        Matcher parts = FIELD.matcher(field);
        if (!parts.matches()) {
            throw TemplateFault.evaluation("format() does not understand the field '{" + field + "}'");
        }
        Object value = argument(parts.group(1));
        Matcher step = STEP.matcher(parts.group(2));
        while (step.find()) {
            value = step.group(1) != null
                    ? Attributes.attribute(value, step.group(1))
                    : Attributes.subscript(value, index(step.group(2)));
        }
        if ("r".equals(parts.group(3))) {
            TextBuilder text = new TextBuilder(evaluator.budget());
            PythonText.represent(evaluator.budget(), value, text);
            value = text.toText();
        } else if ("s".equals(parts.group(3))) {
            value = evaluator.print(value);
        }
        String specification = parts.group(4);
        if (specification == null || specification.isEmpty()) {
            out.append(evaluator.print(value));
        } else {
            specified(value, specification);
        }
    }

    private static Object index(String index) {
        return index.length() < 10 && index.chars().allMatch(c -> c >= '0' && c <= '9')
                ? (Object) Long.valueOf(index)
                : Text.of(index);
    }

    private Object argument(String name) {
        Object index = name.isEmpty() ? (Object) (long) automatic++ : index(name);
        Object value = null;
        if (index instanceof Long position) {
            value = position < arguments.positional().size()
                    ? arguments.positional().get(position.intValue())
                    : null;
        } else {
            value = arguments.named().get(name);
        }
        if (value == null) {
            throw TemplateFault.evaluation("format() has no argument '" + index + "'");
        }
        return value;
    }

    private void specified(Object value, String specification) {
        Matcher spec = SPECIFICATION.matcher(specification);
        if (!spec.matches()) {
            throw TemplateFault.evaluation("format() does not understand the specification '" + specification + "'");
        }
        String fillGroup = spec.group(1);
        Text fill = Text.of(fillGroup != null ? fillGroup : spec.group(5) != null ? "0" : " ");
        long width = spec.group(6) == null ? 0 : Long.parseLong(spec.group(6));
        int precision = spec.group(8) == null ? -1 : Integer.parseInt(spec.group(8));
        Number number = value instanceof Boolean && spec.group(9) == null ? null : Operators.number(value);
        if (number == null) {
            Text text = evaluator.print(value);
            Text cut = precision >= 0 && precision < text.length()
                    ? text.substring(0, text.string().offsetByCodePoints(0, precision))
                    : text;
            pad(Text.EMPTY, cut, spec.group(2) == null ? "<" : spec.group(2), fill, width);
            return;
        }
        if (precision > NumberFormat.MAX_PRECISION) {
            throw TemplateFault.limit("a precision exceeds the limit of " + NumberFormat.MAX_PRECISION + " digits");
        }
        String align = spec.group(2) != null ? spec.group(2) : spec.group(5) != null ? "=" : ">";
        // The sign '-' of a specification asks for what is done anyway.
        String positive = orEmpty(spec.group(3)).replace("-", "");
        String sign = NumberFormat.isNegative(number) ? "-" : positive;
        String digits = digits(number, orEmpty(spec.group(9)), precision);
        pad(Text.of(sign), Text.of(spec.group(7) != null ? grouped(digits) : digits), align, fill, width);
    }

    private static String orEmpty(@Nullable String group) {
        return group == null ? "" : group;
    }

    private static String digits(Number number, String type, int precision) {
        if (type.equals("%")) {
            return NumberFormat.digits(number.doubleValue() * 100, 'f', precision < 0 ? 6 : precision) + "%";
        }
        if (type.isEmpty() && precision < 0) {
            return number instanceof Double d ? PythonText.number(Math.abs(d)) : NumberFormat.digits(number, 'd', 0);
        }
        char letter = type.isEmpty() ? 'g' : type.charAt(0);
        if ("dboxXeEfFgG".indexOf(letter) < 0 || ("dboxX".indexOf(letter) >= 0 && number instanceof Double)) {
            throw TemplateFault.evaluation(
                    "format() does not know the type '" + letter + "' for a " + Values.typeName(number));
        }
        return NumberFormat.digits(number, letter, precision < 0 ? 6 : precision);
    }

    private static String grouped(String digits) {
        int end = 0;
        while (end < digits.length() && Character.isDigit(digits.charAt(end))) {
            end++;
        }
        StringBuilder out = new StringBuilder(digits);
        for (int i = end - 3; i > 0; i -= 3) {
            out.insert(i, ',');
        }
        return out.toString();
    }

    private void pad(Text sign, Text text, String align, Text fill, long width) {
        long missing = Math.max(0, width - sign.length() - text.length());
        switch (align) {
            case "<" -> out.append(sign).append(text).repeat(fill, missing);
            case ">" -> out.repeat(fill, missing).append(sign).append(text);
            case "=" -> out.append(sign).repeat(fill, missing).append(text);
            default -> out.repeat(fill, missing / 2).append(sign).append(text).repeat(fill, missing - missing / 2);
        }
    }
}
