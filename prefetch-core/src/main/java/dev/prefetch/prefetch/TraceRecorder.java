package dev.prefetch.prefetch;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Remembers what disk, link, compute and waiting did during the last sweeps. Guarded by the lock of the
 * {@link TransferQueue}; {@link #sweeps()} gives copies.
 */
final class TraceRecorder {

    private final int keptSweeps;
    private final Deque<Recording> recordings = new ArrayDeque<>();
    private @Nullable Recording current;
    private long sweepNumber;

    /**
     * @param keptSweeps how many sweeps to remember; 0 for none
     */
    TraceRecorder(int keptSweeps) {
        this.keptSweeps = keptSweeps;
    }

    void beginSweep(Regime regime, int tokens, long now) {
        sweepNumber++;
        if (keptSweeps == 0) {
            return;
        }
        if (recordings.size() == keptSweeps) {
            recordings.removeFirst();
        }
        current = new Recording(sweepNumber, regime, tokens, now);
        recordings.addLast(current);
    }

    void endSweep(long now) {
        if (current != null) {
            current.endNanos = now;
            current = null;
        }
    }

    /** Whether what is added now is kept: labels need not be made for nothing. */
    boolean recording() {
        return current != null;
    }

    void add(Lane lane, String name, long startNanos, long endNanos, long bytes) {
        if (current == null || startNanos == endNanos) {
            return;
        }
        List<Span> spans = current.spans;
        int lastIndex = current.lastOfLane[lane.ordinal()];
        if (lastIndex >= 0) {
            Span last = spans.get(lastIndex);
            if (last.endNanos == startNanos && last.name.equals(name)) {
                spans.set(lastIndex, new Span(lane, name, last.startNanos, endNanos, last.bytes + bytes));
                return;
            }
        }
        current.lastOfLane[lane.ordinal()] = spans.size();
        spans.add(new Span(lane, name, startNanos, endNanos, bytes));
    }

    /** Adds a span to the last sweep, which may have ended. */
    void addToLast(Lane lane, String name, long startNanos, long endNanos, long bytes) {
        if (!recordings.isEmpty() && startNanos < endNanos) {
            recordings.getLast().spans.add(new Span(lane, name, startNanos, endNanos, bytes));
        }
    }

    /** Adds bytes to a lane's latest span. */
    void addBytes(Lane lane, long bytes) {
        if (current == null) {
            return;
        }
        int lastIndex = current.lastOfLane[lane.ordinal()];
        if (lastIndex >= 0) {
            Span last = current.spans.get(lastIndex);
            current.spans.set(lastIndex, new Span(lane, last.name, last.startNanos, last.endNanos, last.bytes + bytes));
        }
    }

    /** The finished sweeps, oldest first. */
    List<Sweep> sweeps() {
        return recordings.stream()
                .filter(r -> r != current)
                .map(r -> new Sweep(r.number, r.regime, r.tokens, r.startNanos, r.endNanos, List.copyOf(r.spans)))
                .toList();
    }

    /** What a span is about. */
    enum Lane {
        /** Reads of the file. */
        DISK,
        COMPUTE,
        WAITING,
        /** Copies to a device. */
        LINK
    }

    /**
     * @param name the block's label
     * @param bytes bytes moved; 0 for compute and waiting
     */
    record Span(Lane lane, String name, long startNanos, long endNanos, long bytes) {}

    record Sweep(long number, Regime regime, int tokens, long startNanos, long endNanos, List<Span> spans) {}

    private static final class Recording {

        final long number;
        final Regime regime;
        final int tokens;
        final long startNanos;
        final List<Span> spans = new ArrayList<>();
        final int[] lastOfLane = {-1, -1, -1, -1};
        long endNanos;

        Recording(long number, Regime regime, int tokens, long startNanos) {
            this.number = number;
            this.regime = regime;
            this.tokens = tokens;
            this.startNanos = startNanos;
            this.endNanos = startNanos;
        }
    }
}
