package dev.prefetch.backend.cpu;

import dev.prefetch.backend.Rope;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Cosines and sines per position. Every layer of a sweep asks for the same ones (twice: queries and keys), so the last few
 * tables are kept; a model has at most two kinds of rotation.
 */
final class RopeTables implements AutoCloseable {

    private static final int KEPT = 2;

    private final Entry[] entries = new Entry[KEPT];
    private int oldest;

    RopeTables() {
        Arrays.setAll(entries, i -> new Entry());
    }

    /** Bytes of one position's row. */
    static long rowBytes(Rope rope) {
        return 4L * rope.rotatedDimensions() * (rope.layout() == Rope.Layout.HALVES ? 1 : 2);
    }

    /** Address of {@code count} rows in the layout that {@link Kernels#rotateHalves} and its sibling want. */
    long table(Rope rope, int[] positions, int count) {
        for (Entry entry : entries) {
            if (entry.holds(rope, positions, count)) {
                return entry.address;
            }
        }
        Entry entry = entries[oldest];
        oldest = (oldest + 1) % KEPT;
        entry.fill(rope, Arrays.copyOf(positions, count));
        return entry.address;
    }

    @Override
    public void close() {
        for (Entry entry : entries) {
            entry.scratch.close();
        }
    }

    private static final class Entry {

        private final Scratch scratch = new Scratch("a table of rotary embeddings");
        private @Nullable Rope rope;
        private int[] positions = {};
        private long address;

        boolean holds(Rope wanted, int[] wantedPositions, int count) {
            return rope == wanted
                    && count <= positions.length
                    && Arrays.equals(positions, 0, count, wantedPositions, 0, count);
        }

        void fill(Rope wanted, int[] wantedPositions) {
            rope = null;
            address = scratch.ensure(rowBytes(wanted) * wantedPositions.length);
            float[] frequencies = wanted.inverseFrequencies();
            for (int row = 0; row < wantedPositions.length; row++) {
                fillRow(wanted, frequencies, wantedPositions[row], address + rowBytes(wanted) * row);
            }
            rope = wanted;
            positions = wantedPositions;
        }

        private static void fillRow(Rope rope, float[] frequencies, int position, long row) {
            int pairs = frequencies.length;
            for (int i = 0; i < pairs; i++) {
                double angle = (double) position * frequencies[i];
                float cos = (float) (Math.cos(angle) * rope.magnitude());
                float sin = (float) (Math.sin(angle) * rope.magnitude());
                if (rope.layout() == Rope.Layout.HALVES) {
                    Memory.putFloat(row + 4L * i, cos);
                    Memory.putFloat(row + 4L * (pairs + i), sin);
                } else {
                    Memory.putFloat(row + 8L * i, cos);
                    Memory.putFloat(row + 8L * i + 4, cos);
                    Memory.putFloat(row + 8L * (pairs + i), -sin);
                    Memory.putFloat(row + 8L * (pairs + i) + 4, sin);
                }
            }
        }
    }
}
