package dev.prefetch.grammar;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * A set of texts, for answers that have to follow a form. Immutable and thread-safe.
 *
 * <p>A grammar is context-free and over bytes (UTF-8). It comes from a JSON schema, from GBNF, or is put together
 * from others.
 */
public final class Grammar {

    private final Expr root;

    Grammar(Expr root) {
        this.root = root;
    }

    Expr root() {
        return root;
    }

    /**
     * The JSON texts that a schema allows, or a part of them: members stand in the order of the schema, members the schema
     * does not name are left out, numbers are short, and there is little space. Everything that follows the grammar is
     * valid JSON that the schema accepts.
     *
     * @param schema JSON schema, draft 2020-12
     * @throws UnsupportedSchemaException when the schema uses a keyword, or a combination, that cannot be enforced; the
     *     message names it and where it stands
     * @throws IllegalArgumentException when it is not JSON
     */
    public static Grammar jsonSchema(String schema) {
        return compiled(new Grammar(Expr.seq(Expr.optional(Expr.text(" ")), JsonSchemaCompiler.compile(schema))));
    }

    /**
     * A grammar in GBNF, the notation of llama.cpp.
     *
     * @throws IllegalArgumentException when it is not well-formed, names a rule that is not there, or can begin with itself;
     *     the message says where
     * @see <a href="https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md">GBNF Guide</a>
     */
    public static Grammar gbnf(String source) {
        return compiled(new Grammar(new GbnfParser(source).parse()));
    }

    /** Any JSON object. */
    public static Grammar jsonObject() {
        return new Grammar(JsonTexts.anyObject());
    }

    /** Exactly a text. */
    public static Grammar text(String text) {
        return new Grammar(Expr.text(text));
    }

    /** A text that a vocabulary may have as a control token, for example {@code <tool_call>}. */
    public static Grammar marker(String text) {
        return new Grammar(new Expr.Marker(text));
    }

    /** Any text up to and with the first occurrence of a text, which may be a control token. */
    public static Grammar until(String close) {
        if (close.isEmpty()) {
            throw new IllegalArgumentException("a text must not end with nothing");
        }
        return new Grammar(untilClose(close));
    }

    /** Knuth, Morris and Pratt's automaton of the closing text as rules, one per number of bytes matched so far. */
    private static Expr untilClose(String close) {
        byte[] pattern = close.getBytes(StandardCharsets.UTF_8);
        List<Expr.Rule> matched = new ArrayList<>();
        for (int i = 0; i < pattern.length; i++) {
            matched.add(new Expr.Rule("until " + close));
        }
        for (int i = 0; i < pattern.length; i++) {
            List<Expr> options = new ArrayList<>();
            options.add(new Expr.Marker(close));
            ByteSet[] byTarget = new ByteSet[pattern.length + 1];
            for (int b = 0; b < 256; b++) {
                int target = longestPrefix(pattern, i, b);
                byTarget[target] = (byTarget[target] == null ? ByteSet.NONE : byTarget[target]).or(ByteSet.of(b));
            }
            for (int target = 0; target <= pattern.length; target++) {
                if (byTarget[target] != null) {
                    Expr next = target == pattern.length ? Expr.EMPTY : new Expr.Ref(matched.get(target));
                    options.add(Expr.seq(new Expr.Bytes(byTarget[target]), next));
                }
            }
            matched.get(i).define(Expr.choice(options));
        }
        return new Expr.Ref(matched.getFirst());
    }

    /** How much of the pattern the text ends with once a byte follows {@code matched} bytes of it. */
    private static int longestPrefix(byte[] pattern, int matched, int next) {
        byte[] text = java.util.Arrays.copyOf(pattern, matched + 1);
        text[matched] = (byte) next;
        for (int length = matched + 1; length > 0; length--) {
            if (java.util.Arrays.equals(
                    java.util.Arrays.copyOfRange(text, text.length - length, text.length),
                    java.util.Arrays.copyOf(pattern, length))) {
                return length;
            }
        }
        return 0;
    }

    /** This, then another. */
    public Grammar then(Grammar next) {
        return new Grammar(Expr.seq(root, next.root));
    }

    /** This or another. */
    public Grammar or(Grammar other) {
        return new Grammar(Expr.choice(root, other.root));
    }

    /** This or nothing. */
    public Grammar optional() {
        return new Grammar(Expr.optional(root));
    }

    /** This, at least once. */
    public Grammar oneOrMore() {
        Expr once = Expr.ref("one or more", root);
        return new Grammar(Expr.seq(once, new Expr.Star(once)));
    }

    /** A little white space, or none. */
    public static Grammar space() {
        return new Grammar(JsonTexts.SPACE);
    }

    /** Finds faults when the grammar is made rather than when it is used. */
    private static Grammar compiled(Grammar grammar) {
        Objects.requireNonNull(new Network(grammar.root));
        return grammar;
    }
}
