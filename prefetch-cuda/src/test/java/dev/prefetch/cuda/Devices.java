package dev.prefetch.cuda;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.Weight;
import dev.prefetch.cuda.simulator.Settings;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.ServiceLoader;
import java.util.SplittableRandom;

/** The CUDA device on the simulated driver, the CPU device with its scalar kernels, and data for both. */
final class Devices {

    static final Path KERNELS = Path.of("src", "main", "cuda");

    private Devices() {}

    static SimulatedDriver driver() {
        return SimulatedDriver.load(settings());
    }

    static Settings settings() {
        return Settings.defaults().kernels(KERNELS, Settings.Kernels.TRACKED);
    }

    static Device cuda() {
        return open("cuda");
    }

    /** Weights expanded to f32, activations f32: the definition of every operation. */
    static Device reference() {
        System.setProperty("prefetch.cpu.kernels", "scalar");
        try {
            return open("cpu");
        } finally {
            System.clearProperty("prefetch.cpu.kernels");
        }
    }

    private static Device open(String backend) {
        return ServiceLoader.load(BackendProvider.class).stream()
                .map(ServiceLoader.Provider::get)
                .filter(provider -> provider.id().equals(backend))
                .findFirst()
                .orElseThrow()
                .open(new DeviceOptions(2));
    }

    static DeviceBuffer buffer(Device device, float... values) {
        DeviceBuffer buffer = device.allocate(Math.max(4, 4L * values.length), "test");
        buffer.upload(MemorySegment.ofArray(values), 0);
        return buffer;
    }

    /** An output that nobody has written yet: every element is a NaN. */
    static DeviceBuffer poisoned(Device device, int n) {
        float[] values = new float[n];
        Arrays.fill(values, Float.NaN);
        return buffer(device, values);
    }

    static float[] read(DeviceBuffer buffer, int n) {
        float[] values = new float[n];
        buffer.download(0, MemorySegment.ofArray(values));
        return values;
    }

    static float[] randomFloats(SplittableRandom random, int n) {
        float[] values = new float[n];
        for (int i = 0; i < n; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    static Weight weight(Device device, GgmlType type, int rows, int cols, byte[] bytes) {
        // Not at the start, and aligned to no more than a file promises.
        int offset = 32;
        DeviceBuffer buffer = device.allocate(offset + bytes.length, "test weight");
        buffer.upload(MemorySegment.ofArray(bytes), offset);
        return new Weight(type, rows, cols, buffer, offset);
    }

    /** Blocks of random bytes whose scales are of ordinary size. */
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
                    // The scale is spread over the upper nibbles of four words.
                    int d = scaleBits(random) & 0xffff;
                    for (int i = 0; i < 4; i++) {
                        bytes[at + 49 + 2 * i] = (byte) (bytes[at + 49 + 2 * i] & 15 | (d >> 4 * i & 15) << 4);
                    }
                }
                case MXFP4 -> bytes[at] = (byte) random.nextInt(115, 125);
                default -> throw new IllegalArgumentException("no random blocks of " + type);
            }
        }
        return bytes;
    }

    private static void scale(MemorySegment out, int at, SplittableRandom random) {
        out.set(ValueLayout.JAVA_SHORT_UNALIGNED, at, scaleBits(random));
    }

    private static short scaleBits(SplittableRandom random) {
        return Float.floatToFloat16((float) (random.nextDouble(0.25, 1) * (random.nextBoolean() ? 0.05 : -0.05)));
    }
}
