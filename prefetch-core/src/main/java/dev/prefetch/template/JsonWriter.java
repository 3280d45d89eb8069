package dev.prefetch.template;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Filter {@code tojson} as Hugging Face defines it: {@code json.dumps} without HTML escapes. */
final class JsonWriter {

    private final Budget budget;
    private final boolean asciiOnly;
    private final boolean sortKeys;
    private final @Nullable Text indent;
    private final Text itemSeparator;
    private final Text keySeparator;
    private final TextBuilder out;

    private JsonWriter(
            Budget budget,
            boolean asciiOnly,
            boolean sortKeys,
            @Nullable Text indent,
            Text itemSeparator,
            Text keySeparator) {
        this.budget = budget;
        this.asciiOnly = asciiOnly;
        this.sortKeys = sortKeys;
        this.indent = indent;
        this.itemSeparator = itemSeparator;
        this.keySeparator = keySeparator;
        this.out = new TextBuilder(budget);
    }

    static Object filter(Evaluator evaluator, Object value, Arguments arguments) {
        Arguments.Bound bound = arguments.bind("tojson", "ensure_ascii", "indent", "separators", "sort_keys");
        Budget budget = evaluator.budget();
        Text indent = indent(budget, bound);
        Text itemSeparator = Text.of(indent == null ? ", " : ",");
        Text keySeparator = Text.of(": ");
        if (bound.hasValue(2)) {
            List<Object> separators = Values.toList(bound.required(2), budget);
            if (separators.size() != 2
                    || !(separators.get(0) instanceof Text item)
                    || !(separators.get(1) instanceof Text key)) {
                throw bound.wrongType(2, "two strings");
            }
            itemSeparator = item;
            keySeparator = key;
        }
        JsonWriter writer = new JsonWriter(
                budget, bound.truth(0, false), bound.truth(3, false), indent, itemSeparator, keySeparator);
        writer.write(value, 0);
        return writer.out.toText();
    }

    private static @Nullable Text indent(Budget budget, Arguments.Bound bound) {
        if (!bound.hasValue(1)) {
            return null;
        }
        return bound.required(1) instanceof Text text
                ? text
                : new TextBuilder(budget)
                        .repeat(Text.of(" "), bound.integer(1, 0))
                        .toText();
    }

    private void write(Object value, int level) {
        budget.step();
        budget.enter();
        switch (value) {
            case Text text -> writeString(text);
            case None _ -> out.append("null");
            case Boolean flag -> out.append(flag ? "true" : "false");
            case Double number -> out.append(number(number));
            case Number number -> out.append(number.toString());
            case ListValue list -> writeList(list, level);
            case DictValue dict -> writeDict(dict, level);
            case Undefined undefined ->
                throw TemplateFault.evaluation("tojson got a value that does not exist: " + undefined.message());
            default -> throw TemplateFault.evaluation("a " + Values.typeName(value) + " cannot be written as JSON");
        }
        budget.leave();
    }

    private static String number(double value) {
        if (Double.isNaN(value)) {
            return "NaN";
        }
        return Double.isInfinite(value) ? value > 0 ? "Infinity" : "-Infinity" : PythonText.number(value);
    }

    private void writeList(ListValue list, int level) {
        if (list.size() == 0) {
            out.append("[]");
            return;
        }
        out.append("[");
        boolean first = true;
        for (Object item : list) {
            startItem(first, level + 1);
            write(item, level + 1);
            first = false;
        }
        newLine(level);
        out.append("]");
    }

    private void writeDict(DictValue dict, int level) {
        if (dict.size() == 0) {
            out.append("{}");
            return;
        }
        out.append("{");
        boolean first = true;
        for (Iterator<Map.Entry<Object, Object>> entries = entries(dict); entries.hasNext(); ) {
            Map.Entry<Object, Object> entry = entries.next();
            startItem(first, level + 1);
            writeString(key(entry.getKey()));
            out.append(keySeparator);
            write(entry.getValue(), level + 1);
            first = false;
        }
        newLine(level);
        out.append("}");
    }

    private Iterator<Map.Entry<Object, Object>> entries(DictValue dict) {
        if (!sortKeys) {
            return dict.entries().iterator();
        }
        List<Map.Entry<Object, Object>> entries = new ArrayList<>(dict.entries());
        entries.sort((a, b) -> Operators.order(budget, a.getKey(), b.getKey(), "<"));
        return entries.iterator();
    }

    private static Text key(Object key) {
        return switch (key) {
            case Text text -> text;
            case None _ -> Text.of("null");
            case Double number -> Text.of(number(number));
            case Number number -> Text.of(number.toString());
            default -> throw TemplateFault.evaluation("a " + Values.typeName(key) + " cannot be a key of JSON");
        };
    }

    private void startItem(boolean first, int level) {
        if (!first) {
            out.append(itemSeparator);
        }
        newLine(level);
    }

    private void newLine(int level) {
        if (indent != null) {
            out.append("\n").repeat(indent, level);
        }
    }

    private void writeString(Text text) {
        String string = text.string();
        out.append("\"");
        int plain = 0;
        for (int i = 0; i < string.length(); i++) {
            String escaped = escape(string.charAt(i));
            if (escaped != null) {
                out.append(text, plain, i).append(escaped, text.isMarked(i));
                plain = i + 1;
            }
        }
        out.append(text, plain, string.length()).append("\"");
    }

    private @Nullable String escape(char c) {
        return switch (c) {
            case '"' -> "\\\"";
            case '\\' -> "\\\\";
            case '\n' -> "\\n";
            case '\r' -> "\\r";
            case '\t' -> "\\t";
            case '\f' -> "\\f";
            case '\b' -> "\\b";
            default -> c < 0x20 || (asciiOnly && c > 0x7E) ? String.format("\\u%04x", (int) c) : null;
        };
    }
}
