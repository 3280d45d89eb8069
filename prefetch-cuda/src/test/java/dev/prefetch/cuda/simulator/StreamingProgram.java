package dev.prefetch.cuda.simulator;

import static dev.prefetch.cuda.simulator.Raw.check;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT_UNALIGNED;
import static jcuda.driver.JCudaDriver.cuEventDestroy;
import static jcuda.driver.JCudaDriver.cuEventElapsedTime;
import static jcuda.driver.JCudaDriver.cuEventRecord;
import static jcuda.driver.JCudaDriver.cuEventSynchronize;
import static jcuda.driver.JCudaDriver.cuMemFree;
import static jcuda.driver.JCudaDriver.cuMemFreeHost;
import static jcuda.driver.JCudaDriver.cuMemcpyDtoHAsync;
import static jcuda.driver.JCudaDriver.cuMemcpyHtoDAsync;
import static jcuda.driver.JCudaDriver.cuStreamDestroy;
import static jcuda.driver.JCudaDriver.cuStreamSynchronize;
import static jcuda.driver.JCudaDriver.cuStreamWaitEvent;

import dev.prefetch.cuda.simulator.Raw.Device;
import dev.prefetch.cuda.simulator.Raw.Locked;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Supplier;
import java.util.function.ToIntFunction;
import jcuda.Pointer;
import jcuda.driver.CUevent;
import jcuda.driver.CUstream;

/**
 * What the prefetcher does on a GPU, in plain driver calls: layers of q8_0 weights go through slots in device memory, by
 * way of page-locked staging buffers, while the layers before them are computed. Any one of its waits can be left out.
 */
final class StreamingProgram {

    static final int LAYERS = 7;
    static final int SIZE = 96;
    private static final int BLOCKS = SIZE / 32;
    static final int LAYER_BYTES = SIZE * BLOCKS * 34;

    private final SimulatedDriver driver;
    private final Raw cuda;
    private final int slots;
    private final List<byte[]> layers = new ArrayList<>();
    private final float[] input = new float[SIZE];

    /** A place in the program where it waits. */
    enum Wait {
        /** The host waits for a staging buffer's last copy before it refills the buffer. */
        STAGING_FREE,
        /** The copy stream waits for a slot's last reader before it overwrites the slot. */
        SLOT_FREE,
        /** The compute stream waits for the copy before it reads the slot. */
        LAYER_ARRIVED,
        /** The compute stream waits for the input, which a stream of its own brought. */
        INPUT_ARRIVED,
        /** The host waits for the result before it reads it. */
        RESULT_ARRIVED
    }

    /**
     * What came out.
     *
     * @param result      the last layer's output
     * @param deviceNanos between the events at start and end
     * @param waits       how many waits the program passed
     */
    record Outcome(float[] result, long deviceNanos, int waits) {}

    StreamingProgram(SimulatedDriver driver, Raw cuda, int slots) {
        this.driver = driver;
        this.cuda = cuda;
        this.slots = slots;
        SplittableRandom random = new SplittableRandom(34);
        for (int l = 0; l < LAYERS; l++) {
            byte[] layer = new byte[LAYER_BYTES];
            random.nextBytes(layer);
            for (int i = 0; i < layer.length; i += 34) {
                short scale = Float.floatToFloat16((float) random.nextDouble(0.001, 0.002));
                layer[i] = (byte) scale;
                layer[i + 1] = (byte) (scale >> 8);
            }
            layers.add(layer);
        }
        for (int i = 0; i < SIZE; i++) {
            input[i] = (float) random.nextDouble(-1, 1);
        }
    }

    /** The result, computed here. */
    float[] expected() {
        float[] x = input;
        for (byte[] layer : layers) {
            MemorySegment weights = MemorySegment.ofArray(layer);
            float[] y = new float[SIZE];
            for (int row = 0; row < SIZE; row++) {
                double sum = 0;
                for (int i = 0; i < SIZE; i++) {
                    long block = ((long) row * BLOCKS + i / 32) * 34;
                    float scale = Float.float16ToFloat(weights.get(JAVA_SHORT_UNALIGNED, block));
                    sum += (double) scale * weights.get(JAVA_BYTE, block + 2 + i % 32) * x[i];
                }
                y[row] = (float) sum;
            }
            x = y;
        }
        return x;
    }

    /** Runs the program as it should be. */
    Outcome run() {
        return run(-1);
    }

    /** Runs the program without its n-th wait, counted from 0; returns after everything was released. */
    Outcome run(int leftOut) {
        return new Run(leftOut).go();
    }

    /** Which wait the n-th is. */
    List<Wait> waits() {
        Run run = new Run(-1);
        run.go();
        return run.passed;
    }

    private final class Run {

