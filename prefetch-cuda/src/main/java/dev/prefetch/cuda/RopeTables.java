package dev.prefetch.cuda;

import dev.prefetch.backend.Rope;
import java.util.Arrays;
import jcuda.driver.CUstream;
import org.jspecify.annotations.Nullable;

/**
 * Cosines and sines per position, on the device. Every layer of a sweep asks for the same ones, so the last few tables are
 * kept; a model has at most two kinds of rotation.
 */
final class RopeTables {

    private static final int KEPT = 2;
    private static final int THREADS = 128;

    private final ArgumentRing ring;
    private final Launcher launcher;
    private final KernelModules.Kernel kernel;
    private final Entry[] entries = new Entry[KEPT];
    private int oldest;

    RopeTables(CudaDevice device, CUstream stream, ArgumentRing ring, Launcher launcher) {
        this.ring = ring;
        this.launcher = launcher;
        this.kernel = device.kernels().ropeTable;
        Arrays.setAll(entries, i -> new Entry(new DeviceScratch(device, stream, "a table of rotary embeddings")));
    }

    /** Device memory for tables of at most that many rows and dimensions per head. */
    static long scratchBytes(int rows, int largestHeadDim) {
        return KEPT * DeviceScratch.rounded(8L * (largestHeadDim / 2) * rows);
    }

    /** Address of {@code [count x pairs]} cosines and sines. */
    long table(Rope rope, int[] positions, int count) {
        for (Entry entry : entries) {
            if (entry.holds(rope, positions, count)) {
                return entry.address;
            }
        }
        Entry entry = entries[oldest];
        oldest = (oldest + 1) % KEPT;
        entry.rope = null;
        int pairs = rope.rotatedDimensions() / 2;
        entry.address = entry.memory.ensure(8L * pairs * count);
        long frequencies = ring.place(rope.inverseFrequencies());
        long places = ring.place(positions, count);
        launcher.begin()
                .arg(frequencies)
                .arg(places)
                .arg(entry.address)
                .arg(pairs)
                .arg(rope.magnitude());
        launcher.launch(kernel, Math.ceilDiv(pairs, THREADS), count, THREADS);
        entry.rope = rope;
        entry.positions = Arrays.copyOf(positions, count);
        return entry.address;
    }

    void close() {
        for (Entry entry : entries) {
            entry.memory.close();
        }
    }

    private static final class Entry {
        private final DeviceScratch memory;
        private @Nullable Rope rope;
        private int[] positions = {};
        private long address;

        private Entry(DeviceScratch memory) {
            this.memory = memory;
        }

        private boolean holds(Rope wanted, int[] wantedPositions, int count) {
            return rope == wanted
                    && count <= positions.length
                    && Arrays.equals(positions, 0, count, wantedPositions, 0, count);
        }
    }
}
