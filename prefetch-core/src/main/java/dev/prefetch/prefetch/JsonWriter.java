package dev.prefetch.prefetch;

import java.math.BigDecimal;
import java.util.Locale;

/** Writes JSON (RFC 8259) into a string, without indentation. The caller keeps begin and end in balance. */
final class JsonWriter {

    private final StringBuilder out = new StringBuilder();
    private boolean comma;

    JsonWriter beginObject() {
        return open('{');
    }

    JsonWriter endObject() {
        return close('}');
    }

    JsonWriter beginArray() {
        return open('[');
    }

    JsonWriter endArray() {
        return close(']');
    }

    JsonWriter name(String name) {
        separate();
        quote(name);
        out.append(':');
        comma = false;
        return this;
    }

    JsonWriter value(String value) {
        separate();
        quote(value);
        comma = true;
        return this;
    }

    JsonWriter value(long value) {
        separate();
        out.append(value);
        comma = true;
        return this;
    }

    JsonWriter value(boolean value) {
        separate();
        out.append(value);
        comma = true;
        return this;
    }

    /** An exact decimal number. */
    JsonWriter value(Decimal value) {
        separate();
        out.append(BigDecimal.valueOf(value.unscaled(), value.digits()).toPlainString());
        comma = true;
        return this;
    }

    /** A number; {@code null} for what JSON cannot express. */
    JsonWriter value(double value) {
        separate();
        out.append(Double.isFinite(value) ? String.format(Locale.ROOT, "%.6g", value) : "null");
        comma = true;
        return this;
    }

    private JsonWriter open(char bracket) {
        separate();
        out.append(bracket);
        comma = false;
        return this;
    }

    private JsonWriter close(char bracket) {
        out.append(bracket);
        comma = true;
        return this;
    }

    private void separate() {
        if (comma) {
            out.append(',');
        }
        comma = false;
    }

    private void quote(String text) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            switch (c) {
                case '"' -> out.append("\\\"");
                case '\\' -> out.append("\\\\");
                case '\n' -> out.append("\\n");
                case '\r' -> out.append("\\r");
                case '\t' -> out.append("\\t");
                default -> {
                    if (c < ' ' || Character.isSurrogate(c)) {
                        out.append(String.format(Locale.ROOT, "\\u%04x", (int) c));
                    } else {
                        out.append(c);
                    }
                }
            }
        }
        out.append('"');
    }

    /**
     * @param unscaled the number without its decimal point
     * @param digits digits behind the point
     */
    record Decimal(long unscaled, int digits) {}

    @Override
    public String toString() {
        return out.toString();
    }
}
