package dev.prefetch.backend.cpu;

import dev.prefetch.backend.Threads;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A fixed team of threads that runs one parallel region at a time; the caller is one of them.
 *
 * <p>How it works: the caller writes the region's fields, then raises {@link #epoch}, which publishes them. Every worker
 * runs each epoch exactly once: it claims chunks of the item range from {@link #next} until none is left, then lowers
 * {@link #running}. The caller works too and returns when {@code running} is 0, so no worker can still read the fields of
 * a region when the next one is written. Between regions a worker spins for a moment, because in decoding the next region
 * follows within microseconds, and then parks: an idle pool costs nothing. A worker sets {@code parked} before it looks at
 * the epoch for the last time and the caller reads {@code parked} after raising the epoch, so no wake-up is lost; the
 * same pattern with {@link #waiter} wakes the caller.
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

    private final Worker[] workers;
    private final int spins;
    private final AtomicInteger next = new AtomicInteger();
    private final AtomicInteger running = new AtomicInteger();
    private final AtomicBoolean busy = new AtomicBoolean();
    private final AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
    private volatile @Nullable Thread waiter;
    private volatile int epoch;
    private volatile boolean closed;

    // The current region; written by the caller before it raises the epoch.
    private Body body = (from, to, worker) -> {};
    private int items;
    private int chunk;

    WorkerPool(int threads, String name) {
        if (threads < 1) {
            throw new IllegalArgumentException("threads must be at least 1 but was " + threads);
        }
        // Spinning steals the time of the thread one waits for when there are fewer processors than threads.
        spins = Runtime.getRuntime().availableProcessors() >= threads ? SPINS : 0;
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
            body = regionBody;
            items = itemCount;
            chunk = chunkItems;
            next.set(0);
            failure.set(null);
            running.set(workers.length);
            raiseEpoch();
            work(0);
            awaitWorkers();
            rethrow(failure.get());
        } finally {
            busy.set(false);
        }
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

    private void work(int worker) {
        int count = items;
        int step = chunk;
        Body current = body;
        try {
            for (int from = next.getAndAdd(step); from < count; from = next.getAndAdd(step)) {
                current.run(from, Math.min(from + step, count), worker);
            }
        } catch (RuntimeException | Error e) {
            failure.compareAndSet(null, e);
            next.set(count);
        }
    }

    private void awaitWorkers() {
        for (int i = 0; i < spins; i++) {
            if (running.get() == 0) {
                return;
            }
            Thread.onSpinWait();
        }
        waiter = Thread.currentThread();
        while (running.get() != 0) {
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
                awaitEpochAfter(seen);
                if (closed) {
                    return;
                }
                seen++;
                work(number);
                if (running.decrementAndGet() == 0) {
                    Thread waiting = waiter;
                    if (waiting != null) {
                        LockSupport.unpark(waiting);
                    }
                }
            }
        }

        private void awaitEpochAfter(int seen) {
            for (int i = 0; i < spins; i++) {
                if (epoch != seen) {
                    return;
                }
                Thread.onSpinWait();
            }
            parked = true;
            while (epoch == seen) {
                LockSupport.park(WorkerPool.this);
            }
            parked = false;
        }
    }
}
