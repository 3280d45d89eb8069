package dev.prefetch.template;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code 'text %s' % values}: Python's printf-style formatting. */
final class PercentFormat {

    private final Evaluator evaluator;
    private final Text format;
    private final Object values;
    private final List<Object> positional;
    private final TextBuilder out;
    private int pos;
    private int used;

    private PercentFormat(Evaluator evaluator, Text format, Object values) {
        this.evaluator = evaluator;
        this.format = format;
        this.values = values;
        this.positional = values instanceof ListValue list && list.tuple() ? list.items() : List.of(values);
        this.out = new TextBuilder(evaluator.budget());
    }

    static Object format(Evaluator evaluator, Text format, Object values) {
        return new PercentFormat(evaluator, format, values).run();
    }

    private Text run() {
        String string = format.string();
        boolean named = false;
        while (pos < string.length()) {
            int percent = string.indexOf('%', pos);
            int end = percent < 0 ? string.length() : percent;
            out.append(format, pos, end);
            pos = end;
            if (percent >= 0) {
                pos++;
                named |= conversion();
            }
        }
        if (!named && used < positional.size() && !(values instanceof DictValue)) {
            throw TemplateFault.evaluation("'%' formatting got more values than the text has places");
        }
        return out.toText().withMarkup(format.isMarkup());
    }

    /** Formats the conversion behind a percent sign; true if it names its value. */
    private boolean conversion() {
        Object named = namedValue();
        String flags = flags();
        int width = number();
        int precision = -1;
        if (peek() == '.') {
            pos++;
            precision = number();
        }
        char type = next();
        if (type == '%') {
            out.append("%");
            return false;
        }
        Object value = named != null ? named : nextPositional();
        switch (type) {
            case 's' -> text(evaluator.print(value), flags, width, precision);
            case 'r' -> text(represent(value), flags, width, precision);
            case 'c' -> text(evaluator.print(value), flags, width, -1);
            case 'd', 'i', 'u' -> number(value, 'd', flags, width, 0);
            case 'x', 'X', 'o', 'e', 'E', 'f', 'F', 'g', 'G' ->
                number(value, type, flags, width, precision < 0 ? 6 : precision);
            default -> throw TemplateFault.evaluation("'%" + type + "' is not a known conversion");
        }
        return named != null;
    }

    private @Nullable Object namedValue() {
        if (peek() != '(') {
            return null;
        }
        int close = format.string().indexOf(')', pos);
        if (close < 0 || !(values instanceof DictValue dict)) {
            throw TemplateFault.evaluation("'%(name)' needs a mapping on the right of '%'");
        }
        String name = format.string().substring(pos + 1, close);
        pos = close + 1;
        Object value = dict.get(name);
        if (value == null) {
            throw TemplateFault.evaluation("'%' formatting has no value named '" + name + "'");
        }
        return value;
    }

    private String flags() {
        int start = pos;
        while ("#0- +".indexOf(peek()) >= 0) {
            pos++;
        }
        return format.string().substring(start, pos);
    }

    private int number() {
        long value = 0;
        while (peek() >= '0' && peek() <= '9') {
            value = Math.min(value * 10 + next() - '0', Integer.MAX_VALUE);
        }
        return (int) value;
    }

    private char peek() {
        return pos < format.units() ? format.string().charAt(pos) : '\0';
    }

    private char next() {
        if (pos >= format.units()) {
            throw TemplateFault.evaluation("the text ends within a '%' conversion");
        }
        return format.string().charAt(pos++);
    }

    private Object nextPositional() {
        if (used >= positional.size()) {
            throw TemplateFault.evaluation("'%' formatting got fewer values than the text has places");
        }
        return positional.get(used++);
    }

    private Text represent(Object value) {
        TextBuilder text = new TextBuilder(evaluator.budget());
        PythonText.represent(evaluator.budget(), value, text);
        return text.toText();
    }

    private void text(Text value, String flags, int width, int precision) {
        Text cut = precision >= 0 && precision < value.length()
                ? value.substring(0, value.string().offsetByCodePoints(0, precision))
                : value;
        pad(cut, flags.indexOf('-') >= 0, (long) width - cut.length());
    }

    private void number(Object value, char type, String flags, int width, int precision) {
        Number number = Operators.number(value);
        if (number == null) {
            Operators.requireDefined(value);
            throw TemplateFault.evaluation("'%" + type + "' needs a number, got a " + Values.typeName(value));
        }
        if (precision > NumberFormat.MAX_PRECISION) {
            throw TemplateFault.limit("a precision exceeds the limit of " + NumberFormat.MAX_PRECISION + " digits");
        }
        String digits = NumberFormat.digits(number, type, precision);
        String sign = NumberFormat.isNegative(number)
                ? "-"
                : flags.indexOf('+') >= 0 ? "+" : flags.indexOf(' ') >= 0 ? " " : "";
        boolean left = flags.indexOf('-') >= 0;
        long missing = (long) width - sign.length() - digits.length();
        if (flags.indexOf('0') >= 0 && !left) {
            out.append(sign).repeat(Text.of("0"), missing).append(digits);
        } else {
            pad(Text.of(sign + digits), left, missing);
        }
    }

    private void pad(Text text, boolean left, long missing) {
        Text space = Text.of(" ");
        if (left) {
            out.append(text).repeat(space, missing);
        } else {
            out.repeat(space, missing).append(text);
        }
    }
}
