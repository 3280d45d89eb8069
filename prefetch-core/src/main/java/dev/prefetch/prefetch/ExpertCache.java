package dev.prefetch.prefetch;

import dev.prefetch.backend.Event;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.SlotRing.State;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Experts that are read when the router asks for them, and kept while they are asked for often. Guarded by the lock of
 * the {@link TransferQueue}.
 *
 * <p>How it works: all places are alike; an expert in one is either <em>kept</em> or <em>passing</em>. A passing expert
 * makes room for the next one, the one used longest ago first. At most {@code places - passingPlaces} are kept. In
 * decode, an expert that is read becomes kept when there is room, or when it was asked for more (each use counts, and
 * counts half after {@value #HALF_LIFE_SWEEPS} sweeps) than the least asked-for kept one, which then is passing. Prompts
 * change neither counts nor what is kept: they touch nearly everything once.
 *
 * <p>An expert that was requested and not yet used is <em>awaited</em> and is not evicted for another request that comes
 * later in the graph; requests that find no place wait in order until one is let go.
 */
final class ExpertCache {

    static final int HALF_LIFE_SWEEPS = 64;

    private final TransferQueue queue;
    private final SweepClock clock;
    private final SlotPool pool;
    private final Meter meter;
    private final int keptPlaces;
    private final Map<Integer, BlockLayout> layouts = new HashMap<>();
    private final Map<Integer, Entry> entries = new HashMap<>();
    /** Blocks to send for, by due time. */
    private final NavigableMap<Long, Integer> requests = new TreeMap<>();

    private final NavigableMap<Integer, List<Integer>> layers = new TreeMap<>();
    private final WholeLayers wholeLayers = new WholeLayers();
    private boolean readAhead;
    private int readAheadTo = -1;
    private final double[] uses;
    private final long[] usesAt;
    private int kept;
    private int aborting;
    private long useSequence;
    private long decodeSweeps;
    private boolean changing;
    private boolean closed;
    private @Nullable Demand demand;

    /**
     * @param passingPlaces places that are never used to keep experts; at least 1 is
     */
    ExpertCache(
            TransferQueue queue,
            SweepClock clock,
            SlotPool pool,
            Meter meter,
            int passingPlaces,
            List<BlockLayout> experts,
            int blocks) {
        this.queue = queue;
        this.clock = clock;
        this.pool = pool;
        this.meter = meter;
        this.keptPlaces = Math.max(0, pool.size() - Math.max(1, passingPlaces));
        this.uses = new double[blocks];
        this.usesAt = new long[blocks];
        for (BlockLayout layout : experts) {
            WeightBlock block = layout.block();
            layouts.put(block.index(), layout);
            layers.computeIfAbsent(block.layer(), layer -> new ArrayList<>()).add(block.index());
        }
    }

    /** A sweep begins: what earlier ones asked for and did not use is no longer awaited. */
    void beginSweep(Regime regime, int tokens) {
        if (regime == Regime.DECODE) {
            decodeSweeps++;
        }
        readAhead = regime == Regime.PREFILL && readingAheadPays(tokens);
        readAheadTo = -1;
        passed(clock.now());
    }

    /** Whether this sweep reads whole layers ahead of the router. */
    boolean readsAhead() {
        return readAhead;
    }

    private boolean readingAheadPays(int tokens) {
        double bytesPerSecond = meter.snapshot().linkBytesPerSecond();
        if (bytesPerSecond <= 0 || layers.isEmpty()) {
            return false;
        }
        double bytes =
                layouts.values().stream().mapToLong(BlockLayout::byteSize).sum() / (double) layers.size();
        double missing = 1 - (double) kept / layouts.size();
        return wholeLayers.pay(
                tokens,
                meter.layerComputeSeconds(false, layers.size()),
                meter.layerComputeSeconds(true, layers.size()),
                missing * bytes / bytesPerSecond);
    }

    /** Compute is at a layer: if that pays, sends for all experts of it and, once it is at the experts, of the next. */
    void at(WeightBlock block) {
        if (!readAhead) {
            return;
        }
        boolean atExperts = block.kind() == WeightBlock.Kind.EXPERT;
        Integer layer = atExperts ? layers.higherKey(block.layer()) : layers.ceilingKey(block.layer());
        if (layer == null || layer <= readAheadTo || block.layer() < 0) {
            return;
        }
        readAheadTo = layer;
        for (int expert : layers.get(layer)) {
            await(expert);
        }
        pump();
    }

    /** Makes an expert of this sweep awaited and sends for it if need be; returns whether it was there. */
    private boolean await(int block) {
        long time = clock.dueThisSweep(block);
        Entry entry = entries.get(block);
        if (entry != null && entry.state == EntryState.FAILED) {
            remove(entry);
            entry = null;
        }
        if (entry != null) {
            entry.await(time);
        } else {
            requests.put(time, block);
        }
        return entry != null;
    }

    /** Compute has come to a step: requests for earlier ones are void. */
    void passed(long time) {
        requests.headMap(time).clear();
        changing = true;
        try {
            for (Entry entry : List.copyOf(entries.values())) {
                if (entry.awaited && entry.time < time) {
                    entry.awaited = false;
                    if (entry.state == EntryState.FILLING) {
                        giveUp(entry);
                    }
                }
            }
        } finally {
            changing = false;
        }
        pump();
    }

    /** The router has spoken: sends for the experts that are not there, all at once, and for no others of the layer. */
    void request(int layer, List<Integer> blocks) {
        List<Integer> all = layers.getOrDefault(layer, List.of());
        if (meter.regime() == Regime.PREFILL && !all.isEmpty()) {
            wholeLayers.observe(meter.tokens(), (double) blocks.size() / all.size());
        }
        if (readAhead) {
            forget(all, Set.copyOf(blocks));
        }
        for (int block : blocks) {
            meter.expertAsked(await(block));
        }
        pump();
    }

    /** What was read ahead of the router, and in vain, gives way. */
    private void forget(List<Integer> blocks, Set<Integer> except) {
        changing = true;
        try {
            for (int block : blocks) {
                if (except.contains(block)) {
                    continue;
                }
                requests.remove(clock.dueThisSweep(block));
                Entry entry = entries.get(block);
                if (entry != null && entry.awaited) {
                    entry.awaited = false;
                    if (entry.state == EntryState.FILLING) {
                        giveUp(entry);
                    }
                }
            }
        } finally {
            changing = false;
        }
    }

    private void pump() {
        if (changing || closed) {
            return;
        }
        changing = true;
        try {
            Demand wanted = demand;
            if (wanted != null && wanted.entry == null) {
                wanted.entry = sendFor(wanted.block, wanted.time, true);
                if (wanted.entry == null) {
                    return;
                }
            }
            while (!requests.isEmpty()) {
                Map.Entry<Long, Integer> next = requests.firstEntry();
                if (!entries.containsKey(next.getValue()) && sendFor(next.getValue(), next.getKey(), false) == null) {
                    return;
                }
                requests.remove(next.getKey());
            }
        } finally {
            changing = false;
        }
    }

    private @Nullable Entry sendFor(int block, long time, boolean urgent) {
        BlockLayout layout = layouts.get(block);
        if (layout == null) {
            throw new IllegalStateException("block " + block + " is not an expert on demand");
        }
        SlotTicket ticket = pool.claim(block);
        if (ticket == null && makeRoom(urgent)) {
            ticket = pool.claim(block);
        }
        if (ticket == null) {
            return null;
        }
        Entry entry = new Entry(block, time, layout, ticket);
        entry.awaited = true;
        entries.put(block, entry);
        queue.submit(entry.transfer);
        return entry;
    }

    /** Empties a place if one may be emptied now. */
    private boolean makeRoom(boolean urgent) {
        if (aborting > 0) {
            return false;
        }
        Entry victim = least(e -> e.idle() && !e.kept, Comparator.comparingLong(e -> e.lastUse));
        if (victim == null && urgent) {
            victim = leastNeeded();
        }
        if (victim == null) {
            return false;
        }
        if (victim.awaited) {
            requests.put(victim.time, victim.block);
        }
        boolean filling = victim.state == EntryState.FILLING;
        giveUp(victim);
        return !filling || aborting == 0;
    }

    /** What goes when all passing experts are awaited by requests compute will come to later. */
    private @Nullable Entry leastNeeded() {
        Comparator<Entry> latest = Comparator.comparingLong((Entry e) -> e.time).reversed();
        Entry victim = least(e -> e.leases == 0 && e.awaited && !e.kept && e.state != EntryState.FAILED, latest);
        if (victim == null) {
            victim = least(Entry::idle, Comparator.comparingDouble(e -> weight(e.block)));
        }
        return victim != null ? victim : least(e -> e.leases == 0 && e.state != EntryState.FAILED, latest);
    }

    private @Nullable Entry least(Predicate<Entry> condition, Comparator<Entry> order) {
        return entries.values().stream().filter(condition).min(order).orElse(null);
    }

    private void giveUp(Entry entry) {
        EntryState before = entry.state;
        remove(entry);
        if (before == EntryState.FILLING) {
            aborting++;
            queue.cancel(entry.transfer);
        } else if (before == EntryState.READY) {
            pool.ring().discard(entry.ticket);
        }
    }

    private void remove(Entry entry) {
        entries.remove(entry.block);
        if (entry.kept) {
            kept--;
        }
    }

    /** Whether an expert is in memory now. */
    boolean isReady(int block) {
        Entry entry = entries.get(block);
        return entry != null && entry.state == EntryState.READY;
    }

    /** Starts to wait for an expert, which compute needs now. Ends with {@link #end} or {@link #take}. */
    Demand demand(int block) {
        if (demand != null) {
            throw new IllegalStateException("two threads acquire weights at the same time");
        }
        long time = clock.dueThisSweep(block);
        Entry entry = entries.get(block);
        boolean asked = requests.remove(time) != null;
        if (entry != null && entry.state == EntryState.FAILED) {
            asked |= entry.awaited;
            remove(entry);
            entry = null;
        }
        if (!asked && (entry == null || !entry.awaited)) {
            meter.expertAsked(entry != null);
        }
        Demand wanted = new Demand(block, time);
        wanted.entry = entry;
        demand = wanted;
        if (entry != null) {
            entry.await(time);
        }
        pump();
        return wanted;
    }

    /** Ends the wait without the expert. */
    void end(Demand wanted) {
        demand = null;
        Entry entry = wanted.entry;
        if (entry != null) {
            entry.awaited = false;
            if (entry.state == EntryState.FAILED && entries.get(entry.block) == entry) {
                remove(entry);
            }
        }
        pump();
    }

    /** Ends the wait with the expert, which must be ready. */
    Entry take(Demand wanted, Regime regime) {
        Entry entry = wanted.entry;
        if (entry == null || entry.state != EntryState.READY) {
            throw new IllegalStateException("the expert is not ready");
        }
        pool.ring().lease(entry.ticket);
        demand = null;
        entry.awaited = false;
        entry.leases++;
        entry.uses++;
        entry.lastUse = ++useSequence;
        if (regime == Regime.DECODE) {
            uses[entry.block] = weight(entry.block) + 1;
            usesAt[entry.block] = decodeSweeps;
            admit(entry);
        }
        pump();
        return entry;
    }

    private void admit(Entry entry) {
        if (entry.kept || keptPlaces == 0) {
            return;
        }
        if (kept < keptPlaces) {
            kept++;
            entry.kept = true;
            return;
        }
        Entry least = entries.values().stream()
                .filter(e -> e.kept)
                .min(Comparator.comparingDouble((Entry e) -> weight(e.block)).thenComparingLong(e -> e.lastUse))
                .orElseThrow();
        if (weight(entry.block) > weight(least.block)) {
            least.kept = false;
            entry.kept = true;
        }
    }

    private double weight(int block) {
        long age = decodeSweeps - usesAt[block];
        return age == 0 ? uses[block] : uses[block] * Math.pow(0.5, (double) age / HALF_LIFE_SWEEPS);
    }

    WeightMemory memory(Entry entry) {
        return pool.memory(entry.ticket);
    }

    /** Ends a lease; the expert stays until its place is needed. */
    void release(Entry entry, Event readUntil) {
        entry.leases--;
        pool.release(entry.ticket, readUntil, State.READY);
        pump();
    }

    /** Experts that are in memory. */
    int present() {
        return (int) entries.values().stream()
                .filter(e -> e.state == EntryState.READY)
                .count();
    }

    /** Gives up what is on its way and sends for nothing more. */
    void close() {
        closed = true;
        requests.clear();
        for (Entry entry : new ArrayList<>(entries.values())) {
            if (entry.leases == 0) {
                giveUp(entry);
            }
        }
    }

    String describe() {
        return pool.size() + " expert places, " + kept + " kept, " + entries.size() + " in use, " + requests.size()
                + " requests waiting";
    }

    enum EntryState {
        FILLING,
        READY,
        FAILED
    }

    /** Compute waiting for an expert. */
    static final class Demand {

        final int block;
        final long time;

        @Nullable
        Entry entry;

        Demand(int block, long time) {
            this.block = block;
            this.time = time;
        }
    }

    /** An expert in a place or on its way there. */
    final class Entry implements Transfer.Owner {

        final int block;
        final SlotTicket ticket;
        final Transfer transfer;
        long time;
        EntryState state = EntryState.FILLING;
        boolean awaited;
        boolean kept;
        int leases;
        /** How often it was taken since it was read. */
        long uses;

        long lastUse;

        @Nullable
        Throwable cause;

        Entry(int block, long time, BlockLayout layout, SlotTicket ticket) {
            this.block = block;
            this.time = time;
            this.ticket = ticket;
            this.transfer = new Transfer(layout, pool.memory(ticket), time, this, pool.takeRefillEvent(ticket));
        }

        boolean idle() {
            return state == EntryState.READY && !awaited && leases == 0;
        }

        void await(long dueTime) {
            awaited = true;
            time = dueTime;
        }

        @Override
        public void filled(Transfer done) {
            pool.ring().publish(ticket);
            state = EntryState.READY;
            pump();
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
}
