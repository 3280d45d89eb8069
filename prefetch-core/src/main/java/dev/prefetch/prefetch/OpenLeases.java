package dev.prefetch.prefetch;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.locks.Condition;

/**
 * Counts the leases that are open and frees the memory when the last one has ended and nobody writes to it any more.
 * Guarded by the lock of the {@link TransferQueue}.
 */
final class OpenLeases {

    private final Map<Thread, Integer> open = new HashMap<>();
    private final List<Runnable> memoryToFree = new ArrayList<>();
    private boolean writersStopped;
    private boolean freed;

    /** Memory to free in the end. */
    void owns(Runnable free) {
        memoryToFree.add(free);
    }

    void opened(Thread holder) {
        open.merge(holder, 1, Integer::sum);
    }

    void closed(Thread holder) {
        open.compute(holder, (thread, count) -> count == null || count == 1 ? null : count - 1);
        freeIfUnused();
    }

    int count() {
        return open.values().stream().mapToInt(Integer::intValue).sum();
    }

    /** Nothing is written to the memory from now on, so it may go when it is no longer read. */
    void writersStopped() {
        writersStopped = true;
        freeIfUnused();
    }

    private void freeIfUnused() {
        if (writersStopped && !freed && open.isEmpty()) {
            freed = true;
            free();
        }
    }

    /** Frees the memory now; for when opening has failed and no lease was ever given. */
    void free() {
        memoryToFree.forEach(Runnable::run);
        memoryToFree.clear();
    }

    /** Waits until no other thread than this one holds a lease, at most that long; stops waiting when interrupted. */
    void awaitOthers(Condition changed, long nanos) {
        long left = nanos;
        while (left > 0 && open.keySet().stream().anyMatch(t -> t != Thread.currentThread())) {
            try {
                left = changed.awaitNanos(left);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return;
            }
        }
    }
}
