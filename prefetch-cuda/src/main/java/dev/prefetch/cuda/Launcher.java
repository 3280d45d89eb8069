package dev.prefetch.cuda;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;

/**
 * Launches kernels on one stream: {@code kernel(k).arg(..)...grid(..).launch(..)}. Arguments are written to one block of
 * memory outside the heap, which the driver has read when the launch returns; JCuda's own argument pointers would cost ten
 * times as much as the launch. Used by one thread at a time.
 */
final class Launcher implements AutoCloseable {

    private static final int SLOTS = 24;
    private static final int SLOT_BYTES = 16;
    private static final int LARGEST_Y = 65535;

    private final CudaContext context;
    private final CUstream stream;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment values = arena.allocate((long) SLOTS * SLOT_BYTES, SLOT_BYTES);
    private final MemorySegment pointers = arena.allocate(8L * SLOTS, 8);
    private final NativePointer parameters = new NativePointer(pointers.address());
    private int used;

    Launcher(CudaContext context, CUstream stream) {
        this.context = context;
        this.stream = stream;
    }

    Launcher begin() {
        used = 0;
        return this;
    }

    Launcher arg(long value) {
        values.set(JAVA_LONG, (long) used * SLOT_BYTES, value);
        return next(values.address() + (long) used * SLOT_BYTES);
    }

    Launcher arg(int value) {
        values.set(JAVA_INT, (long) used * SLOT_BYTES, value);
        return next(values.address() + (long) used * SLOT_BYTES);
    }

    Launcher arg(float value) {
        values.set(JAVA_FLOAT, (long) used * SLOT_BYTES, value);
        return next(values.address() + (long) used * SLOT_BYTES);
    }

    /** A struct, by value; its memory is read when the kernel is launched. */
    Launcher arg(MemorySegment struct) {
        return next(struct.address());
    }

    private Launcher next(long address) {
        pointers.setAtIndex(JAVA_LONG, used, address);
        used++;
        return this;
    }

    /** Launches with the arguments given since {@link #begin}. */
    void launch(KernelModules.Kernel kernel, long gridX, int gridY, int gridZ, int threads, int sharedBytes) {
        if (gridX > Integer.MAX_VALUE || gridY > LARGEST_Y || gridZ > LARGEST_Y) {
            throw new IllegalArgumentException("kernel " + kernel.name() + " cannot take a grid of " + gridX + " x "
                    + gridY + " x " + gridZ + " blocks: process fewer rows at a time");
        }
        context.makeCurrent();
        int result = JCudaDriver.cuLaunchKernel(
                kernel.function(), (int) gridX, gridY, gridZ, threads, 1, 1, sharedBytes, stream, parameters, null);
        if (result != CUresult.CUDA_SUCCESS) {
            throw context.fail(result, "cuLaunchKernel(" + kernel.name() + ")");
        }
    }

    void launch(KernelModules.Kernel kernel, long gridX, int gridY, int threads) {
        launch(kernel, gridX, gridY, 1, threads, 0);
    }

    /** Copies inside the device's memory, in the order of the stream. */
    void copy(long source, long target, long bytes) {
        context.makeCurrent();
        context.check(
                JCudaDriver.cuMemcpyDtoDAsync(
                        new NativePointer.InDevice(target), new NativePointer.InDevice(source), bytes, stream),
                "cuMemcpyDtoDAsync");
    }

    @Override
    public void close() {
        arena.close();
    }
}
