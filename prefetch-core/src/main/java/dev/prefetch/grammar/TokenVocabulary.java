package dev.prefetch.grammar;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The tokens of a model as the bytes they stand for, arranged as a tree so that tokens with a common beginning are looked
 * at together. Immutable and thread-safe.
 */
public final class TokenVocabulary {

    private final byte[][] tokens;
    private final int size;
    private final Set<Integer> endTokens;
    private final Map<String, List<Integer>> controlTokens;

    /** Nodes in the order of a walk from the root that takes the first child first. */
    private final byte[] labels;

    /** Where the walk goes on when a node is not entered. */
    private final int[] behind;

    /** Depth of each node; children of the root have 0. */
    private final short[] depths;

    /** First token that ends at a node, or -1. */
    private final int[] firstToken;

    /** The next token with the same bytes, or -1. */
    private final int[] sameBytes;

    private final int longestToken;

    /**
     * @param tokens bytes of each token
     * @param controlTexts for each token, its text if it is a control token, which can only be a marker, never text; else
     *     null
     * @param endTokens tokens that end a text
     */
    public TokenVocabulary(byte[][] tokens, @Nullable String[] controlTexts, Set<Integer> endTokens) {
        this.tokens = tokens.clone();
        this.size = tokens.length;
        this.endTokens = Set.copyOf(endTokens);
        this.controlTokens = new HashMap<>();
        List<Integer> sorted = new ArrayList<>();
        int bytes = 0;
        for (int token = 0; token < size; token++) {
            if (controlTexts[token] != null) {
                controlTokens
                        .computeIfAbsent(controlTexts[token], text -> new ArrayList<>())
                        .add(token);
            } else if (tokens[token].length > 0 && !endTokens.contains(token)) {
                sorted.add(token);
                bytes += tokens[token].length;
            }
        }
        sorted.sort(Comparator.comparing(token -> tokens[token], Arrays::compareUnsigned));
        Builder builder = new Builder(bytes, size);
        byte[] previous = new byte[0];
        for (int token : sorted) {
            builder.add(tokens[token], previous, token);
            previous = tokens[token];
        }
        builder.finish();
        this.labels = Arrays.copyOf(builder.labels, builder.count);
        this.behind = Arrays.copyOf(builder.behind, builder.count);
        this.depths = Arrays.copyOf(builder.depths, builder.count);
        this.firstToken = Arrays.copyOf(builder.firstToken, builder.count);
        this.sameBytes = builder.sameBytes;
        this.longestToken =
                sorted.stream().mapToInt(token -> tokens[token].length).max().orElse(0);
    }

    /** Builds the tree from sorted tokens. */
    private static final class Builder {

        private final byte[] labels;
        private final int[] behind;
        private final short[] depths;
        private final int[] firstToken;
        private final int[] sameBytes;
        private final List<Integer> path = new ArrayList<>();
        private int count;

        Builder(int bytes, int tokens) {
            labels = new byte[bytes];
            behind = new int[bytes];
            depths = new short[bytes];
            firstToken = new int[bytes];
            sameBytes = new int[tokens];
            Arrays.fill(sameBytes, -1);
        }

        void add(byte[] token, byte[] previous, int id) {
            if (token.length > Short.MAX_VALUE) {
                throw new IllegalArgumentException("token " + id + " has " + token.length + " bytes");
            }
            int common = Arrays.mismatch(token, previous);
            if (common < 0) {
                int node = path.getLast();
                sameBytes[id] = firstToken[node];
                firstToken[node] = id;
                return;
            }
            close(common);
            for (int i = common; i < token.length; i++) {
                labels[count] = token[i];
                depths[count] = (short) i;
                firstToken[count] = -1;
                path.add(count++);
            }
            firstToken[count - 1] = id;
        }

        void finish() {
            close(0);
        }

        private void close(int depth) {
            while (path.size() > depth) {
                behind[path.removeLast()] = count;
            }
        }
    }

    /** Number of tokens. */
    public int size() {
        return size;
    }

    byte[] bytes(int token) {
        return tokens[token];
    }

    boolean isEnd(int token) {
        return endTokens.contains(token);
    }

    /** The tokens that may come at a state, one bit each. */
    long[] allowed(Automaton.State state, List<String> markers) {
        long[] allowed = new long[(size + 63) / 64];
        Automaton.State[] path = new Automaton.State[longestToken];
        int at = 0;
        while (at < labels.length) {
            int depth = depths[at];
            Automaton.State before = depth == 0 ? state : path[depth - 1];
            Automaton.State after = before.next(labels[at] & 0xff);
            if (after.isDead()) {
                at = behind[at];
                continue;
            }
            path[depth] = after;
            for (int token = firstToken[at]; token >= 0; token = sameBytes[token]) {
                set(allowed, token);
            }
            at++;
        }
        for (int i = 0; i < markers.size(); i++) {
            if (!state.next(Network.FIRST_MARKER + i).isDead()) {
                controlTokens.getOrDefault(markers.get(i), List.of()).forEach(token -> set(allowed, token));
            }
        }
        if (state.accepts()) {
            endTokens.forEach(token -> set(allowed, token));
        }
        return allowed;
    }

    private static void set(long[] bits, int token) {
        bits[token >> 6] |= 1L << token;
    }

    /** The control text of a token that a grammar may name, as an index into its markers; -1 when there is none. */
    int marker(int token, List<String> markers) {
        for (int i = 0; i < markers.size(); i++) {
            if (controlTokens.getOrDefault(markers.get(i), List.of()).contains(token)) {
                return i;
            }
        }
        return -1;
    }
}
