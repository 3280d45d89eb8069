package dev.prefetch.grammar;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.WeakHashMap;

/** Runs a grammar on a text, byte by byte. */
final class Texts {

    private static final Map<Grammar, Automaton> AUTOMATA = new WeakHashMap<>();

    private Texts() {}

    /** Whether the text is one of the grammar's. */
    static boolean matches(Grammar grammar, String text) {
        return after(grammar, text.getBytes(StandardCharsets.UTF_8)).accepts();
    }

    /** Whether the text is the beginning of one of the grammar's. */
    static boolean begins(Grammar grammar, String text) {
        return !after(grammar, text.getBytes(StandardCharsets.UTF_8)).isDead();
    }

    static Automaton.State after(Grammar grammar, byte[] text) {
        Automaton.State state = AUTOMATA.computeIfAbsent(grammar, key -> new Automaton(new Network(key.root())))
                .start();
        for (byte b : text) {
            state = state.next(b & 0xff);
        }
        return state;
    }
}
