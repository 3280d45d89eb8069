package dev.prefetch.backend.cpu;

import dev.prefetch.backend.Threads;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A fixed team of threads that runs one parallel region at a time; the caller is one of them.
 *
 * <p>How it works: a region's chunks are divided into as many contiguous ranges as there are threads. Each thread takes the
 * chunks of its own range first, so that it reads memory in one stream, and then those left in the ranges of others: a
 * thread whose core is slow or busy does what it can. A chunk is taken by raising the range's word in {@link #next}, which
 * holds the number of the region above the next chunk. The region ends when all its chunks are done ({@link #pending}), not
 * when all threads have come: nobody waits for a thread that has taken nothing, be it still asleep or off its core.
 *
 * <p>So a thread may come late, after its region has ended and while the next one is written. It cannot take a chunk then:
 * the caller first marks every range with the next number, then writes the region's fields, then opens the ranges, then
 * raises {@link #epoch}, all by volatile writes. Whoever has read a field of a later region finds a number other than its own
 * in the word. Whoever has taken a chunk of a region keeps the caller from writing the next one until it is done.
 *
 * <p>Between regions a worker spins for a moment, because in decoding the next region follows within microseconds, and then
 * parks: an idle pool costs nothing. A worker sets {@code parked} before it looks at the epoch for the last time and the
 * caller reads {@code parked} after raising the epoch, so no wake-up is lost; the same pattern with {@link #waiter} wakes the
 * caller.
 */
final class WorkerPool implements AutoCloseable {

    /** Work on a half-open range of items. */
    @FunctionalInterface
    interface Body {
        /**
         * Runs the items {@code from <= i < to}.
         *
         * @param worker number of the running thread, 0 to {@code threads - 1}, for per-thread scratch memory
         */
        void run(int from, int to, int worker);
    }

    /** About 50 microseconds of pauses: longer than the gap between two regions of a forward pass. */
    private static final int SPINS = 1500;

    /** Longs between the words of two ranges: two cache lines, which processors fetch together. */
    private static final int WORD_STRIDE = 16;

    /** Where the chunk stands in a word of a range that is not open. */
    private static final int NOT_OPEN = Integer.MAX_VALUE;

    private final Worker[] workers;
    private final int spins;
    /** One word per range, {@link #WORD_STRIDE} apart: the region's number, and in the lower half the next chunk. */
    private final AtomicLongArray next;
    /** Chunks of the current region that are not done. */
    private final AtomicInteger pending = new AtomicInteger();

    private final AtomicBoolean busy = new AtomicBoolean();
    private final AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
    private volatile @Nullable Thread waiter;
    private volatile int epoch;
    private volatile boolean closed;

    // The current region; written by the caller before it raises the epoch. Volatile for the order: see above.
    private volatile Body body = (from, to, worker) -> {};
    private volatile int items;
    private volatile int chunk;
    private volatile int chunks;

    WorkerPool(int threads, String name) {
        if (threads < 1) {
            throw new IllegalArgumentException("threads must be at least 1 but was " + threads);
        }
        // Spinning steals the time of the thread one waits for when there are fewer processors than threads.
        spins = Runtime.getRuntime().availableProcessors() >= threads ? SPINS : 0;
        next = new AtomicLongArray(threads * WORD_STRIDE);
        workers = new Worker[threads - 1];
        for (int i = 0; i < workers.length; i++) {
            workers[i] = new Worker(i + 1, name + "-" + (i + 1));
        }
        for (Worker worker : workers) {
            worker.thread.start();
        }
    }

    /** Number of threads, the caller included. */
    int threads() {
        return workers.length + 1;
    }

    /**
     * Runs {@code items} items in chunks of {@code chunkItems} and returns when all are done.
     *
     * @throws IllegalStateException when the pool is closed or already runs a region
     * @throws RuntimeException what the body threw, after every thread has stopped; the rest of the region is skipped
     */
    void run(int itemCount, int chunkItems, Body regionBody) {
        if (closed) {
            throw new IllegalStateException("the worker pool is closed");
        }
        if (!busy.compareAndSet(false, true)) {
            throw new IllegalStateException("the compute stream is used by two threads at a time");
        }
        try {
            if (workers.length == 0 || itemCount <= chunkItems) {
                if (itemCount > 0) {
                    regionBody.run(0, itemCount, 0);
                }
                return;
            }
            publish(itemCount, chunkItems, regionBody);
            work(0, epoch);
            awaitChunks();
            rethrow(failure.get());
        } finally {
            busy.set(false);
        }
    }

    private void publish(int itemCount, int chunkItems, Body regionBody) {
        int region = epoch + 1;
        int count = Math.ceilDiv(itemCount, chunkItems);
        int threads = threads();
        for (int range = 0; range < threads; range++) {
            next.set(range * WORD_STRIDE, word(region, NOT_OPEN));
        }
        body = regionBody;
        items = itemCount;
        chunk = chunkItems;
        chunks = count;
        failure.set(null);
        pending.set(count);
        for (int range = 0; range < threads; range++) {
            next.set(range * WORD_STRIDE, word(region, firstChunk(range, count, threads)));
        }
        raiseEpoch();
    }

    private static long word(int region, int chunk) {
        return (long) region << 32 | chunk;
    }

    private static int firstChunk(int range, int chunks, int threads) {
        return (int) ((long) chunks * range / threads);
    }

    @SuppressWarnings("NonAtomicOperationOnVolatileField") // only the thread that holds "busy", or close(), writes
    private void raiseEpoch() {
        epoch = epoch + 1;
        for (Worker worker : workers) {
            if (worker.parked) {
                LockSupport.unpark(worker.thread);
            }
        }
    }

    /** Takes chunks of a region until none is left, or the region has ended. */
    private void work(int worker, int region) {
        Body current = body;
        int itemCount = items;
        int step = chunk;
        int count = chunks;
        int threads = threads();
        int done = 0;
        for (int i = 0; i < threads; i++) {
            int range = worker + i < threads ? worker + i : worker + i - threads;
            int end = firstChunk(range + 1, count, threads);
            for (int taken = take(range, end, region); taken >= 0; taken = take(range, end, region)) {
                runChunk(current, taken * step, (int) Math.min((taken + 1L) * step, itemCount), worker);
                done++;
            }
        }
        if (done > 0 && pending.addAndGet(-done) == 0 && worker > 0) {
            Thread waiting = waiter;
            if (waiting != null) {
                LockSupport.unpark(waiting);
            }
        }
    }

    /** Number of the chunk that was taken from the range; negative when none is left or the region has ended. */
    private int take(int range, int end, int region) {
        int at = range * WORD_STRIDE;
        long word = next.get(at);
        while ((int) (word >>> 32) == region && (int) word < end) {
            long seen = next.compareAndExchange(at, word, word + 1);
            if (seen == word) {
                return (int) word;
            }
            word = seen;
        }
        return -1;
    }

    private void runChunk(Body current, int from, int to, int worker) {
        // After a failure chunks are only counted.
        if (failure.get() != null) {
            return;
        }
        try {
            current.run(from, to, worker);
        } catch (RuntimeException | Error e) {
            failure.compareAndSet(null, e);
        }
    }

    private void awaitChunks() {
        for (int i = 0; i < spins; i++) {
            if (pending.get() == 0) {
                return;
            }
            Thread.onSpinWait();
        }
        waiter = Thread.currentThread();
        while (pending.get() != 0) {
            LockSupport.park(this);
        }
        waiter = null;
    }

    private static void rethrow(@Nullable Throwable thrown) {
        if (thrown instanceof RuntimeException e) {
            throw e;
        }
        if (thrown instanceof Error e) {
            throw e;
        }
    }

    /** Ends the threads and waits for them. Idempotent. */
    @Override
    public void close() {
        if (closed) {
            return;
        }
        closed = true;
        raiseEpoch();
        Threads.joinUninterruptibly(
                Arrays.stream(workers).map(worker -> worker.thread).toList());
    }

    private final class Worker implements Runnable {

        private final int number;
        private final Thread thread;
        private volatile boolean parked;

        Worker(int number, String name) {
            this.number = number;
            this.thread = Thread.ofPlatform().daemon().name(name).unstarted(this);
        }

        @Override
        public void run() {
            int seen = 0;
            while (true) {
                seen = awaitEpochAfter(seen);
                if (closed) {
                    return;
                }
                work(number, seen);
            }
        }

        private int awaitEpochAfter(int seen) {
            for (int i = 0; i < spins; i++) {
                int now = epoch;
                if (now != seen) {
                    return now;
                }
                Thread.onSpinWait();
            }
            parked = true;
            int now = epoch;
            while (now == seen) {
                LockSupport.park(WorkerPool.this);
                now = epoch;
            }
            parked = false;
            return now;
        }
    }
}
