package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.backend.Devices;
import dev.prefetch.backend.Event;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.model.WeightBlock.Kind;
import dev.prefetch.prefetch.Plan.Residency;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Queue;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * One compute thread walks the model, skips, abandons sweeps and changes the look-ahead; kernels on other threads check
 * the bytes of the leases it gives them and close them late, some with an event that completes later still; the disk
 * is slow at random and fails at random. Slots are poisoned before they are filled, so a slot that is read too early,
 * overwritten while leased, or mixed up shows as wrong bytes.
 */
class StreamingWeightsStressTest {

    private static final long RUN_NANOS = TimeUnit.MILLISECONDS.toNanos(1500);

    private final Queue<String> faults = new ConcurrentLinkedQueue<>();
    private volatile boolean outage;
    private final AtomicLong checked = new AtomicLong();
    private final AtomicLong failed = new AtomicLong();

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4})
    @Timeout(60)
    void neverShowsWrongBytesAndNeverHangs(long seed) throws Exception {
        SplittableRandom random = new SplittableRandom(seed);
        boolean experts = seed % 2 == 0;
        TestModel model = experts ? TestModel.experts(3, 8, 4) : TestModel.dense(7, 12);
        TestDevice device = new TestDevice();
        TestReader reader = new TestReader(model.fileSize);
        disturb(reader, seed);
        int slots = 1 + random.nextInt(5);
        Plan plan = model.plan(
                slots,
                5 + random.nextInt(8),
                2,
                b -> b.kind() == Kind.EXPERT
                        ? Residency.ON_DEMAND
                        : b.index() % 4 == 1 ? Residency.RESIDENT : Residency.STREAMED);
        StreamingOptions options = StreamingOptions.DEFAULT
                .withChunkBytes(4096)
                .withAttempts(3, Duration.ofNanos(50_000))
                .withTimeouts(Duration.ofSeconds(30), Duration.ofSeconds(30))
                .withPoison(true)
                .withTraceSweeps(3);
        reader.broken = offset -> false;
        StreamingWeights weights =
                StreamingWeights.open(plan, Devices.of(device), reader, List.of(), options, (done, total) -> {});
        breakSometimes(reader, seed);
        try (ExecutorService kernels = Executors.newFixedThreadPool(4)) {
            compute(weights, model, device, slots, random, kernels);
            weights.close();
        }
        assertThat(faults).as("seed %d", seed).isEmpty();
        assertThat(checked.get()).as("blocks checked, seed %d", seed).isGreaterThan(50);
        assertThat(device.freedBytes).hasValue(device.allocatedBytes.get());
        assertThat(reader.reading).hasValue(0);
        assertThat(weights.chromeTrace()).contains("traceEvents");
    }

    private void disturb(TestReader reader, long seed) {
        ThreadLocal<SplittableRandom> randoms = ThreadLocal.withInitial(
                () -> new SplittableRandom(seed + Thread.currentThread().threadId()));
        reader.before = () -> {
            int dice = randoms.get().nextInt(100);
            if (dice < 20) {
                LockSupport.parkNanos(randoms.get().nextLong(400_000));
            } else if (dice < 60) {
                Thread.yield();
            }
        };
    }

    private void breakSometimes(TestReader reader, long seed) {
        ThreadLocal<SplittableRandom> randoms = ThreadLocal.withInitial(
                () -> new SplittableRandom(~seed + Thread.currentThread().threadId()));
        // One read in twenty, which repetition mostly heals, and at times all of them, which fails whole sweeps.
        reader.broken = offset -> outage || randoms.get().nextInt(20) == 0;
    }

    private void compute(
            StreamingWeights weights,
            TestModel model,
            TestDevice device,
            int slots,
            SplittableRandom random,
            ExecutorService kernels)
            throws Exception {
        // A kernel may hold a lease while compute goes on, but not the last slot.
        Semaphore held = new Semaphore(Math.max(1, slots - 1));
        List<Future<?>> running = new ArrayList<>();
        long end = System.nanoTime() + RUN_NANOS;
        while (System.nanoTime() < end && faults.isEmpty()) {
            Regime regime = random.nextInt(4) == 0 ? Regime.PREFILL : Regime.DECODE;
            if (random.nextInt(5) > 0) {
                weights.beginSweep(regime, 1 + random.nextInt(9));
            }
            outage = random.nextInt(15) == 0;
            int stopAt = random.nextInt(4) == 0 ? random.nextInt(model.blocks.size()) : model.blocks.size();
            try {
                sweep(weights, model, device, random, kernels, held, running, stopAt);
            } catch (WeightUnavailableException e) {
                failed.incrementAndGet();
                outage = false;
            }
            weights.endSweep();
            if (weights.plan().slots() > 0 && random.nextInt(6) == 0) {
                weights.setLookAheadBlocks(random.nextInt(weights.plan().slots()));
            }
        }
        for (Future<?> kernel : running) {
            kernel.get();
        }
    }

    private void sweep(
            StreamingWeights weights,
            TestModel model,
            TestDevice device,
            SplittableRandom random,
            ExecutorService kernels,
            Semaphore held,
            List<Future<?>> running,
            int stopAt) {
        int layerAsked = -1;
        List<WeightBlock> chosen = List.of();
        for (WeightBlock block : model.blocks.subList(0, stopAt)) {
            if (block.kind() != Kind.EXPERT) {
                if (random.nextInt(12) > 0) {
                    use(weights, block, device, random, kernels, held, running);
                }
                continue;
            }
            if (block.layer() == layerAsked) {
                continue;
            }
            layerAsked = block.layer();
            chosen = chooseExperts(model, block.layer(), random);
            weights.prefetch(chosen);
            for (WeightBlock expert : chosen) {
                if (random.nextInt(10) > 0) {
                    use(weights, expert, device, random, kernels, held, running);
                }
            }
        }
    }

    private static List<WeightBlock> chooseExperts(TestModel model, int layer, SplittableRandom random) {
        List<WeightBlock> experts = new ArrayList<>(model.blocks.stream()
                .filter(b -> b.kind() == Kind.EXPERT && b.layer() == layer)
                .toList());
        Collections.shuffle(experts, new java.util.Random(random.nextLong()));
        return List.copyOf(experts.subList(0, 1 + random.nextInt(experts.size())));
    }

    private void use(
            StreamingWeights weights,
            WeightBlock block,
            TestDevice device,
            SplittableRandom random,
            ExecutorService kernels,
            Semaphore held,
            List<Future<?>> running) {
        held.acquireUninterruptibly();
        WeightLease lease;
        try {
            lease = weights.acquire(block);
        } catch (RuntimeException e) {
            held.release();
            throw e;
        }
        long pauseNanos = random.nextInt(4) == 0 ? random.nextLong(300_000) : 0;
        running.removeIf(Future::isDone);
        running.add(kernels.submit(() -> {
            try {
                verify(lease);
                LockSupport.parkNanos(pauseNanos);
                verify(lease);
                lease.close();
            } finally {
                held.release();
            }
        }));
    }

    private void verify(WeightLease lease) {
        String difference = TestModel.firstDifference(lease);
        if (difference != null) {
            faults.add(difference);
        }
        checked.incrementAndGet();
    }

    /** Compute that is still reading when the lease ends, as on an accelerator: the event says when it is done. */
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3})
    @Timeout(60)
    void neverRefillsASlotBeforeItsEventCompletes(int slots) throws Exception {
        TestModel model = TestModel.dense(4, 8);
        TestDevice device = new TestDevice();
        TestReader reader = new TestReader(model.fileSize);
        StreamingWeights weights = StreamingWeights.open(
                model.plan(slots, 0, 0, b -> Residency.STREAMED),
                Devices.of(device),
                reader,
                List.of(),
                StreamingOptions.DEFAULT.withPoison(true),
                (done, total) -> {});
        try (ExecutorService kernels = Executors.newFixedThreadPool(2)) {
            List<Future<?>> running = new ArrayList<>();
            for (int sweep = 0; sweep < 20; sweep++) {
                weights.beginSweep(Regime.DECODE, 1);
                for (WeightBlock block : model.blocks) {
                    WeightLease lease = weights.acquire(block);
                    // Taken before the lease ends, as a queued kernel would.
                    var weight = lease.weight(block.tensors().getFirst().role());
                    long fileOffset = block.tensors().getFirst().fileOffset();
                    Completion completion = new Completion();
                    device.events = () -> completion;
                    lease.close();
                    running.add(kernels.submit(() -> {
                        var memory = weight.buffer().hostMemory().orElseThrow();
                        long found = memory.get(java.lang.foreign.ValueLayout.JAVA_LONG_UNALIGNED, weight.offset());
                        if (found != TestModel.contentAt(fileOffset)) {
                            faults.add(block.label() + " was refilled while it was read");
                        }
                        completion.done.countDown();
                    }));
                }
                weights.endSweep();
            }
            for (Future<?> kernel : running) {
                kernel.get();
            }
        }
        weights.close();
        assertThat(faults).isEmpty();
        assertThat(device.freedBytes).hasValue(device.allocatedBytes.get());
    }

    private static final class Completion implements Event {

        final CountDownLatch done = new CountDownLatch(1);

        @Override
        public boolean isComplete() {
            return done.getCount() == 0;
        }

        @Override
        public void await() {
            try {
                done.await();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
    }
}
