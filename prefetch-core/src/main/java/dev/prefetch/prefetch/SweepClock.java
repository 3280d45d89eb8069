package dev.prefetch.prefetch;

import dev.prefetch.model.WeightBlock;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Where compute is, as a time that only grows: sweep after sweep of the static order, so that block {@code i} is due at
 * the times {@code t} with {@code t mod blocks = i}. Deadlines of transfers are such times. Guarded by the lock of the
 * {@link TransferQueue}.
 *
 * <p>The experts of a layer count as one step, since the router may ask for them in any order.
 */
final class SweepClock {

    private final int blocks;
    private final int[] step;
    private long sweepStart;
    private int lastStep = -1;

    SweepClock(List<WeightBlock> order) {
        this.blocks = order.size();
        this.step = new int[blocks];
        Map<Integer, Integer> firstExpertOfLayer = new HashMap<>();
        for (WeightBlock block : order) {
            step[block.index()] = block.kind() == WeightBlock.Kind.EXPERT
                    ? firstExpertOfLayer.computeIfAbsent(block.layer(), layer -> block.index())
                    : block.index();
        }
    }

    /** Starts a new sweep, if anything of the current one has been used. */
    void beginSweep() {
        if (lastStep >= 0) {
            sweepStart += blocks;
            lastStep = -1;
        }
    }

    /** Whether using this block now means that a new sweep has started. */
    boolean wraps(int block) {
        return step[block] < lastStep;
    }

    /** Moves to a block of the current sweep and returns the time it is due. */
    long advance(int block) {
        lastStep = step[block];
        return sweepStart + block;
    }

    /** The time of the step compute is at, or of the sweep's start. */
    long now() {
        return sweepStart + Math.max(0, lastStep);
    }

    /** The time of the first block of the current sweep. */
    long sweepStart() {
        return sweepStart;
    }

    /** The time a block of the current sweep is due. */
    long dueThisSweep(int block) {
        return sweepStart + block;
    }

    /** The block due at a time. */
    int blockAt(long time) {
        return (int) (time % blocks);
    }

    /** The first time after {@code time} at which the block is due. */
    long nextAfter(long time, int block) {
        return time + 1 + Math.floorMod(block - (time + 1), (long) blocks);
    }
}
