package dev.prefetch.grammar;

import dev.prefetch.grammar.Network.Node;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Comparator;
import java.util.Deque;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Runs a network on bytes and markers.
 *
 * <p>How it works: a place in the grammar is a node and the nodes to return to; a state is the set of places one may be at,
 * which is made deterministic as it is used. States that are equal are the same object while they are remembered, so a
 * transition is computed once. When there are very many, which only recursion can bring about, all are forgotten; those in
 * use go on to work.
 *
 * <p>Not thread-safe: it belongs to the compute thread of one engine.
 */
final class Automaton {

    private static final int MAX_STATES = 20_000;

    private final Network network;
    private final int symbols;
    private final Map<StateKey, State> states = new HashMap<>();
    private final State dead;
    private final State start;

    Automaton(Network network) {
        this.network = network;
        this.symbols = Network.FIRST_MARKER + network.markers().size();
        this.dead = new State(new Place[0], false);
        Set<Place> places = new LinkedHashSet<>();
        boolean accepts = close(new Place(network.start(), null), places);
        this.start = new State(places.toArray(Place[]::new), accepts);
    }

    State start() {
        return start;
    }

    /** The nodes to return to, innermost first. */
    private record Returns(int node, @Nullable Returns outer, int hash) {

        Returns(int node, @Nullable Returns outer) {
            this(node, outer, 31 * (outer == null ? 17 : outer.hash) + node);
        }

        @Override
        public boolean equals(@Nullable Object other) {
            // Without recursion: the stack may be deep.
            if (!(other instanceof Returns that) || hash != that.hash) {
                return false;
            }
            Returns a = this;
            Returns b = that;
            while (a != b) {
                if (a == null || b == null || a.node != b.node || a.hash != b.hash) {
                    return false;
                }
                a = a.outer;
                b = b.outer;
            }
            return true;
        }

        @Override
        public int hashCode() {
            return hash;
        }
    }

    /** A node that takes something, and where to return to. */
    private record Place(int node, @Nullable Returns returns) {}

    private record StateKey(Set<Place> places, boolean accepts) {}

    /** Where one may be in the grammar. */
    final class State {

        private final Place[] places;
        private final boolean accepts;
        private @Nullable State @Nullable [] next;
        private long @Nullable [] mask;

        private State(Place[] places, boolean accepts) {
            this.places = places;
            this.accepts = accepts;
            Arrays.sort(places, Comparator.comparingInt(Place::node));
        }

        /** Whether the text may end here. */
        boolean accepts() {
            return accepts;
        }

        /** Whether nothing can follow. */
        boolean isEnd() {
            return places.length == 0;
        }

        /** Whether the text so far is not the beginning of any text of the grammar. */
        boolean isDead() {
            return places.length == 0 && !accepts;
        }

        /** The state after a byte or a marker; {@link #isDead()} when it cannot come here. */
        State next(int symbol) {
            if (next == null) {
                next = new State[symbols];
            }
            State known = next[symbol];
            if (known == null) {
                known = compute(symbol);
                next[symbol] = known;
            }
            return known;
        }

        private State compute(int symbol) {
            Set<Place> after = new LinkedHashSet<>();
            boolean end = false;
            for (Place place : places) {
                Node node = network.node(place.node);
                if (node instanceof Network.Take take
                        && symbol < Network.FIRST_MARKER
                        && take.set().contains(symbol)) {
                    end |= close(new Place(take.next(), place.returns), after);
                } else if (node instanceof Network.TakeMarker take && symbol == Network.FIRST_MARKER + take.marker()) {
                    end |= close(new Place(take.next(), place.returns), after);
                }
            }
            return after.isEmpty() && !end ? dead : intern(after, end);
        }

        /** Tokens that may come next, one bit each, when they were worked out before. */
        long @Nullable [] mask() {
            return mask;
        }

        void remember(long @Nullable [] value) {
            mask = value;
        }
    }

    private State intern(Set<Place> places, boolean accepts) {
        if (states.size() >= MAX_STATES) {
            states.values().forEach(state -> state.next = null);
            states.clear();
        }
        return states.computeIfAbsent(
                new StateKey(places, accepts), key -> new State(places.toArray(Place[]::new), accepts));
    }

    /** Adds the places that can be reached without taking anything; returns whether the end of the text can. */
    private boolean close(Place from, Set<Place> into) {
        Deque<Place> open = new ArrayDeque<>();
        Set<Place> seen = new LinkedHashSet<>();
        open.push(from);
        boolean end = false;
        while (!open.isEmpty()) {
            Place place = open.pop();
            if (!seen.add(place)) {
                continue;
            }
            switch (network.node(place.node)) {
                case Network.Take ignored -> into.add(place);
                case Network.TakeMarker ignored -> into.add(place);
                case Network.Split split -> {
                    for (int next : split.next()) {
                        open.push(new Place(next, place.returns));
                    }
                }
                case Network.Call call ->
                    open.push(new Place(
                            call.entry(),
                            network.returns(call.next()) ? place.returns : new Returns(call.next(), place.returns)));
                case Network.Return ignored -> {
                    if (place.returns == null) {
                        end = true;
                    } else {
                        open.push(new Place(place.returns.node, place.returns.outer));
                    }
                }
            }
        }
        return end;
    }

    @Override
    public String toString() {
        return "automaton of " + Objects.toString(states.size()) + " states";
    }
}
