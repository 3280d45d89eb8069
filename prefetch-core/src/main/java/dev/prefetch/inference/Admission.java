package dev.prefetch.inference;

import dev.prefetch.backend.DeviceFailedException;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Decides who runs: takes sequences out of the queue for which there is a place and KV cache, those that came first first.
 *
 * <p>How KV cache is shared out. A sequence starts with memory for its prompt and a few tokens of its answer, and asks for
 * more as it grows. When there is no more, not even by giving kept prompts up, the one that came last gives all it has back,
 * returns to the head of the queue and begins again later. So the oldest never waits, there is room for it alone, and everybody
 * becomes the oldest: nobody waits for ever. Who gives way needs more to start again than it gave back, so it does not before
 * somebody ends. Used by the compute thread only.
 */
final class Admission {

    /** Texts to embed at the same time, so that many short ones leave others a share of a sweep. */
    private static final int MOST_TEXTS = 32;

    private final RequestQueue queue;
    private final BatchLimits limits;
    private final BatchCounters counters;
    private final List<Sequence> active = new ArrayList<>();

    Admission(RequestQueue queue, BatchLimits limits, BatchCounters counters) {
        this.queue = queue;
        this.limits = limits;
        this.counters = counters;
    }

    /** Those that run, for reading. */
    List<Sequence> active() {
        return active;
    }

    /** Takes a sequence out of those that run; false when it was not among them. */
    boolean remove(Sequence sequence) {
        return active.remove(sequence);
    }

    /** Takes a sequence out of those that run, if it is among them, and tells it its failure. */
    void fail(Sequence sequence, RuntimeException failure) {
        if (remove(sequence)) {
            sequence.conclude(failure);
        }
    }

    /** Takes out everything that runs. */
    List<Sequence> removeAll() {
        List<Sequence> all = List.copyOf(active);
        active.clear();
        return all;
    }

    /** Ends what was cancelled or is out of time, running or waiting. */
    void endAbandoned() {
        List<Sequence> abandoned = queue.takeAbandoned();
        RequestQueue.moveAbandoned(active.iterator(), abandoned);
        for (Sequence sequence : abandoned) {
            if (sequence.cancelled()) {
                sequence.conclude(StopCause.CANCELLED);
            } else {
                counters.expired.increment();
                sequence.conclude(sequence.deadlineExceeded());
            }
        }
    }

    /** The next task for which there is KV cache now; null when there is none. Running sequences end and make room. */
    @Nullable
    LogitsTask nextTask(KvPool pool) {
        LogitsTask task = queue.nextTask();
        if (task == null || !pool.hasRoomFor(task.length())) {
            return null;
        }
        queue.taken(task);
        return task;
    }

    /** Starts whom there is a place and room for. */
    void admit(KvPool pool) {
        LogitsTask task = queue.nextTask();
        if (task != null && !pool.hasRoomFor(task.length())) {
            // Were others let past it, it might wait for ever.
            return;
        }
        Sequence sequence = next();
        while (sequence != null && start(sequence, pool)) {
            sequence = next();
        }
    }

    private @Nullable Sequence next() {
        return queue.next(generating() < limits.maxConcurrency(), hasRoomForText());
    }

    /** Starts a sequence of the queue; false when there is no room for it now. */
    private boolean start(Sequence sequence, KvPool pool) {
        boolean first;
        try {
            KvCache cache = pool.open(sequence.prefix(), sequence.mostCachedTokens(), sequence.firstPositions());
            if (cache == null) {
                return false;
            }
            first = !sequence.startedBefore();
            sequence.start(cache);
        } catch (DeviceFailedException e) {
            // It stays in the queue, for whatever goes on in the device's place.
            throw e;
        } catch (RuntimeException e) {
            // Memory that was promised and cannot be had, first of all; whatever else it is, it is this sequence's
            // alone.
            queue.dropped(sequence);
            sequence.conclude(e);
            return true;
        }
        active.add(sequence);
        queue.started(sequence);
        if (first && sequence.keepsPrompt()) {
            counters.promptTokens.add(sequence.length());
            counters.cachedPromptTokens.add(sequence.cachedTokens());
        }
        return true;
    }

    /** Begins everything that runs anew with the memory of another place, as far as there is room. */
    void restart(KvPool pool) {
        List<Sequence> oldestFirst = oldestFirst();
        oldestFirst.forEach(Sequence::moved);
        boolean room = true;
        List<Sequence> without = new ArrayList<>();
        for (Sequence sequence : oldestFirst) {
            try {
                KvCache cache = room ? pool.open(sequence.prefix(), 0, sequence.firstPositions()) : null;
                if (cache == null) {
                    // What was shared before may not be any more, and some had grown less than they are promised anew.
                    room = false;
                    without.add(sequence);
                } else {
                    sequence.start(cache);
                }
            } catch (RuntimeException e) {
                fail(sequence, e);
            }
        }
        without.reversed().forEach(this::putBack);
    }

    private List<Sequence> oldestFirst() {
        List<Sequence> sorted = new ArrayList<>(active);
        sorted.sort((a, b) -> Long.signum(a.submitted - b.submitted));
        return sorted;
    }

    /** Sees to it that everybody has memory for the next row; those that came last give way. */
    void makeRoom() {
        List<Sequence> oldestFirst = oldestFirst();
        for (Sequence sequence : oldestFirst) {
            while (active.contains(sequence) && !sequence.promiseNext()) {
                Sequence last = oldestFirst.reversed().stream()
                        .filter(active::contains)
                        .findFirst()
                        .orElse(sequence);
                if (active.size() == 1) {
                    fail(
                            last,
                            new IllegalStateException("the KV cache of " + limits.kvBytes()
                                    + " bytes has no room for a sequence that has it alone"));
                } else {
                    last.preempt();
                    putBack(last);
                }
            }
        }
    }

    private void putBack(Sequence sequence) {
        counters.preemptions.increment();
        active.remove(sequence);
        queue.putBack(sequence);
    }

    /** How many sequences generate or will. */
    int generating() {
        return (int)
                active.stream().filter(GeneratingSequence.class::isInstance).count();
    }

    /** Whether a sweep has room for the rows of another text. */
    private boolean hasRoomForText() {
        int rows = 0;
        int texts = 0;
        for (Sequence sequence : active) {
            if (sequence instanceof EmbeddingSequence) {
                rows += sequence.left();
                texts++;
            }
        }
        return rows < limits.ubatch() && texts < MOST_TEXTS;
    }
}
