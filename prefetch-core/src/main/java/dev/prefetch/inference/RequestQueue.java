package dev.prefetch.inference;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * What waits for the compute thread: sequences to generate, texts to embed, and tokens whose logits are wanted. Any thread
 * adds, only the compute thread takes. One lock guards everything, and how many run, so that whoever looks sees a request that
 * starts either waiting or running.
 */
final class RequestQueue {

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private final ArrayDeque<GeneratingSequence> generations = new ArrayDeque<>();
    private final ArrayDeque<EmbeddingSequence> texts = new ArrayDeque<>();
    private final ArrayDeque<LogitsTask> logits = new ArrayDeque<>();
    private int running;
    private int generating;
    private boolean closeAsked;
    /** Read between the layers of a sweep, so without the lock. */
    private volatile boolean closed;

    /**
     * Adds a sequence.
     *
     * @param places how many sequences may generate at the same time
     * @param limit most that wait while all places are taken
     * @throws QueueFullException when that many wait
     * @throws IllegalStateException when the queue is closed
     */
    void add(GeneratingSequence sequence, int places, int limit) {
        locked(() -> {
            requireOpen();
            // Those for whom there is a place leave the queue before the next sweep.
            int free = Math.max(0, places - generating);
            if (generations.size() - free >= limit) {
                throw new QueueFullException("generations", limit, generating);
            }
            changed.signal();
            return generations.add(sequence);
        });
    }

    /** @throws IllegalStateException when the queue is closed */
    void add(List<EmbeddingSequence> sequences) {
        locked(() -> {
            requireOpen();
            changed.signal();
            return texts.addAll(sequences);
        });
    }

    /** @throws IllegalStateException when the queue is closed */
    void add(LogitsTask task) {
        locked(() -> {
            requireOpen();
            changed.signal();
            return logits.add(task);
        });
    }

    private void requireOpen() {
        if (closed) {
            throw new IllegalStateException("the engine is closed");
        }
    }

    /** Puts a task back that is to be computed again. */
    void putBack(LogitsTask task) {
        locked(() -> {
            logits.addFirst(task);
            return task;
        });
    }

    /**
     * Waits until there is something to do; false when the queue was closed.
     *
     * @param idle whether there is nothing else to do
     */
    boolean await(BooleanSupplier idle) {
        return locked(() -> {
            while (!closed && isEmpty() && idle.getAsBoolean()) {
                changed.awaitUninterruptibly();
            }
            return !closed;
        });
    }

    private boolean isEmpty() {
        return generations.isEmpty() && texts.isEmpty() && logits.isEmpty();
    }

    /** Whether somebody waits for the compute thread. */
    boolean somethingWaits() {
        return locked(() -> !isEmpty());
    }

    /** The task that comes next; null when there is none. */
    @Nullable
    LogitsTask nextTask() {
        return locked(logits::peek);
    }

    /** Takes the task that comes next out. */
    void taken(LogitsTask task) {
        locked(() -> logits.remove(task));
    }

    /**
     * The sequence that has waited longest; null when none may start.
     *
     * @param place whether there is a place for one that generates
     * @param room whether there is room for a text
     */
    @Nullable
    Sequence next(boolean place, boolean room) {
        return locked(() -> {
            GeneratingSequence generation = place ? generations.peek() : null;
            EmbeddingSequence text = room ? texts.peek() : null;
            if (generation == null || text == null) {
                return generation == null ? text : generation;
            }
            return generation.submitted - text.submitted <= 0 ? generation : text;
        });
    }

    /** Takes a sequence out that runs from now on. */
    void started(Sequence sequence) {
        locked(() -> {
            running++;
            generating += sequence instanceof GeneratingSequence ? 1 : 0;
            return remove(sequence);
        });
    }

    /** Puts a sequence that ran back, before all others of its kind. */
    void putBack(Sequence sequence) {
        locked(() -> {
            running--;
            if (sequence instanceof GeneratingSequence generation) {
                generating--;
                generations.addFirst(generation);
            } else if (sequence instanceof EmbeddingSequence text) {
                texts.addFirst(text);
            }
            return sequence;
        });
    }

    /** Takes a sequence out that cannot start. */
    void dropped(Sequence sequence) {
        locked(() -> remove(sequence));
    }

    private boolean remove(Sequence sequence) {
        return sequence instanceof GeneratingSequence ? generations.remove(sequence) : texts.remove(sequence);
    }

    /** Notes how many run, and how many of them generate. */
    void running(int sequences, int generations) {
        locked(() -> {
            running = sequences;
            generating = generations;
            return sequences;
        });
    }

    /** Takes out what nobody wants any more. */
    List<Sequence> takeAbandoned() {
        return locked(() -> {
            List<Sequence> abandoned = new ArrayList<>();
            moveAbandoned(generations.iterator(), abandoned);
            moveAbandoned(texts.iterator(), abandoned);
            return abandoned;
        });
    }

    /** Moves what nobody wants any more. */
    static void moveAbandoned(Iterator<? extends Sequence> from, List<Sequence> to) {
        while (from.hasNext()) {
            Sequence sequence = from.next();
            if (sequence.abandoned()) {
                from.remove();
                to.add(sequence);
            }
        }
    }

    /** What there is to do now. */
    BatchLoad load(long kvBytesInUse, long kvBytesCached, BatchTotals totals) {
        return locked(() -> new BatchLoad(
                !closed ? BatchLoad.State.OPEN : closeAsked ? BatchLoad.State.CLOSED : BatchLoad.State.FAILED,
                running,
                generations.size() + texts.size(),
                kvBytesInUse,
                kvBytesCached,
                totals));
    }

    /** Whether nothing is added any more; asked for every layer of a sweep. */
    boolean closed() {
        return closed;
    }

    /** Closes the queue because somebody asked for it. */
    void askToClose() {
        locked(() -> {
            closeAsked |= !closed;
            closed = true;
            changed.signal();
            return closed;
        });
    }

    /** Closes the queue, fails the tasks that are left and returns the sequences. */
    List<Sequence> closeAndDrain(RuntimeException failureOfTasks) {
        return locked(() -> {
            closed = true;
            List<Sequence> left = new ArrayList<>(generations);
            left.addAll(texts);
            generations.clear();
            texts.clear();
            logits.forEach(task -> task.fail(failureOfTasks));
            logits.clear();
            return left;
        });
    }

    private <T extends @Nullable Object> T locked(Supplier<T> action) {
        lock.lock();
        try {
            return action.get();
        } finally {
            lock.unlock();
        }
    }
}
