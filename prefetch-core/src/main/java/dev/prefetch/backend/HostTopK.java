package dev.prefetch.backend;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Comparator;

/** {@link Ops#topK} of any backend: on the host. */
final class HostTopK {

    private HostTopK() {}

    static void run(
            DeviceBuffer x, int rows, int stride, int n, int k, DeviceBuffer outValues, DeviceBuffer outIndices) {
        if (rows < 0 || k < 1 || k > Math.min(n, Ops.MOST_TOP_K) || n > stride) {
            throw new IllegalArgumentException(
                    "cannot find the " + k + " largest of " + n + " of " + stride + " elements in " + rows + " rows");
        }
        float[] row = new float[n];
        float[] values = new float[rows * k];
        int[] indices = new int[rows * k];
        for (int r = 0; r < rows; r++) {
            x.download((long) r * stride * Float.BYTES, MemorySegment.ofArray(row));
            Integer[] order = new Integer[n];
            Arrays.setAll(order, i -> i);
            // Zeros of both signs are equal.
            Arrays.sort(
                    order, Comparator.comparing((Integer i) -> row[i] == 0 ? 0 : row[i], Comparator.reverseOrder()));
            for (int j = 0; j < k; j++) {
                indices[r * k + j] = order[j];
                values[r * k + j] = row[order[j]];
            }
        }
        outValues.upload(MemorySegment.ofArray(values), 0);
        outIndices.upload(MemorySegment.ofArray(indices), 0);
    }
}
