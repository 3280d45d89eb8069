package dev.prefetch.prefetch;

import dev.prefetch.backend.Event;
import dev.prefetch.prefetch.SlotRing.State;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.NavigableMap;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Streams blocks in the static order, ahead of compute and across the ends of sweeps. Guarded by the lock of the
 * {@link TransferQueue}.
 *
 * <p>How it works: {@code window} holds, in the order of their due times, the blocks that were sent for and not yet used;
 * each owns a slot, unless its transfer failed. {@link #pump()} sends for the next streamed block whenever a slot is
 * empty and the look-ahead allows it. When compute takes a block, everything due before it is given up: it was skipped.
 * A block that compute asks for and that is not on its way (it failed, or compute jumped) is <em>demanded</em>: it gets
 * the next empty slot, and if all are used for later blocks, the latest of them is given up for it.
 */
final class Stream {

    private final TransferQueue queue;
    private final SweepClock clock;
    private final SlotPool pool;
    private final Meter meter;
    private final NavigableMap<Integer, BlockLayout> all = new TreeMap<>();
    private final NavigableMap<Integer, BlockLayout> inDecode = new TreeMap<>();
    private final Deque<Entry> window = new ArrayDeque<>();
    /** What is sent for ahead of time: in decode sweeps some blocks are not asked for. */
    private NavigableMap<Integer, BlockLayout> streamed = inDecode;

    private int usableSlots;
    private int aborting;
    private long lastSentFor = -1;
    private boolean changing;
    private boolean closed;
    private @Nullable Demand demand;

    /**
     * @param lookAheadBlocks see {@link #setLookAheadBlocks}
     * @param layouts the streamed blocks, at least one
     * @param notInDecode indices of those that sweeps of decode rows alone do not ask for
     */
    Stream(
            TransferQueue queue,
            SweepClock clock,
            SlotPool pool,
            Meter meter,
            int lookAheadBlocks,
            List<BlockLayout> layouts,
            Set<Integer> notInDecode) {
        this.queue = queue;
        this.clock = clock;
        this.pool = pool;
        this.meter = meter;
        this.usableSlots = lookAheadBlocks + 1;
        for (BlockLayout layout : layouts) {
            int block = layout.block().index();
            all.put(block, layout);
            if (!notInDecode.contains(block)) {
                inDecode.put(block, layout);
            }
        }
    }

    /** Streamed blocks that may be on their way or waiting while compute holds one. */
    int lookAheadBlocks() {
        return usableSlots - 1;
    }

    /** Uses fewer or all of the slots from now on. */
    void setLookAheadBlocks(int blocks) {
        if (blocks < 0 || blocks >= pool.size()) {
            throw new IllegalArgumentException(
                    "look-ahead must be between 0 and " + (pool.size() - 1) + " blocks but was " + blocks);
        }
        usableSlots = blocks + 1;
        pump();
    }

    /**
     * Says what the sweep that begins will ask for, and supposedly the next. Where that is something else than before,
     * what is on its way is given up.
     */
    void beginSweep(Regime regime) {
        NavigableMap<Integer, BlockLayout> wanted = regime == Regime.DECODE ? inDecode : all;
        if (wanted.size() != streamed.size()) {
            changing = true;
            try {
                while (!window.isEmpty()) {
                    giveUp(window.removeFirst());
                }
                lastSentFor = clock.now() - 1;
            } finally {
                changing = false;
            }
        }
        streamed = wanted;
    }

    /** Sends for blocks while slots are empty. */
    void pump() {
        // Giving a transfer up may end it at once, which comes back here in the middle of a change of the window.
        if (changing || closed) {
            return;
        }
        changing = true;
        try {
            fillEmptySlots();
        } finally {
            changing = false;
        }
    }

    private void fillEmptySlots() {
        Demand wanted = demand;
        if (wanted != null && wanted.entry == null) {
            sendForDemanded(wanted);
            if (wanted.entry == null) {
                return;
            }
        }
        // A failed block keeps its place in the window: a dead disk must not be asked for block after block.
        while (!streamed.isEmpty() && pool.occupied() < usableSlots && window.size() < usableSlots) {
            long time = nextTime(lastSentFor);
            Entry entry = sendFor(time);
            if (entry == null) {
                return;
            }
            window.addLast(entry);
            lastSentFor = time;
        }
    }

    private long nextTime(long after) {
        Integer next = streamed.higherKey(after < 0 ? -1 : clock.blockAt(after));
        return clock.nextAfter(after, next != null ? next : streamed.firstKey());
    }

    private @Nullable Entry sendFor(long time) {
        int block = clock.blockAt(time);
        BlockLayout layout = all.get(block);
        if (layout == null) {
            throw new IllegalStateException("block " + block + " does not stream");
        }
        SlotTicket ticket = pool.claim(block);
        if (ticket == null) {
            return null;
        }
        Entry entry = new Entry(time, layout, ticket);
        queue.submit(entry.transfer);
        return entry;
    }

    /** Everything due before this time is no longer needed. */
    void skipTo(long time) {
        changing = true;
        try {
            while (!window.isEmpty() && window.getFirst().time < time) {
                giveUp(window.removeFirst());
            }
            lastSentFor = Math.max(lastSentFor, time - 1);
        } finally {
            changing = false;
        }
        pump();
    }

    /** Gives everything up and sends for nothing more. */
    void close() {
        closed = true;
        while (!window.isEmpty()) {
            giveUp(window.removeFirst());
        }
    }

    private void giveUp(Entry entry) {
        switch (entry.state) {
            case FILLING -> {
                aborting++;
                queue.cancel(entry.transfer);
            }
            case READY -> {
                pool.ring().discard(entry.ticket);
                meter.blockDropped();
            }
            case FAILED -> {
                // The slot went when it failed.
            }
        }
    }

    /**
     * Starts to wait for a block, which compute needs now. Ends with {@link #end}.
     *
     * @param time when it is due, not before the last one
     */
    Demand demand(long time) {
        if (demand != null) {
            throw new IllegalStateException("two threads acquire weights at the same time");
        }
        skipTo(time);
        Demand wanted = new Demand(time);
        demand = wanted;
        Entry head = window.peekFirst();
        if (head != null && head.time == time) {
            if (head.state == EntryState.FAILED) {
                // It failed ahead of its time; the disk may be back by now.
                window.removeFirst();
            } else {
                wanted.entry = head;
            }
        }
        pump();
        return wanted;
    }

    private void sendForDemanded(Demand wanted) {
        Entry entry = sendFor(wanted.time);
        if (entry == null && aborting == 0) {
            giveUpLatest();
            entry = sendFor(wanted.time);
        }
        if (entry != null) {
            window.addFirst(entry);
            wanted.entry = entry;
            lastSentFor = Math.max(lastSentFor, wanted.time);
        }
    }

    private void giveUpLatest() {
        while (!window.isEmpty()) {
            Entry entry = window.removeLast();
            lastSentFor = entry.time - 1;
            if (entry.state != EntryState.FAILED) {
                giveUp(entry);
                return;
            }
        }
    }

    /** Ends the wait without the block. */
    void end(Demand wanted) {
        demand = null;
        Entry entry = wanted.entry;
        if (entry != null && entry.state == EntryState.FAILED) {
            window.remove(entry);
        }
        pump();
    }

    /** Ends the wait with the block, which must be ready. The caller releases the ticket. */
    SlotTicket take(Demand wanted) {
        Entry entry = wanted.entry;
        if (entry == null || entry.state != EntryState.READY) {
            throw new IllegalStateException("the block is not ready");
        }
        pool.ring().lease(entry.ticket);
        window.remove(entry);
        demand = null;
        pump();
        return entry.ticket;
    }

    WeightMemory memory(SlotTicket ticket) {
        return pool.memory(ticket);
    }

    /** Ends a lease. */
    void release(SlotTicket ticket, Event readUntil) {
        if (pool.release(ticket, readUntil, State.EMPTY)) {
            pump();
        }
    }

    String describe() {
        return "look-ahead " + lookAheadBlocks() + ", slots "
                + IntStream.range(0, pool.size())
                        .mapToObj(pool.ring()::describe)
                        .toList();
    }

    enum EntryState {
        FILLING,
        READY,
        FAILED
    }

    /** A block that was sent for and not yet used. */
    final class Entry implements Transfer.Owner {

        final long time;
        final SlotTicket ticket;
        final Transfer transfer;
        EntryState state = EntryState.FILLING;

        @Nullable
        Throwable cause;

        Entry(long time, BlockLayout layout, SlotTicket ticket) {
            this.time = time;
            this.ticket = ticket;
            this.transfer = new Transfer(layout, pool.memory(ticket), time, this, pool.takeRefillEvent(ticket));
        }

        @Override
        public void filled(Transfer done) {
            pool.ring().publish(ticket);
            state = EntryState.READY;
        }

        @Override
        public void failed(Transfer done, Throwable why) {
            pool.ring().abort(ticket);
            state = EntryState.FAILED;
            cause = why;
            pump();
        }

        @Override
        public void dropped(Transfer done) {
            pool.ring().abort(ticket);
            aborting--;
            pump();
        }
    }

    /** Compute waiting for a block. */
    static final class Demand {

        final long time;

        @Nullable
        Entry entry;

        Demand(long time) {
            this.time = time;
        }
    }
}
