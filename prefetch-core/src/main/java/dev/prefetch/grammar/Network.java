package dev.prefetch.grammar;

import dev.prefetch.grammar.Expr.Rule;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashSet;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A grammar as nodes: a recursive transition network, one part per rule. A node takes a byte or a marker, branches, calls
 * a rule, or returns from one. Immutable once built.
 */
final class Network {

    /** Symbols below are bytes; those from here on are markers. */
    static final int FIRST_MARKER = 256;

    private static final int MAX_NODES = 500_000;

    private final List<Node> nodes = new ArrayList<>();
    private final Map<Rule, Integer> entries = new IdentityHashMap<>();
    private final Deque<Rule> pending = new ArrayDeque<>();
    private final List<String> markers = new ArrayList<>();
    private final int start;

    sealed interface Node {}

    /** Takes a byte of a set. */
    record Take(ByteSet set, int next) implements Node {}

    /** Takes a marker, numbered as in {@link #markers()}. */
    record TakeMarker(int marker, int next) implements Node {}

    /** Goes on at any of several nodes. */
    record Split(int[] next) implements Node {}

    /** Goes on at a rule's entry, then at a node. */
    record Call(int entry, int next) implements Node {}

    /** Goes back to where the rule was called. */
    record Return() implements Node {}

    /**
     * @throws IllegalArgumentException when a rule can begin with itself, or the grammar is too large
     */
    Network(Expr root) {
        int end = add(new Return());
        start = build(root, end);
        while (!pending.isEmpty()) {
            Rule rule = pending.poll();
            int body = build(rule.body(), add(new Return()));
            nodes.set(entry(rule), new Split(new int[] {body}));
        }
        refuseLeftRecursion();
    }

    int start() {
        return start;
    }

    Node node(int index) {
        return nodes.get(index);
    }

    List<String> markers() {
        return markers;
    }

    /** Whether going on at a node means to return at once; then a call need not remember it. */
    boolean returns(int index) {
        return nodes.get(index) instanceof Return;
    }

    private int add(Node node) {
        if (nodes.size() >= MAX_NODES) {
            throw new IllegalArgumentException("the grammar is too large: more than " + MAX_NODES + " nodes");
        }
        nodes.add(node);
        return nodes.size() - 1;
    }

    private int entry(Rule rule) {
        Integer known = entries.get(rule);
        if (known == null) {
            known = add(new Return());
            entries.put(rule, known);
            pending.add(rule);
        }
        return known;
    }

    /** Builds an expression in front of a node and returns where it begins. */
    private int build(Expr expr, int next) {
        return switch (expr) {
            case Expr.Bytes bytes -> add(new Take(bytes.set(), next));
            case Expr.Sequence sequence -> {
                int at = next;
                for (int i = sequence.parts().size() - 1; i >= 0; i--) {
                    at = build(sequence.parts().get(i), at);
                }
                yield at;
            }
            case Expr.Choice choice ->
                add(new Split(choice.options().stream()
                        .mapToInt(option -> build(option, next))
                        .toArray()));
            case Expr.Star star -> {
                int split = add(new Return());
                int body = build(star.body(), split);
                nodes.set(split, new Split(new int[] {body, next}));
                yield split;
            }
            case Expr.Marker marker -> {
                int at = next;
                byte[] bytes = marker.text().getBytes(StandardCharsets.UTF_8);
                for (int i = bytes.length - 1; i >= 0; i--) {
                    at = add(new Take(ByteSet.of(bytes[i] & 0xff), at));
                }
                yield add(new Split(new int[] {add(new TakeMarker(number(marker.text()), next)), at}));
            }
            case Expr.Ref ref -> add(new Call(entry(ref.rule()), next));
        };
    }

    private int number(String marker) {
        int known = markers.indexOf(marker);
        if (known >= 0) {
            return known;
        }
        markers.add(marker);
        return markers.size() - 1;
    }

    /** A rule that can begin with itself would be expanded without end. */
    private void refuseLeftRecursion() {
        Set<Integer> nullable = nullableEntries();
        Map<Integer, Set<Integer>> begins = new java.util.HashMap<>();
        for (int entry : entries.values()) {
            begins.put(entry, beginningCalls(entry, nullable));
        }
        Set<Integer> finished = new HashSet<>();
        for (Map.Entry<Rule, Integer> rule : entries.entrySet()) {
            refuseCycle(rule.getValue(), rule.getKey().name(), begins, finished);
        }
    }

    private static void refuseCycle(int entry, String name, Map<Integer, Set<Integer>> begins, Set<Integer> finished) {
        // Depth first without recursion: chains of rules can be thousands long.
        Deque<java.util.Iterator<Integer>> path = new ArrayDeque<>();
        Deque<Integer> onPath = new ArrayDeque<>();
        Set<Integer> open = new HashSet<>();
        if (finished.contains(entry)) {
            return;
        }
        path.push(begins.getOrDefault(entry, Set.of()).iterator());
        onPath.push(entry);
        open.add(entry);
        while (!path.isEmpty()) {
            if (!path.peek().hasNext()) {
                path.pop();
                int done = onPath.pop();
                open.remove(done);
                finished.add(done);
                continue;
            }
            int next = path.peek().next();
            if (open.contains(next)) {
                throw new IllegalArgumentException("the grammar never gets beyond itself at or below '" + name
                        + "': a rule must not begin with itself");
            }
            if (!finished.contains(next)) {
                path.push(begins.getOrDefault(next, Set.of()).iterator());
                onPath.push(next);
                open.add(next);
            }
        }
    }

    /** Entries of the rules that may be empty, by fixed point. */
    private Set<Integer> nullableEntries() {
        Set<Integer> nullable = new HashSet<>();
        boolean changed;
        do {
            changed = false;
            for (int entry : entries.values()) {
                if (!nullable.contains(entry) && reachesReturn(entry, nullable)) {
                    nullable.add(entry);
                    changed = true;
                }
            }
        } while (changed);
        return nullable;
    }

    private boolean reachesReturn(int from, Set<Integer> nullable) {
        return walk(from, nullable, new HashSet<>());
    }

    private Set<Integer> beginningCalls(int from, Set<Integer> nullable) {
        Set<Integer> calls = new HashSet<>();
        walk(from, nullable, calls);
        return calls;
    }

    /** Follows what takes nothing; collects the rules called on the way and says whether the end is reached. */
    private boolean walk(int from, Set<Integer> nullable, Set<Integer> calls) {
        Deque<Integer> open = new ArrayDeque<>(List.of(from));
        Set<Integer> seen = new HashSet<>();
        boolean end = false;
        while (!open.isEmpty()) {
            int at = open.pop();
            if (!seen.add(at)) {
                continue;
            }
            switch (nodes.get(at)) {
                case Split split -> {
                    for (int next : split.next()) {
                        open.push(next);
                    }
                }
                case Call call -> {
                    calls.add(call.entry());
                    if (nullable.contains(call.entry())) {
                        open.push(call.next());
                    }
                }
                case Return ignored -> end = true;
                case Take ignored -> {}
                case TakeMarker ignored -> {}
            }
        }
        return end;
    }
}
