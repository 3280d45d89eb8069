package dev.prefetch.prefetch;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.DeviceFailedException;
import dev.prefetch.backend.Devices;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.Tier;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgufPart;
import dev.prefetch.model.TensorRole;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.Plan.Entry;
import dev.prefetch.prefetch.Plan.Residency;
import dev.prefetch.storage.BlockReader;
import dev.prefetch.storage.MappedReader;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Weights that may be larger than the memory they are given: some blocks stay, the others are on their way before compute
 * asks for them.
 *
 * <p>How it works: {@link Stream} sends for blocks in the static order and {@link ExpertCache} for what the router asks;
 * both put transfers into one {@link TransferQueue}, whose threads read what is needed first. {@link #acquire} waits until
 * a block is there and leases it; closing the lease records an event of the compute stream, after which the memory may be
 * filled again. One lock guards all of it; reads and compute run outside.
 *
 * <p>Faults: a read that fails is repeated a bounded number of times; then the acquire that needs the block fails, and
 * only that. The next sweep tries again.
 */
public final class StreamingWeights implements WeightSource {

    private static final Logger LOG = LoggerFactory.getLogger(StreamingWeights.class);

    private final Plan plan;
    private final Devices devices;
    private final Device device;
    private final Link link;
    private final StreamingOptions options;
    private final Meter meter;
    private final TraceRecorder trace;
    private final SweepClock clock;
    private final TransferQueue queue;
    private final ReentrantLock lock;
    private final Map<Integer, BlockLayout> layouts = new HashMap<>();
    private final Map<Integer, WeightMemory> resident = new HashMap<>();
    /** Layers of which the device has all experts for good. */
    private final Set<Integer> residentExperts;

    private final OpenLeases leases = new OpenLeases();
    private final @Nullable Stream stream;
    private final @Nullable ExpertCache experts;
    private final @Nullable MappedFiles mapped;
    /** Chooses the look-ahead; null while it is fixed. */
    private @Nullable Tuner tuner;

    private boolean closing;

    private StreamingWeights(Plan plan, Devices devices, Link link, List<GgufPart> files, StreamingOptions options) {
        this.plan = plan;
        this.devices = devices;
        this.device = devices.primary();
        this.link = link;
        this.options = options;
        this.trace = new TraceRecorder(options.traceSweeps());
        this.meter = devices.accelerated()
                ? new DeviceMeter(plan.entries().size(), device.compute(), trace)
                : new SweepMeter(plan.entries().size(), System::nanoTime, trace, TraceRecorder.Lane.DISK);
        this.clock = new SweepClock(plan.entries().stream().map(Entry::block).toList());
        this.queue = new TransferQueue(link, options, meter);
        this.lock = queue.lock();
        this.residentExperts = devices.accelerated() ? layersOfResidentExperts(plan) : Set.of();
        for (Entry entry : plan.entries()) {
            if (entry.residency() != Residency.MAPPED) {
                layouts.put(
                        entry.block().index(),
                        BlockLayout.of(entry.block(), link.alignment(), options.mergeGapBytes()));
            }
        }
        try {
            boolean readsInPlace = plan.entries().stream().anyMatch(StreamingWeights::readInPlace);
            this.mapped = readsInPlace ? MappedFiles.wrap(devices.host(), files, leases) : null;
            allocateResident();
            this.stream = makeStream();
            this.experts = makeExperts();
            if (options.tune() && stream != null) {
                this.tuner = new Tuner(stream.lookAheadBlocks(), plan.slots() - 1);
            }
        } catch (RuntimeException e) {
            leases.free();
            throw e;
        }
    }

    /** The experts of a layer lie together, since memory is best given out in large pieces. */
    private void allocateResident() {
        Map<String, List<BlockLayout>> together = layouts(Residency.RESIDENT).stream()
                .collect(Collectors.groupingBy(StreamingWeights::placeOf, LinkedHashMap::new, Collectors.toList()));
        together.forEach((place, blocks) -> {
            long bytes = blocks.stream().mapToLong(BlockLayout::byteSize).sum();
            WeightMemory memory = link.allocate(bytes, "resident weights of " + place);
            leases.owns(memory.buffer()::close);
            long at = 0;
            for (BlockLayout layout : blocks) {
                resident.put(layout.block().index(), memory.slice(at, layout.byteSize()));
                at += layout.byteSize();
            }
        });
    }

    private static String placeOf(BlockLayout layout) {
        WeightBlock block = layout.block();
        return block.kind() == WeightBlock.Kind.EXPERT ? "the experts of layer " + block.layer() : block.label();
    }

    private static Set<Integer> layersOfResidentExperts(Plan plan) {
        return plan.entries().stream()
                .filter(e -> e.block().kind() == WeightBlock.Kind.EXPERT)
                .collect(Collectors.groupingBy(
                        e -> e.block().layer(),
                        Collectors.reducing(true, e -> e.residency() == Residency.RESIDENT, Boolean::logicalAnd)))
                .entrySet()
                .stream()
                .filter(Map.Entry::getValue)
                .map(Map.Entry::getKey)
                .collect(Collectors.toUnmodifiableSet());
    }

    private static boolean readInPlace(Entry entry) {
        return entry.residency() == Residency.MAPPED || entry.decodesOnHost();
    }

    /**
     * Allocates what the plan says, loads the resident blocks and starts to prefetch. Returns when the resident blocks are
     * there.
     *
     * @param plan which blocks stay
     * @param devices where they are computed. Stay open
     * @param reader reads the model file. Closed with the weights, also when opening them fails
     * @param files the mapped files of the model, for blocks that rest in the host's memory; may be empty when there are
     *     none. Must outlive the weights
     * @param options how to read
     * @param listener hears of the loading
     * @throws WeightUnavailableException when a resident block cannot be read
     * @throws dev.prefetch.backend.OutOfDeviceMemoryException when the memory cannot be had
     */
    public static StreamingWeights open(
            Plan plan,
            Devices devices,
            BlockReader reader,
            List<GgufPart> files,
            StreamingOptions options,
            LoadListener listener) {
        Link link;
        try {
            link = link(plan, devices, reader, files, options);
        } catch (RuntimeException e) {
            reader.close();
            throw e;
        }
        StreamingWeights weights;
        try {
            weights = new StreamingWeights(plan, devices, link, files, options);
        } catch (RuntimeException e) {
            link.close();
            throw e;
        }
        try {
            weights.start(listener);
            return weights;
        } catch (RuntimeException e) {
            weights.close();
            throw e;
        }
    }

    private static Link link(
            Plan plan, Devices devices, BlockReader reader, List<GgufPart> files, StreamingOptions options) {
        if (!devices.accelerated()) {
            return new HostLink(devices.primary(), reader, options.poison());
        }
        Set<Integer> inHost = plan.entries().stream()
                .filter(e -> e.restsIn() == Tier.HOST)
                .map(e -> e.block().index())
                .collect(Collectors.toSet());
        boolean wholeFile = plan.entries().stream().noneMatch(e -> e.restsIn() == Tier.DISK);
        LockedFiles locked = wholeFile && !inHost.isEmpty() && options.pageLock()
                ? LockedFiles.lock(devices.primary(), files)
                : LockedFiles.NONE;
        BlockReader host = files.isEmpty() ? null : new MappedReader(files);
        try {
            return new DeviceLink(
                    devices.primary(),
                    new DeviceLink.Sources(reader, host, inHost::contains, locked),
                    options.chunkBytes(),
                    options.poison());
        } catch (RuntimeException e) {
            locked.close();
            throw e;
        }
    }

    private void start(LoadListener listener) {
        LOG.info("Weights: {}; reads {}", plan.summary(), link.description());
        queue.start();
        List<BlockLayout> toLoad = layouts(Residency.RESIDENT);
        if (!toLoad.isEmpty()) {
            List<WeightMemory> memory =
                    toLoad.stream().map(l -> resident.get(l.block().index())).toList();
            ResidentLoader.load(queue, toLoad, memory, listener);
            awaitArrival();
        }
        if (stream != null) {
            underLock(stream::pump);
        }
    }

    private void awaitArrival() {
        Event arrival = link.arrival();
        if (arrival != null) {
            arrival.await();
        }
    }

    private List<BlockLayout> layouts(Residency residency) {
        return plan.entries().stream()
                .filter(e -> e.residency() == residency)
                .map(e -> require(layouts.get(e.block().index())))
                .toList();
    }

    private @Nullable Stream makeStream() {
        List<BlockLayout> streamed = layouts(Residency.STREAMED);
        if (streamed.isEmpty()) {
            return null;
        }
        SlotPool pool = pool(streamed, plan.slots(), plan.slotBytes(), "slots");
        Set<Integer> notInDecode = plan.entries().stream()
                .filter(Entry::decodesOnHost)
                .map(e -> e.block().index())
                .collect(Collectors.toSet());
        int lookAhead = Math.clamp(plan.lookAheadBlocks(), 0, plan.slots() - 1);
        return new Stream(queue, clock, pool, meter, lookAhead, streamed, notInDecode);
    }

    private @Nullable ExpertCache makeExperts() {
        List<BlockLayout> onDemand = layouts(Residency.ON_DEMAND);
        if (onDemand.isEmpty()) {
            return null;
        }
        SlotPool pool = pool(onDemand, plan.expertSlots(), plan.expertSlotBytes(), "expert cache");
        return new ExpertCache(
                queue,
                clock,
                pool,
                meter,
                plan.passingExpertSlots(),
                onDemand,
                plan.entries().size());
    }

    private SlotPool pool(List<BlockLayout> blocks, int slots, long slotBytes, String purpose) {
        long largest = blocks.stream().mapToLong(BlockLayout::byteSize).max().orElseThrow();
        if (slots < 1 || slotBytes < largest) {
            throw new IllegalArgumentException("the plan has " + slots + " " + purpose + " of " + slotBytes
                    + " bytes for blocks of up to " + largest + " bytes");
        }
        SlotPool pool = new SlotPool(link, slots, slotBytes, purpose);
        leases.owns(pool::free);
        return pool;
    }

    @Override
    public void beginSweep(Regime regime, int tokens) {
        underLock(() -> {
            clock.beginSweep();
            meter.beginSweep(regime, tokens);
            enterSweep();
        });
    }

    private void enterSweep() {
        if (stream != null) {
            stream.beginSweep(meter.regime());
            stream.skipTo(clock.now());
        }
        if (experts != null) {
            experts.beginSweep(meter.regime(), meter.tokens());
        }
    }

    @Override
    public void endSweep() {
        awaitDevice();
        lock.lock();
        try {
            boolean whole = meter.inSweep() && clock.now() == plan.entries().size() - 1L + clock.sweepStart();
            meter.endSweep();
            if (whole && tuner != null && stream != null && !closing && meter.regime() == Regime.DECODE) {
                stream.setLookAheadBlocks(tuner.sweepTook(meter.lastSweepNanos(), meter.tokens()));
            }
        } finally {
            lock.unlock();
        }
    }

    /** Waits for what the sweep has queued, without the lock, which the readers need meanwhile. */
    private void awaitDevice() {
        if (devices.accelerated()) {
            device.compute().synchronize();
        }
    }

    @Override
    public boolean decodesOnHost(WeightBlock block) {
        return entry(block).decodesOnHost();
    }

    @Override
    public void prefetch(List<WeightBlock> blocks) {
        if (experts == null) {
            return;
        }
        Map<Integer, List<Integer>> byLayer = blocks.stream()
                .filter(b -> entry(b).residency() == Residency.ON_DEMAND)
                .collect(Collectors.groupingBy(
                        WeightBlock::layer, TreeMap::new, Collectors.mapping(WeightBlock::index, Collectors.toList())));
        underLock(() -> byLayer.forEach(require(experts)::request));
    }

    @Override
    public int readiest(List<WeightBlock> blocks) {
        if (experts == null) {
            return 0;
        }
        lock.lock();
        try {
            for (int i = 0; i < blocks.size(); i++) {
                if (experts.isReady(blocks.get(i).index())) {
                    return i;
                }
            }
            // Reads are done in the order of the list, so its first is the next to be there.
            return 0;
        } finally {
            lock.unlock();
        }
    }

    @Override
    public WeightLease acquire(WeightBlock block) {
        Entry entry = entry(block);
        return lease(() -> {
            noticeSweep(block);
            long due = clock.advance(block.index());
            return switch (entry.residency()) {
                case MAPPED -> inPlace(block);
                case RESIDENT -> presentInMemory(block);
                case STREAMED -> streamed(block, require(stream), due);
                case ON_DEMAND -> onDemand(block, require(experts));
            };
        });
    }

    @Override
    public @Nullable ExpertsLease acquireAll(List<WeightBlock> blocks, int picks) {
        WeightBlock last = blocks.getLast();
        if (!residentExperts.contains(last.layer())) {
            return null;
        }
        // What holds the last one holds them all, since they go together.
        WeightLease held = lease(() -> {
            noticeSweep(last);
            clock.advance(last.index());
            meter.picking(last, picks);
            Thread holder = Thread.currentThread();
            WeightMemory memory = require(resident.get(last.index()));
            return new StreamingLease(last, placement(last, memory), () -> released(holder, () -> {}));
        });
        return new ExpertsLease() {

            @Override
            public List<Weight> weights(TensorRole role) {
                return held.find(role) == null
                        ? List.of()
                        : blocks.stream().map(block -> weight(block, role)).toList();
            }

            @Override
            public void close() {
                held.close();
            }
        };
    }

    private Weight weight(WeightBlock block, TensorRole role) {
        StreamingLease.Placement placement = placement(block, require(resident.get(block.index())));
        return require(new StreamingLease(block, placement, () -> {}).find(role));
    }

    @Override
    public WeightLease acquireOnHost(WeightBlock block) {
        if (!devices.accelerated()) {
            return acquire(block);
        }
        entry(block);
        // The device may be given the same block in the same sweep, so this does not move the clock.
        return lease(() -> inPlace(block));
    }

    private WeightLease lease(Supplier<StreamingLease> find) {
        lock.lock();
        try {
            if (closing) {
                throw new IllegalStateException("the weights are closed");
            }
            StreamingLease lease = find.get();
            leases.opened(Thread.currentThread());
            return lease;
        } finally {
            lock.unlock();
        }
    }

    private StreamingLease inPlace(WeightBlock block) {
        return present(block, require(mapped).placement(block), Tier.HOST);
    }

    private Entry entry(WeightBlock block) {
        int index = block.index();
        if (index < 0
                || index >= plan.entries().size()
                || !plan.entries().get(index).block().equals(block)) {
            throw new IllegalArgumentException("block " + block.label() + " is not part of the plan");
        }
        return plan.entries().get(index);
    }

    private void noticeSweep(WeightBlock block) {
        boolean wraps = clock.wraps(block.index());
        if (wraps || !meter.inSweep()) {
            Regime regime = meter.regime();
            int tokens = Math.max(1, meter.tokens());
            meter.endForgottenSweep();
            if (wraps) {
                clock.beginSweep();
            }
            meter.beginSweep(regime, tokens);
            enterSweep();
        }
        if (experts != null) {
            if (block.kind() != WeightBlock.Kind.EXPERT) {
                experts.passed(clock.dueThisSweep(block.index()));
            }
            experts.at(block);
        }
    }

    private StreamingLease presentInMemory(WeightBlock block) {
        WeightMemory memory = require(resident.get(block.index()));
        return present(block, placement(block, memory), device.tier());
    }

    private StreamingLease present(WeightBlock block, StreamingLease.Placement placement, Tier tier) {
        meter.acquired(block, tier);
        Thread holder = Thread.currentThread();
        return new StreamingLease(block, placement, () -> released(holder, () -> {}));
    }

    private StreamingLease.Placement placement(WeightBlock block, WeightMemory memory) {
        BlockLayout layout = require(layouts.get(block.index()));
        return new StreamingLease.Placement() {

            @Override
            public DeviceBuffer buffer(int i) {
                return memory.buffer();
            }

            @Override
            public long offset(int i) {
                return memory.offset() + layout.tensorOffset(i);
            }

            @Override
            public boolean packed(int i) {
                return link.packs(block.tensors().get(i));
            }
        };
    }

    private StreamingLease streamed(WeightBlock block, Stream from, long due) {
        Stream.Demand demand = from.demand(due);
        try {
            await(
                    block,
                    () -> demand.entry != null && demand.entry.state == Stream.EntryState.READY,
                    () -> demand.entry != null ? demand.entry.cause : null,
                    () -> demand.entry == null ? null : demand.entry.transfer.arrival);
        } catch (RuntimeException e) {
            from.end(demand);
            throw e;
        }
        SlotTicket ticket = from.take(demand);
        meter.acquired(block, null);
        WeightMemory memory = from.memory(ticket);
        Thread holder = Thread.currentThread();
        return new StreamingLease(
                block, placement(block, memory), () -> released(holder, () -> from.release(ticket, readUntilNow())));
    }

    private StreamingLease onDemand(WeightBlock block, ExpertCache from) {
        ExpertCache.Demand demand = from.demand(block.index());
        try {
            await(
                    block,
                    () -> demand.entry != null && demand.entry.state == ExpertCache.EntryState.READY,
                    () -> demand.entry != null ? demand.entry.cause : null,
                    () -> demand.entry == null ? null : demand.entry.transfer.arrival);
        } catch (RuntimeException e) {
            from.end(demand);
            throw e;
        }
        ExpertCache.Entry entry = from.take(demand, meter.regime());
        meter.acquired(block, entry.uses == 1 ? null : device.tier());
        WeightMemory memory = from.memory(entry);
        Thread holder = Thread.currentThread();
        return new StreamingLease(
                block, placement(block, memory), () -> released(holder, () -> from.release(entry, readUntilNow())));
    }

    private Event readUntilNow() {
        return device.compute().record();
    }

    /** Waits for a block, or lets the device wait for it; the lock is held on entry and exit. */
    private void await(
            WeightBlock block,
            BooleanSupplier ready,
            Supplier<@Nullable Throwable> failure,
            Supplier<@Nullable Event> arrival) {
        if (!devices.accelerated() && ready.getAsBoolean()) {
            return;
        }
        StallEvent event = new StallEvent();
        event.begin();
        meter.stallStarted();
        try {
            awaitReady(block, ready, failure);
            Event arrived = arrival.get();
            if (arrived != null) {
                device.compute().await(arrived);
            }
        } finally {
            meter.stallEnded(block);
            if (event.shouldCommit()) {
                event.block = block.label();
                event.commit();
            }
        }
    }

    private void awaitReady(WeightBlock block, BooleanSupplier ready, Supplier<@Nullable Throwable> failure) {
        boolean interrupted = false;
        try {
            long left = options.acquireTimeout().toNanos();
            while (!ready.getAsBoolean()) {
                Throwable cause = failure.get();
                if (cause instanceof DeviceFailedException lost) {
                    throw lost;
                }
                if (cause != null) {
                    throw new WeightUnavailableException(
                            "Block " + block.label() + " could not be read: " + cause.getMessage(), cause);
                }
                if (closing) {
                    throw new IllegalStateException(
                            "the weights were closed while block " + block.label() + " was awaited");
                }
                if (left <= 0) {
                    throw timedOut(block);
                }
                try {
                    left = queue.changed().awaitNanos(left);
                } catch (InterruptedException e) {
                    interrupted = true;
                }
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private WeightUnavailableException timedOut(WeightBlock block) {
        String state = (stream == null ? "" : stream.describe()) + (experts == null ? "" : " " + experts.describe());
        return new WeightUnavailableException(
                "Block " + block.label() + " did not arrive within "
                        + options.acquireTimeout().toSeconds() + " s: either the disk hangs or all slots are leased by"
                        + " leases that were never closed (" + state.strip() + ")",
                null);
    }

    private void released(Thread holder, Runnable giveBack) {
        lock.lock();
        try {
            meter.released();
            giveBack.run();
        } finally {
            leases.closed(holder);
            queue.changed().signalAll();
            lock.unlock();
        }
    }

    /** The plan in force. */
    public Plan plan() {
        return plan;
    }

    /** How the file is read, in words. */
    public String readerDescription() {
        return link.description();
    }

    @Override
    public PrefetchStatistics statistics() {
        lock.lock();
        try {
            return meter.snapshot();
        } finally {
            lock.unlock();
        }
    }

    /** The finished sweeps of one regime: prompts and generation are bound by different things. */
    public PrefetchStatistics statistics(Regime regime) {
        lock.lock();
        try {
            return meter.finished(regime);
        } finally {
            lock.unlock();
        }
    }

    /** The last finished sweeps as a Chrome trace, which Perfetto and chrome://tracing show; empty without recording. */
    public String chromeTrace() {
        List<TraceRecorder.Sweep> sweeps;
        lock.lock();
        try {
            sweeps = trace.sweeps();
        } finally {
            lock.unlock();
        }
        return ChromeTrace.write(sweeps);
    }

    /** Streamed blocks that may be on their way while compute holds one; 0 also when nothing streams. */
    public int lookAheadBlocks() {
        lock.lock();
        try {
            return stream == null ? 0 : stream.lookAheadBlocks();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Fixes the look-ahead from now on; a tuner that was choosing it stops.
     *
     * @param blocks between 0 and the plan's slots - 1
     * @throws IllegalArgumentException when out of range
     * @throws IllegalStateException when nothing streams
     */
    public void setLookAheadBlocks(int blocks) {
        underLock(() -> {
            if (stream == null) {
                throw new IllegalStateException("nothing streams");
            }
            stream.setLookAheadBlocks(blocks);
            tuner = null;
        });
    }

    /**
     * Lets the tuner choose the look-ahead from now on, beginning with the present one
     * or, where that is 0, with 1.
     *
     * @throws IllegalStateException when nothing streams
     */
    public void tuneLookAhead() {
        underLock(() -> {
            if (stream == null) {
                throw new IllegalStateException("nothing streams");
            }
            if (tuner == null) {
                tuner = new Tuner(stream.lookAheadBlocks(), plan.slots() - 1);
            }
        });
    }

    /** Whether the look-ahead is chosen by measuring; false also when nothing streams. */
    public boolean tunesLookAhead() {
        lock.lock();
        try {
            return tuner != null;
        } finally {
            lock.unlock();
        }
    }

    private void underLock(Runnable action) {
        lock.lock();
        try {
            if (closing) {
                throw new IllegalStateException("the weights are closed");
            }
            action.run();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Stops prefetching, waits for open leases of other threads, at most {@link StreamingOptions#closeTimeout()}, and frees
     * the memory. Where leases are still open, the last one to be closed frees it: memory in use is never freed.
     */
    @Override
    public void close() {
        lock.lock();
        try {
            if (closing) {
                return;
            }
            closing = true;
            if (stream != null) {
                stream.close();
            }
            if (experts != null) {
                experts.close();
            }
            queue.changed().signalAll();
        } finally {
            lock.unlock();
        }
        queue.close();
        link.close();
        lock.lock();
        try {
            leases.awaitOthers(queue.changed(), options.closeTimeout().toNanos());
            leases.writersStopped();
            if (leases.count() > 0) {
                LOG.warn("Closed with {} leases of weights open; the memory is freed when they end", leases.count());
            }
        } finally {
            lock.unlock();
        }
    }

    private static <T> T require(@Nullable T value) {
        if (value == null) {
            throw new AssertionError("the plan contradicts itself");
        }
        return value;
    }
}
