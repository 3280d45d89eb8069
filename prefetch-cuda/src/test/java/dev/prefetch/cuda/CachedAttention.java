package dev.prefetch.cuda;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/**
 * Queries, keys and values of a sequence, to be attended on any device.
 *
 * @param type what the cache keeps
 * @param sinks scores as f32, or empty for none
 */
record CachedAttention(
        AttentionShape shape,
        GgmlType type,
        int pageTokens,
        int positions,
        float[] q,
        float[] k,
        float[] v,
        byte[] sinks) {

    static CachedAttention random(
            SplittableRandom random, AttentionShape s, int pageTokens, int positions, boolean sinks) {
        return new CachedAttention(
                s,
                GgmlType.F32,
                pageTokens,
                positions,
                Devices.randomFloats(random, positions * s.heads() * s.keyDim()),
                Devices.randomFloats(random, positions * s.kvHeads() * s.keyDim()),
                Devices.randomFloats(random, positions * s.kvHeads() * s.valueDim()),
                sinks ? Devices.randomBlocks(random, GgmlType.F32, s.heads()) : new byte[0]);
    }

    CachedAttention withType(GgmlType other) {
        return new CachedAttention(shape, other, pageTokens, positions, q, k, v, sinks);
    }

    CachedAttention withKeysAndValues(float[] keys, float[] values) {
        return new CachedAttention(shape, type, pageTokens, positions, q, keys, values, sinks);
    }

    /** What the pages of a cache hold after keys and values were stored in two calls, page by page. */
    List<byte[]> store(Device device) {
        Cache cache = Cache.of(device, type, shape, pageTokens, positions);
        try (DeviceBuffer ks = Devices.buffer(device, k);
                DeviceBuffer vs = Devices.buffer(device, v)) {
            int first = positions / 3;
            device.compute().ops().storeKv(shape, cache, ks, vs, 0, first, 0);
            device.compute().ops().storeKv(shape, cache, ks, vs, first, positions - first, first);
            List<byte[]> pages = new ArrayList<>();
            for (DeviceBuffer page : cache.pages) {
                byte[] bytes = new byte[(int) page.byteSize()];
                page.download(0, MemorySegment.ofArray(bytes));
                pages.add(bytes);
            }
            return pages;
        } finally {
            cache.pages.forEach(DeviceBuffer::close);
        }
    }

    /** Stores and attends all positions in calls that start at the given ones; {@code [positions x heads x valueDim]}. */
    float[] run(Device device, int... starts) {
        Cache cache = Cache.of(device, type, shape, pageTokens, positions);
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
    record Cache(GgmlType type, AttentionShape shape, int pageTokens, List<DeviceBuffer> pages) implements KvLayer {

        static Cache of(Device device, GgmlType type, AttentionShape shape, int pageTokens, int positions) {
            Cache cache = new Cache(type, shape, pageTokens, new ArrayList<>());
            long bytes = cache.valueOffset() + cache.bytes(shape.valueDim());
            for (int i = 0; i < Math.ceilDiv(positions, pageTokens); i++) {
                cache.pages.add(Devices.poisoned(device, Math.toIntExact(Math.ceilDiv(bytes, Float.BYTES))));
            }
            return cache;
        }

        private long bytes(int dim) {
            return (long) shape.kvHeads() * pageTokens * type.byteSize(dim);
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
            return 64 + bytes(shape.keyDim());
        }
    }
}
