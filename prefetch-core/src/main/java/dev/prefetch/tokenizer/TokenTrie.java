package dev.prefetch.tokenizer;

import java.util.Arrays;

/** A prefix tree over the UTF-16 units of token texts; the edges of all nodes lie in one hash map. */
final class TokenTrie {

    /** The node of the empty text. */
    static final int ROOT = 0;

    private final PairMap edges = new PairMap(16);
    private int[] tokenOfNode = {-1};
    private int nodes = 1;

    void add(String text, int token) {
        int node = ROOT;
        for (int i = 0; i < text.length(); i++) {
            long child = edges.get(node, text.charAt(i));
            if (child == PairMap.ABSENT) {
                child = newNode();
                edges.putIfAbsent(node, text.charAt(i), child);
            }
            node = (int) child;
        }
        tokenOfNode[node] = token;
    }

    private int newNode() {
        if (nodes == tokenOfNode.length) {
            tokenOfNode = Arrays.copyOf(tokenOfNode, Math.multiplyExact(nodes, 2));
        }
        tokenOfNode[nodes] = -1;
        return nodes++;
    }

    boolean isEmpty() {
        return nodes == 1;
    }

    /** The node behind {@code node} for one more character, or -1. */
    int child(int node, char character) {
        return (int) edges.get(node, character);
    }

    /** The token whose text ends at a node, or -1. */
    int token(int node) {
        return tokenOfNode[node];
    }

    /** The token with the longest text that stands at {@code from} and ends at or before {@code to}, or -1. */
    int longestMatch(String text, int from, int to) {
        int match = -1;
        int node = ROOT;
        for (int i = from; i < to; i++) {
            node = child(node, text.charAt(i));
            if (node < 0) {
                break;
            }
            if (tokenOfNode[node] >= 0) {
                match = tokenOfNode[node];
            }
        }
        return match;
    }
}