        private final int leftOut;
        private final List<Wait> passed = new ArrayList<>();
        private final Deque<Runnable> release = new ArrayDeque<>();

        Run(int leftOut) {
            this.leftOut = leftOut;
        }

        private <T> T own(Supplier<T> make, ToIntFunction<T> destroy) {
            T made = make.get();
            // A context that is lost refuses every call; what it owned goes with it.
            release.push(() -> destroy.applyAsInt(made));
            return made;
        }

        private boolean passes(Wait wait) {
            passed.add(wait);
            return passed.size() - 1 != leftOut;
        }

        Outcome go() {
            try (Arena arena = Arena.ofShared()) {
                try {
                    return body(arena);
                } finally {
                    release.forEach(Runnable::run);
                }
            }
        }

        private Outcome body(Arena arena) {
            CUstream copies = own(Raw::stream, s -> cuStreamDestroy(s));
            CUstream inputs = own(Raw::stream, s -> cuStreamDestroy(s));
            CUstream compute = own(Raw::stream, s -> cuStreamDestroy(s));
            List<Device> slot = new ArrayList<>();
            List<Locked> staging = new ArrayList<>();
            List<CUevent> arrived = new ArrayList<>();
            List<CUevent> read = new ArrayList<>();
            for (int i = 0; i < slots; i++) {
                slot.add(own(() -> Raw.device(LAYER_BYTES), d -> cuMemFree(d)));
                staging.add(own(() -> Raw.locked(LAYER_BYTES), p -> cuMemFreeHost(p)));
                arrived.add(own(Raw::event, e -> cuEventDestroy(e)));
                read.add(own(Raw::event, e -> cuEventDestroy(e)));
            }
            List<Device> vectors = new ArrayList<>();
            vectors.add(own(() -> Raw.device(4 * SIZE), d -> cuMemFree(d)));
            vectors.add(own(() -> Raw.device(4 * SIZE), d -> cuMemFree(d)));
            Locked in = own(() -> Raw.locked(4 * SIZE), p -> cuMemFreeHost(p));
            Locked out = own(() -> Raw.locked(4 * SIZE), p -> cuMemFreeHost(p));
            CUevent inputArrived = own(Raw::event, e -> cuEventDestroy(e));
            CUevent begin = own(Raw::timingEvent, e -> cuEventDestroy(e));
            CUevent end = own(Raw::timingEvent, e -> cuEventDestroy(e));

            in.segment().copyFrom(MemorySegment.ofArray(input));
            check(cuEventRecord(begin, copies));
            check(cuMemcpyHtoDAsync(vectors.get(0), in, 4 * SIZE, inputs));
            check(cuEventRecord(inputArrived, inputs));
            if (passes(Wait.INPUT_ARRIVED)) {
                check(cuStreamWaitEvent(compute, inputArrived, 0));
            }
            for (int layer = 0; layer < LAYERS; layer++) {
                int s = layer % slots;
                if (layer >= slots && passes(Wait.STAGING_FREE)) {
                    check(cuEventSynchronize(arrived.get(s)));
                }
                staging.get(s).segment().copyFrom(MemorySegment.ofArray(layers.get(layer)));
                if (layer >= slots && passes(Wait.SLOT_FREE)) {
                    check(cuStreamWaitEvent(copies, read.get(s), 0));
                }
                check(cuMemcpyHtoDAsync(slot.get(s), staging.get(s), LAYER_BYTES, copies));
                check(cuEventRecord(arrived.get(s), copies));
                if (passes(Wait.LAYER_ARRIVED)) {
                    check(cuStreamWaitEvent(compute, arrived.get(s), 0));
                }
                Pointer arguments = Raw.arguments(
                        arena, slot.get(s), vectors.get(layer % 2), vectors.get(1 - layer % 2), SIZE, SIZE);
                check(cuda.launch("matvec_q8_0", SIZE / 4, 128, 0, compute, arguments));
                check(cuEventRecord(read.get(s), compute));
            }
            check(cuMemcpyDtoHAsync(out, vectors.get(LAYERS % 2), 4 * SIZE, compute));
            check(cuEventRecord(end, compute));
            if (passes(Wait.RESULT_ARRIVED)) {
                check(cuEventSynchronize(end));
            }
            driver.hostAccess(out.segment(), false, "reads the result");
            float[] result = out.segment().toArray(JAVA_FLOAT);
            check(cuStreamSynchronize(compute));
            check(cuStreamSynchronize(copies));
            check(cuStreamSynchronize(inputs));
            float[] millis = new float[1];
            check(cuEventElapsedTime(millis, begin, end));
            return new Outcome(result, Math.round(millis[0] * 1e6), passed.size());
        }
    }
}
