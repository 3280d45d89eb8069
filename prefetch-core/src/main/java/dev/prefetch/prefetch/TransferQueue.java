package dev.prefetch.prefetch;

import dev.prefetch.backend.Event;
import dev.prefetch.backend.Threads;
import dev.prefetch.prefetch.BlockLayout.Part;
import dev.prefetch.prefetch.Link.Hop;
import dev.prefetch.storage.StorageException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.PriorityQueue;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Reads blocks, the one with the earliest deadline first.
 *
 * <p>How it works: a few reader threads take reads ("chunks") from the queued transfer that is needed first, so all of
 * them work on one block before any starts the next, and the disk always has several reads to do. Everything the
 * scheduler knows (this queue, the slots' owners, the accounts) is guarded by the one {@link #lock}; only the reads
 * themselves, a millisecond each, run outside it. A transfer ends exactly once, by one call of its owner under the lock,
 * and never before its last read in progress has ended, so whoever frees the memory then cannot be overtaken by a read.
 */
final class TransferQueue implements AutoCloseable {

    /** What memory is filled with before it is read into, when poisoning is on. */
    static final byte POISON = (byte) 0xDB;

    private static final Logger LOG = LoggerFactory.getLogger(TransferQueue.class);

    private static final Comparator<Transfer> EARLIEST_DEADLINE =
            Comparator.<Transfer>comparingLong(t -> t.deadline).thenComparingLong(t -> t.sequence);

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition work = lock.newCondition();
    private final Condition changed = lock.newCondition();
    private final Condition stopped = lock.newCondition();

    private final Link link;
    private final StreamingOptions options;
    private final Meter meter;
    private final PriorityQueue<Transfer> queue = new PriorityQueue<>(EARLIEST_DEADLINE);
    private final List<Thread> threads = new ArrayList<>();
    private long sequence;
    /** Chunks handed to the link. */
    private long turns;

    private boolean closed;

    TransferQueue(Link link, StreamingOptions options, Meter meter) {
        this.link = link;
        this.options = options;
        this.meter = meter;
    }

    /** Starts the reader threads. */
    void start() {
        for (int i = 0; i < options.readerThreads(); i++) {
            threads.add(
                    Thread.ofPlatform().name("prefetch-reader-" + i).daemon().start(this::readUntilClosed));
        }
    }

    /** Guards everything of the scheduler. */
    ReentrantLock lock() {
        return lock;
    }

    /** Signalled whenever a transfer or a lease has ended. */
    Condition changed() {
        return changed;
    }

    /** Queues a transfer. Needs the lock. */
    void submit(Transfer transfer) {
        if (closed) {
            throw new IllegalStateException("the weights are closed");
        }
        transfer.sequence = sequence++;
        transfer.chunks = transfer.layout.chunks(Math.max(options.chunkBytes(), link.alignment()));
        queue.add(transfer);
        work.signalAll();
    }

    /** Gives a transfer up; its owner hears of it when the last read in progress has ended. Needs the lock. */
    void cancel(Transfer transfer) {
        if (transfer.finished || transfer.cancelled) {
            return;
        }
        transfer.cancelled = true;
        queue.remove(transfer);
        stopped.signalAll();
        finishIfOver(transfer);
    }

    private void readUntilClosed() {
        lock.lock();
        try {
            while (true) {
                Transfer transfer = queue.peek();
                if (closed && transfer == null) {
                    return;
                }
                if (transfer == null) {
                    work.awaitUninterruptibly();
                } else {
                    readNextChunk(transfer);
                }
            }
        } finally {
            lock.unlock();
        }
    }

    /** Takes the next read of the transfer and does it. The lock is held on entry and exit, not in between. */
    private void readNextChunk(Transfer transfer) {
        boolean first = transfer.nextChunk == 0;
        if (first) {
            transfer.event.begin();
        }
        Part chunk = transfer.chunks.get(transfer.nextChunk++);
        if (transfer.nextChunk == transfer.chunks.size()) {
            queue.remove(transfer);
        }
        transfer.inFlight++;
        Throwable failure = null;
        try {
            read(transfer, chunk);
        } catch (RuntimeException | Error e) {
            // Whatever it was, the owner must hear of it, or compute would wait for ever.
            failure = e;
        }
        if (failure == null && transfer.done + 1 == transfer.chunks.size() && !transfer.stopped()) {
            failure = complete(transfer);
        }
        transfer.inFlight--;
        if (failure == null) {
            transfer.done++;
        } else if (transfer.failure == null && !transfer.cancelled) {
            transfer.failure = failure;
            queue.remove(transfer);
            stopped.signalAll();
        }
        finishIfOver(transfer);
    }

    /** Hands a block over whose last chunk has come. The lock is held on entry and exit, not in between. */
    private @Nullable Throwable complete(Transfer transfer) {
        lock.unlock();
        try {
            link.complete(transfer);
            return null;
        } catch (RuntimeException | Error e) {
            return e;
        } finally {
            lock.lock();
        }
    }

    /** Reads with bounded repetition. The lock is held on entry and exit. */
    private void read(Transfer transfer, Part chunk) {
        long delayNanos = options.retryDelay().toNanos();
        for (int attempt = 1; ; attempt++) {
            StorageException failure = readOnce(transfer, chunk);
            if (failure == null) {
                return;
            }
            if (attempt >= options.attempts() || transfer.stopped() || closed) {
                throw failure;
            }
            LOG.warn(
                    "Reading block {} failed (attempt {} of {}), trying again: {}",
                    transfer.layout.block().label(),
                    attempt,
                    options.attempts(),
                    failure.getMessage());
            transfer.retries++;
            meter.retried();
            awaitUnlessStopped(transfer, delayNanos);
            delayNanos *= 2;
        }
    }

    private @Nullable StorageException readOnce(Transfer transfer, Part chunk) {
        StorageException failure = null;
        boolean read = false;
        Hop hop = null;
        awaitTarget(transfer);
        meter.readStarted();
        long turn = turns++;
        lock.unlock();
        try {
            hop = link.deliver(transfer, chunk, turn);
            read = true;
        } catch (StorageException e) {
            failure = e;
        } finally {
            lock.lock();
            meter.readEnded(
                    transfer.layout.block(),
                    read ? chunk.extent().length() : 0,
                    transfer.deadline == ResidentLoader.DEADLINE,
                    hop);
        }
        return failure;
    }

    /** Waits, without the lock, until the device has finished with what the memory held before. */
    private void awaitTarget(Transfer transfer) {
        Event free = link.hostWaitsFor(transfer);
        if (free == null || free.isComplete()) {
            return;
        }
        lock.unlock();
        try {
            free.await();
        } finally {
            lock.lock();
        }
    }

    private void awaitUnlessStopped(Transfer transfer, long nanos) {
        long left = nanos;
        while (left > 0 && !transfer.stopped() && !closed) {
            try {
                left = stopped.awaitNanos(left);
            } catch (InterruptedException e) {
                // Nobody may stop a reader but close(); an interrupted thread would close the file under the others.
                LOG.warn("A reader thread was interrupted; ignored");
            }
        }
    }

    private void finishIfOver(Transfer transfer) {
        if (transfer.finished || transfer.inFlight > 0) {
            return;
        }
        if (transfer.done < transfer.chunks.size() && !transfer.stopped()) {
            return;
        }
        boolean filled = transfer.done == transfer.chunks.size();
        transfer.finished = true;
        queue.remove(transfer);
        record(transfer, filled);
        Throwable failure = transfer.failure;
        if (filled && !transfer.cancelled) {
            if (transfer.deadline != ResidentLoader.DEADLINE) {
                meter.blockStreamed();
            }
            transfer.owner.filled(transfer);
        } else if (failure != null && !transfer.cancelled) {
            meter.failed();
            transfer.owner.failed(transfer, failure);
        } else {
            meter.blockDropped();
            transfer.owner.dropped(transfer);
        }
        changed.signalAll();
    }

    private static void record(Transfer transfer, boolean filled) {
        TransferEvent event = transfer.event;
        if (event.shouldCommit()) {
            event.block = transfer.layout.block().label();
            event.bytes = transfer.layout.byteSize();
            event.retries = transfer.retries;
            event.outcome = transfer.cancelled ? "dropped" : filled ? "filled" : "failed";
            event.commit();
        }
    }

    /** Cancels what is queued, waits for the reads in progress and ends the threads. Must not hold the lock. */
    @Override
    public void close() {
        lock.lock();
        try {
            closed = true;
            List.copyOf(queue).forEach(this::cancel);
            work.signalAll();
            stopped.signalAll();
            changed.signalAll();
        } finally {
            lock.unlock();
        }
        Threads.joinUninterruptibly(threads);
    }
}
