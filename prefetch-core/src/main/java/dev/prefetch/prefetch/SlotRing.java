package dev.prefetch.prefetch;

import java.util.concurrent.atomic.AtomicLongArray;
import org.jspecify.annotations.Nullable;

/**
 * The states of the slots, without their memory.
 *
 * <p>How it works: a slot is one atomic 64-bit word of state, lease count, block and generation, so every transition is
 * one compare-and-set that checks all of them.
 *
 * <pre>
 *   EMPTY -- claim --> FILLING -- publish --> READY -- lease --> LEASED -- release (last) --> EMPTY
 *                         |                     |                 |  ^
 *                         +-- abort --> EMPTY   +-- discard       +--+ lease, release (not last)
 *                                                    --> EMPTY
 * </pre>
 *
 * <p>Invariants: only the claimer of a generation writes the slot's memory, and only between claim and publish or abort;
 * memory is read only between lease and release; the generation changes with every claim, so a ticket of an earlier
 * filling fails in every operation instead of touching the bytes of another block.
 */
final class SlotRing {

    /** Most leases of one slot at a time. */
    static final int MAX_LEASES = (1 << 10) - 1;

    /** Largest block index a slot can carry. */
    static final int MAX_BLOCK = (1 << 20) - 1;

    private final Cells cells;

    /** A ring of empty slots. */
    SlotRing(int slots) {
        this(new AtomicCells(slots));
    }

    /** For tests that take turns at every access. */
    SlotRing(Cells cells) {
        this.cells = cells;
    }

    int size() {
        return cells.size();
    }

    State state(int slot) {
        return State.of(cells.get(slot));
    }

    /** The slot's state, lease count, block and generation in words. */
    String describe(int slot) {
        return describeWord(cells.get(slot));
    }

    /** Claims the first empty slot for a block, or returns null when none is empty. EMPTY -> FILLING. */
    @Nullable
    SlotTicket claim(int block) {
        if (block < 0 || block > MAX_BLOCK) {
            throw new IllegalArgumentException("block index " + block + " is not in 0.." + MAX_BLOCK);
        }
        for (int slot = 0; slot < cells.size(); slot++) {
            long word = cells.get(slot);
            while (State.of(word) == State.EMPTY) {
                int generation = generation(word) + 1;
                if (cells.compareAndSet(slot, word, word(State.FILLING, 0, block, generation))) {
                    return new SlotTicket(slot, block, generation);
                }
                word = cells.get(slot);
            }
        }
        return null;
    }

    /** Makes a filled slot readable. FILLING -> READY. */
    void publish(SlotTicket ticket) {
        step(ticket, "publish", State.FILLING, State.READY);
    }

    /** Gives up filling. FILLING -> EMPTY. */
    void abort(SlotTicket ticket) {
        step(ticket, "abort", State.FILLING, State.EMPTY);
    }

    /** Gives up a filled slot nobody holds; false when somebody holds it. READY -> EMPTY. */
    boolean discard(SlotTicket ticket) {
        while (true) {
            long word = cells.get(ticket.slot());
            requireStamp(ticket, "discard", word);
            if (State.of(word) == State.LEASED) {
                return false;
            }
            requireState(ticket, "discard", word, State.READY);
            if (cells.compareAndSet(ticket.slot(), word, word(State.EMPTY, 0, ticket))) {
                return true;
            }
        }
    }

    /** Starts reading. READY -> LEASED, or one more lease of a LEASED slot. */
    void lease(SlotTicket ticket) {
        while (true) {
            long word = cells.get(ticket.slot());
            requireStamp(ticket, "lease", word);
            int leases = leases(word);
            if (State.of(word) != State.LEASED) {
                requireState(ticket, "lease", word, State.READY);
            } else if (leases == MAX_LEASES) {
                throw fault(ticket, "lease", word, "fewer than " + MAX_LEASES + " leases");
            }
            if (cells.compareAndSet(ticket.slot(), word, word(State.LEASED, leases + 1, ticket))) {
                return;
            }
        }
    }

    /**
     * Ends reading. The last lease returns the slot to {@code after}: EMPTY for a slot that is read once, READY for one
     * whose bytes are kept.
     *
     * @return whether this was the last lease
     */
    boolean release(SlotTicket ticket, State after) {
        if (after != State.EMPTY && after != State.READY) {
            throw new IllegalArgumentException("a released slot cannot become " + after);
        }
        while (true) {
            long word = cells.get(ticket.slot());
            requireStamp(ticket, "release", word);
            requireState(ticket, "release", word, State.LEASED);
            int leases = leases(word) - 1;
            long next = leases == 0 ? word(after, 0, ticket) : word(State.LEASED, leases, ticket);
            if (cells.compareAndSet(ticket.slot(), word, next)) {
                return leases == 0;
            }
        }
    }

    private void step(SlotTicket ticket, String action, State from, State to) {
        long word = cells.get(ticket.slot());
        requireStamp(ticket, action, word);
        requireState(ticket, action, word, from);
        if (!cells.compareAndSet(ticket.slot(), word, word(to, 0, ticket))) {
            // Only the claimer may act on a slot being filled, so nobody can have come in between.
            throw fault(ticket, action, cells.get(ticket.slot()), "an undisturbed " + from);
        }
    }

    private static void requireStamp(SlotTicket ticket, String action, long word) {
        if (generation(word) != ticket.generation() || block(word) != ticket.block()) {
            throw fault(ticket, action, word, "block " + ticket.block() + " of generation " + ticket.generation());
        }
    }

    private static void requireState(SlotTicket ticket, String action, long word, State expected) {
        if (State.of(word) != expected) {
            throw fault(ticket, action, word, expected.name());
        }
    }

    private static SlotStateException fault(SlotTicket ticket, String action, long word, String expected) {
        return new SlotStateException(
                action + " of slot " + ticket.slot() + ": expected " + expected + " but was " + describeWord(word));
    }

    private static String describeWord(long word) {
        return State.of(word) + " {block " + block(word) + ", generation " + generation(word) + ", leases "
                + leases(word) + "}";
    }

    private static long word(State state, int leases, SlotTicket ticket) {
        return word(state, leases, ticket.block(), ticket.generation());
    }

    private static long word(State state, int leases, int block, int generation) {
        return state.ordinal() | (long) leases << 2 | (long) block << 12 | (long) generation << 32;
    }

    private static int leases(long word) {
        return (int) (word >>> 2) & MAX_LEASES;
    }

    private static int block(long word) {
        return (int) (word >>> 12) & MAX_BLOCK;
    }

    private static int generation(long word) {
        return (int) (word >>> 32);
    }

    /** State of a slot. */
    enum State {
        EMPTY,
        FILLING,
        READY,
        LEASED;

        private static final State[] VALUES = values();

        static State of(long word) {
            return VALUES[(int) word & 3];
        }
    }

    /** The words of the slots. */
    interface Cells {

        int size();

        long get(int slot);

        boolean compareAndSet(int slot, long expected, long next);
    }

    private record AtomicCells(AtomicLongArray words) implements Cells {

        AtomicCells(int slots) {
            this(new AtomicLongArray(slots));
        }

        @Override
        public int size() {
            return words.length();
        }

        @Override
        public long get(int slot) {
            return words.get(slot);
        }

        @Override
        public boolean compareAndSet(int slot, long expected, long next) {
            return words.compareAndSet(slot, expected, next);
        }
    }
}
