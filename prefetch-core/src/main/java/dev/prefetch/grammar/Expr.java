package dev.prefetch.grammar;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** A set of byte strings; rules give recursion. */
sealed interface Expr {

    /** The empty string. */
    Expr EMPTY = new Sequence(List.of());

    /** One byte of a set. */
    record Bytes(ByteSet set) implements Expr {}

    /** One part after the other. */
    record Sequence(List<Expr> parts) implements Expr {

        public Sequence {
            parts = List.copyOf(parts);
        }
    }

    /** One of several; at least one. */
    record Choice(List<Expr> options) implements Expr {

        public Choice {
            options = List.copyOf(options);
            if (options.isEmpty()) {
                throw new IllegalArgumentException("a choice of nothing");
            }
        }
    }

    /** As often as one likes, also never. */
    record Star(Expr body) implements Expr {}

    /** A text that a vocabulary may have as one control token; otherwise its bytes. */
    record Marker(String text) implements Expr {}

    /** What a rule says. */
    record Ref(Rule rule) implements Expr {}

    /** An expression with a name, so that it can occur in itself. */
    final class Rule {

        private final String name;
        private Expr body = EMPTY;

        Rule(String name) {
            this.name = name;
        }

        Rule(String name, Expr body) {
            this.name = name;
            this.body = body;
        }

        String name() {
            return name;
        }

        Expr body() {
            return body;
        }

        void define(Expr value) {
            body = value;
        }
    }

    static Expr seq(Expr... parts) {
        return parts.length == 1 ? parts[0] : new Sequence(List.of(parts));
    }

    static Expr choice(Expr... options) {
        return choice(List.of(options));
    }

    static Expr choice(List<Expr> options) {
        return options.size() == 1 ? options.getFirst() : new Choice(options);
    }

    static Expr optional(Expr body) {
        return new Choice(List.of(body, EMPTY));
    }

    static Expr text(String text) {
        List<Expr> parts = new ArrayList<>();
        for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            parts.add(new Bytes(ByteSet.of(b & 0xff)));
        }
        return new Sequence(parts);
    }

    static Expr range(int from, int to) {
        return new Bytes(ByteSet.range(from, to));
    }

    static Expr ref(String name, Expr body) {
        return new Ref(new Rule(name, body));
    }

    /**
     * A number of repetitions. Bodies other than a byte should be rules, since they are copied.
     *
     * @param max -1 for no limit
     */
    static Expr repeat(Expr body, int min, int max) {
        List<Expr> parts = new ArrayList<>();
        for (int i = 0; i < min; i++) {
            parts.add(body);
        }
        if (max < 0) {
            parts.add(new Star(body));
            return new Sequence(parts);
        }
        // From the inside out, each a rule: nested expressions would be as deep as the repetitions are many.
        Expr rest = EMPTY;
        for (int i = min; i < max; i++) {
            rest = ref("repeat", optional(seq(body, rest)));
        }
        parts.add(rest);
        return new Sequence(parts);
    }
}
