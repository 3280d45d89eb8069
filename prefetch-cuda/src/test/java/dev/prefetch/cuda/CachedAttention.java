package dev.prefetch.cuda;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/**
 * Queries, keys and values of a sequence, to be attended on any device.
 *
 * @param sinks scores as f32, or empty for none
 */
record CachedAttention(
        AttentionShape shape, int pageTokens, int positions, float[] q, float[] k, float[] v, byte[] sinks) {

    static CachedAttention random(
            SplittableRandom random, AttentionShape s, int pageTokens, int positions, boolean sinks) {
        return new CachedAttention(
                s,
                pageTokens,
                positions,
                Devices.randomFloats(random, positions * s.heads() * s.keyDim()),
                Devices.randomFloats(random, positions * s.kvHeads() * s.keyDim()),
                Devices.randomFloats(random, positions * s.kvHeads() * s.valueDim()),
                sinks ? Devices.randomBlocks(random, GgmlType.F32, s.heads()) : new byte[0]);
    }

    /** Stores and attends all positions in calls that start at the given ones; {@code [positions x heads x valueDim]}. */
    float[] run(Device device, int... starts) {
        Cache cache = Cache.of(device, shape, pageTokens, positions);
        Weight scores = sinks.length == 0 ? null : Devices.weight(device, GgmlType.F32, 1, shape.heads(), sinks);
        try (DeviceBuffer qs = Devices.buffer(device, q);
                DeviceBuffer ks = Devices.buffer(device, k);
                DeviceBuffer vs = Devices.buffer(device, v);
                DeviceBuffer out = Devices.poisoned(device, positions * shape.heads() * shape.valueDim())) {
            for (int i = 0; i < starts.length; i++) {
                int from = starts[i];
                int count = (i + 1 < starts.length ? starts[i + 1] : positions) - from;
                device.compute().ops().storeKv(shape, cache, ks, vs, from, count, from);
                if (scores != null) {
                    device.compute().ops().attentionWithSinks(shape, cache, qs, scores, from, count, from, out);
                } else {
                    device.compute().ops().attention(shape, cache, qs, from, count, from, out);
                }
            }
            return Devices.read(out, positions * shape.heads() * shape.valueDim());
        } finally {
            if (scores != null) {
                scores.buffer().close();
            }
            cache.pages.forEach(DeviceBuffer::close);
        }
    }

    /** Pages of a sequence, to be filled through {@code storeKv}; keys do not start with the page. */
    record Cache(AttentionShape shape, int pageTokens, List<DeviceBuffer> pages) implements KvLayer {

        @Override
        public GgmlType type() {
            return GgmlType.F32;
        }

        static Cache of(Device device, AttentionShape shape, int pageTokens, int positions) {
            List<DeviceBuffer> pages = new ArrayList<>();
            int floats = shape.kvHeads() * pageTokens * (shape.keyDim() + shape.valueDim());
            for (int i = 0; i < Math.ceilDiv(positions, pageTokens); i++) {
                pages.add(Devices.poisoned(device, 16 + floats));
            }
            return new Cache(shape, pageTokens, pages);
        }

        @Override
        public DeviceBuffer page(int index) {
            return pages.get(index);
        }

        @Override
        public long keyOffset() {
            return 64;
        }

        @Override
        public long valueOffset() {
            return 64 + 4L * shape.kvHeads() * pageTokens * shape.keyDim();
        }
    }
}
