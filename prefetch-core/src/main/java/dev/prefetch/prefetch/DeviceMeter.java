package dev.prefetch.prefetch;

import dev.prefetch.backend.ComputeStream;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.Tier;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.Link.Hop;
import dev.prefetch.prefetch.TraceRecorder.Lane;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Keeps the accounts of a device that works behind the host's back, by the device's own clock.
 *
 * <p>How it works: whatever happens is noted with a timed event in the stream it happens in. At the end of a sweep, when
 * its events are complete, the notes are played in the order of their times to a {@link SweepMeter} whose clock shows
 * those times. Copies that are still on their way are played with a later sweep. Reads into staging have the host's times,
 * which the start of a sweep, when the device is idle, ties to the device's.
 */
final class DeviceMeter implements Meter {

    private final ComputeStream compute;
    private final TraceRecorder trace;
    private final SweepMeter meter;
    private final Deque<Note> computeNotes = new ArrayDeque<>();
    private final List<Note> linkNotes = new ArrayList<>();
    private long shownNanos;

    private boolean inSweep;
    private Regime regime = Regime.DECODE;
    private int tokens;

    private @Nullable Event sweepBegun;
    private long sweepBegunHostNanos;
    private int stagingReads;
    private long stagingMark;
    private final List<StagingSpan> stagingSpans = new ArrayList<>();

    DeviceMeter(int blocks, ComputeStream compute, TraceRecorder trace) {
        this.compute = compute;
        this.trace = trace;
        this.meter = new SweepMeter(blocks, () -> shownNanos, trace, Lane.LINK);
    }

    @Override
    public boolean inSweep() {
        return inSweep;
    }

    @Override
    public Regime regime() {
        return regime;
    }

    @Override
    public int tokens() {
        return tokens;
    }

    @Override
    public long lastSweepNanos() {
        return meter.lastSweepNanos();
    }

    @Override
    public void beginSweep(Regime newRegime, int newTokens) {
        inSweep = true;
        regime = newRegime;
        tokens = newTokens;
        Event begun = compute.recordTimed();
        sweepBegun = begun;
        sweepBegunHostNanos = System.nanoTime();
        note(begun, () -> meter.beginSweep(newRegime, newTokens));
    }

    @Override
    public void endSweep() {
        if (!inSweep) {
            return;
        }
        inSweep = false;
        note(compute.recordTimed(), meter::endSweep);
        compute.synchronize();
        settle();
    }

    @Override
    public void endForgottenSweep() {
        endSweep();
    }

    @Override
    public void stallStarted() {
        note(compute.recordTimed(), meter::stallStarted);
    }

    @Override
    public void stallEnded(WeightBlock block) {
        note(compute.recordTimed(), () -> meter.stallEnded(block));
    }

    @Override
    public void acquired(WeightBlock block, @Nullable Tier foundIn) {
        note(compute.recordTimed(), () -> meter.acquired(block, foundIn));
    }

    @Override
    public void picking(WeightBlock expert, int picks) {
        note(compute.recordTimed(), () -> meter.picking(expert, picks));
    }

    @Override
    public void released() {
        // The device has not let go of it yet.
    }

    private void note(Event event, Runnable entry) {
        computeNotes.add(new Note(event, entry));
    }

    @Override
    public void readStarted() {
        if (stagingReads++ == 0) {
            stagingMark = System.nanoTime();
        }
    }

    @Override
    public void readEnded(WeightBlock block, long bytes, boolean load, @Nullable Hop hop) {
        long now = System.nanoTime();
        if (inSweep && hop != null && hop.fromDisk()) {
            stagingSpans.add(new StagingSpan(block.label(), stagingMark, now, bytes));
        }
        stagingMark = now;
        stagingReads--;
        if (hop == null) {
            return;
        }
        linkNotes.add(new Note(hop.begun(), meter::linkStarted));
        linkNotes.add(new Note(hop.ended(), () -> {
            meter.linkEnded(block);
            meter.moved(bytes, load, hop.fromDisk());
        }));
    }

    @Override
    public void blockStreamed() {
        meter.blockStreamed();
    }

    @Override
    public void blockDropped() {
        meter.blockDropped();
    }

    @Override
    public void retried() {
        meter.retried();
    }

    @Override
    public void failed() {
        meter.failed();
    }

    @Override
    public void expertAsked(boolean hit) {
        if (regime == Regime.DECODE) {
            meter.expertAskedInDecode(hit);
        }
    }

    @Override
    public double layerComputeSeconds(boolean experts, int layers) {
        return meter.layerComputeSeconds(experts, layers);
    }

    @Override
    public PrefetchStatistics finished(Regime ofRegime) {
        return meter.finished(ofRegime);
    }

    @Override
    public PrefetchStatistics snapshot() {
        return meter.snapshot();
    }

    /** Plays what has happened by now. Everything noted of compute has. */
    private void settle() {
        List<Timed> happened = new ArrayList<>();
        computeNotes.forEach(note -> happened.add(new Timed(note.event.timeNanos(), note.entry)));
        computeNotes.clear();
        // Copies complete in the order in which they were queued.
        int complete = 0;
        while (complete < linkNotes.size() && linkNotes.get(complete).event.isComplete()) {
            Note note = linkNotes.get(complete++);
            happened.add(new Timed(note.event.timeNanos(), note.entry));
        }
        linkNotes.subList(0, complete).clear();
        happened.sort(Comparator.comparingLong(Timed::nanos));
        Event begun = sweepBegun;
        long shift = begun == null ? 0 : begun.timeNanos() - sweepBegunHostNanos;
        for (Timed entry : happened) {
            shownNanos = Math.max(shownNanos, entry.nanos);
            entry.action.run();
        }
        for (StagingSpan span : stagingSpans) {
            trace.addToLast(Lane.DISK, span.block, span.fromNanos + shift, span.toNanos + shift, span.bytes);
        }
        stagingSpans.clear();
    }

    private record Note(Event event, Runnable entry) {}

    private record Timed(long nanos, Runnable action) {}

    private record StagingSpan(String block, long fromNanos, long toNanos, long bytes) {}
}
