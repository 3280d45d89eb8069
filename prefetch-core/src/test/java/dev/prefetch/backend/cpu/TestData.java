package dev.prefetch.backend.cpu;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.SplittableRandom;

/** Devices, buffers and random weights for the tests of this package. */
final class TestData {

    private TestData() {}

    /** Every kernel set; only the vectors where their width is forced, because the others have been tested without. */
    static List<Kernels> kernelSets() {
        if (System.getProperty(KernelSelection.VECTOR_BITS_PROPERTY) != null) {
            return List.of(new VectorKernels());
        }
        return List.of(new ScalarKernels(), new VectorKernels());
    }

    static CpuDevice device(Kernels kernels, int threads) {
        return new CpuDevice(threads, new KernelSelection(kernels, List.of()));
    }

    static DeviceBuffer buffer(CpuDevice device, float... values) {
        DeviceBuffer buffer = device.allocate(Math.max(4, 4L * values.length), "test");
        buffer.upload(MemorySegment.ofArray(values), 0);
        return buffer;
    }

    /** A matrix of at most 64 different rows, again and again, packed where the device packs it and {@code packs} says so: the weights of benchmarks. */
    static Weight repeatedRows(
            CpuDevice device, SplittableRandom random, GgmlType type, long rows, int cols, boolean packs) {
        byte[] sample = randomBlocks(random, type, Math.min(rows, 64) * cols);
        DeviceBuffer buffer = device.allocate(type.byteSize(cols) * rows, "weights");
        for (long at = 0; at < buffer.byteSize(); at += sample.length) {
            long length = Math.min(sample.length, buffer.byteSize() - at);
            buffer.upload(MemorySegment.ofArray(sample).asSlice(0, length), at);
        }
        Weight weight = new Weight(type, rows, cols, buffer, 0);
        return packs && device.packs(type, rows, cols) ? device.pack(weight) : weight;
    }

    static float[] read(DeviceBuffer buffer, int n) {
        float[] values = new float[n];
        buffer.download(0, MemorySegment.ofArray(values));
        return values;
    }

    /** What a KV cache of that type gives back, worked out without its code. */
    static float[] keptAs(GgmlType type, float[] values) {
        float[] kept = values.clone();
        switch (type) {
            case F32 -> {}
            case F16 -> {
                for (int i = 0; i < kept.length; i++) {
                    kept[i] = Float.float16ToFloat(Float.floatToFloat16(kept[i]));
                }
            }
            case Q8_0 -> {
                for (int block = 0; block < kept.length; block += 32) {
                    float max = 0;
                    for (int i = block; i < block + 32; i++) {
                        max = Math.max(max, Math.abs(kept[i]));
                    }
                    float d = max / 127;
                    float scale = Float.float16ToFloat(Float.floatToFloat16(d));
                    for (int i = block; i < block + 32; i++) {
                        float scaled = kept[i] * (1 / d);
                        kept[i] = (float) (Math.signum(scaled) * Math.floor(Math.abs((double) scaled) + 0.5)) * scale;
                    }
                }
            }
            default -> throw new IllegalArgumentException("no KV cache of type " + type);
        }
        return kept;
    }

    static float[] randomFloats(SplittableRandom random, int n) {
        float[] values = new float[n];
        for (int i = 0; i < n; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    /** A weight whose bytes are random but whose scales are of ordinary size. */
    static Weight randomWeight(CpuDevice device, SplittableRandom random, GgmlType type, int rows, int cols) {
        byte[] bytes = randomBlocks(random, type, (long) rows * cols);
        // An odd offset: tensors in a file are aligned to nothing a vector could rely on.
        int offset = 6;
        DeviceBuffer buffer = device.allocate(offset + bytes.length, "test weight");
        buffer.upload(MemorySegment.ofArray(bytes), offset);
        return new Weight(type, rows, cols, buffer, offset);
    }

    static byte[] randomBlocks(SplittableRandom random, GgmlType type, long elements) {
        byte[] bytes = new byte[Math.toIntExact(type.byteSize(elements))];
        random.nextBytes(bytes);
        MemorySegment out = MemorySegment.ofArray(bytes);
        for (int at = 0; at < bytes.length; at += type.blockBytes()) {
            switch (type) {
                case F32 -> out.set(ValueLayout.JAVA_FLOAT_UNALIGNED, at, (float) random.nextGaussian());
                case BF16 ->
                    out.set(ValueLayout.JAVA_SHORT_UNALIGNED, at, (short)
                            (Float.floatToRawIntBits((float) random.nextGaussian()) >>> 16));
                case F16, Q8_0, Q4_0, Q5_0, IQ4_NL, IQ4_XS, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ1_S ->
                    scale(out, at, random);
                case Q4_1, Q5_1, Q4_K, Q5_K -> {
                    scale(out, at, random);
                    scale(out, at + 2, random);
                }
                case Q2_K -> {
                    scale(out, at + 80, random);
                    scale(out, at + 82, random);
                }
                case Q3_K -> scale(out, at + 108, random);
                case Q6_K -> scale(out, at + 208, random);
                case TQ1_0 -> scale(out, at + 52, random);
                case TQ2_0 -> scale(out, at + 64, random);
                case IQ1_M -> {
                    int d = Float.floatToFloat16((float) random.nextGaussian() * 0.01f) & 0xffff;
                    for (int i = 0; i < 4; i++) {
                        bytes[at + 49 + 2 * i] = (byte) (bytes[at + 49 + 2 * i] & 15 | (d >> 4 * i & 15) << 4);
                    }
                }
                case MXFP4 -> bytes[at] = (byte) random.nextInt(115, 125);
                default -> throw new IllegalArgumentException("no generator for " + type);
            }
        }
        return bytes;
    }

    private static void scale(MemorySegment out, long at, SplittableRandom random) {
        out.set(ValueLayout.JAVA_SHORT_UNALIGNED, at, Float.floatToFloat16((float) random.nextGaussian() * 0.01f));
    }

    /** The weight as floats, by the scalar definition of its format. */
    static float[] expand(Weight weight) {
        int elements = Math.toIntExact(weight.rows() * weight.cols());
        long in = ((CpuBuffer) weight.buffer()).address() + weight.offset();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(4L * elements, 64);
            ScalarDequantizer.expand(weight.type(), in, elements, out.address());
            return out.toArray(ValueLayout.JAVA_FLOAT);
        }
    }
}
