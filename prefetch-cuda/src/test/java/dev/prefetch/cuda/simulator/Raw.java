package dev.prefetch.cuda.simulator;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static jcuda.driver.JCudaDriver.cuCtxCreate;
import static jcuda.driver.JCudaDriver.cuCtxDestroy;
import static jcuda.driver.JCudaDriver.cuDeviceGet;
import static jcuda.driver.JCudaDriver.cuEventCreate;
import static jcuda.driver.JCudaDriver.cuInit;
import static jcuda.driver.JCudaDriver.cuLaunchKernel;
import static jcuda.driver.JCudaDriver.cuMemAlloc;
import static jcuda.driver.JCudaDriver.cuMemHostAlloc;
import static jcuda.driver.JCudaDriver.cuModuleGetFunction;
import static jcuda.driver.JCudaDriver.cuModuleLoadData;
import static jcuda.driver.JCudaDriver.cuStreamCreate;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import jcuda.Pointer;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUevent;
import jcuda.driver.CUfunction;
import jcuda.driver.CUmodule;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import org.jspecify.annotations.Nullable;

/** A context and plain driver calls, for the tests of the simulator itself. */
final class Raw implements AutoCloseable {

    private static final int NON_BLOCKING = 1;
    private static final int DISABLE_TIMING = 2;

    final CUcontext context = new CUcontext();
    private final CUmodule module = new CUmodule();

    /** Device memory with its address. */
    static final class Device extends CUdeviceptr {
        long address() {
            return getNativePointer() + getByteOffset();
        }
    }

    /** A pointer to any address. */
    static final class At extends Pointer {
        At(long address) {
            super(address);
        }
    }

    /** Page-locked memory. */
    static final class Locked extends Pointer {
        private long bytes;

        @SuppressWarnings("restricted")
        MemorySegment segment() {
            return MemorySegment.ofAddress(getNativePointer()).reinterpret(bytes);
        }
    }

    /** A structure by value, as a kernel's argument. */
    record Struct(MemorySegment bytes) {}

    Raw(String ptx) {
        check(cuInit(0));
        CUdevice device = new CUdevice();
        check(cuDeviceGet(device, 0));
        check(cuCtxCreate(context, 0, device));
        byte[] image = ptx.getBytes(StandardCharsets.US_ASCII);
        int loaded = cuModuleLoadData(module, Arrays.copyOf(image, image.length + 1));
        if (loaded != CUresult.CUDA_SUCCESS) {
            close();
        }
        check(loaded);
    }

    @Override
    public void close() {
        check(cuCtxDestroy(context));
    }

    static void check(int result) {
        if (result != CUresult.CUDA_SUCCESS) {
            throw new CudaError(result);
        }
    }

    /** A driver call that failed. */
    @SuppressWarnings("serial")
    static final class CudaError extends RuntimeException {
        final int result;

        CudaError(int result) {
            super(CUresult.stringFor(result));
            this.result = result;
        }
    }

    CUfunction function(String name) {
        CUfunction function = new CUfunction();
        check(cuModuleGetFunction(function, module, name));
        return function;
    }

    int launch(String kernel, int blocks, int threads, @Nullable CUstream stream, Object... arguments) {
        return launch(kernel, blocks, threads, 0, stream, arguments(Arena.ofAuto(), arguments));
    }

    int launch(String kernel, int blocks, int threads, int sharedBytes, @Nullable CUstream stream, Pointer arguments) {
        return cuLaunchKernel(function(kernel), blocks, 1, 1, threads, 1, 1, sharedBytes, stream, arguments, null);
    }

    /** An array of addresses of values; the segment must outlive the launch. */
    static Pointer arguments(Arena arena, Object... values) {
        MemorySegment slots = arena.allocate(32L * Math.max(1, values.length), 16);
        MemorySegment addresses = arena.allocate(8L * Math.max(1, values.length), 8);
        for (int i = 0; i < values.length; i++) {
            long offset = 32L * i;
            switch (values[i]) {
                case Device d -> slots.set(JAVA_LONG, offset, d.address());
                case Long l -> slots.set(JAVA_LONG, offset, l);
                case Integer n -> slots.set(JAVA_INT, offset, n);
                case Float f -> slots.set(JAVA_FLOAT, offset, f);
                case Struct s ->
                    MemorySegment.copy(s.bytes(), 0, slots, offset, s.bytes().byteSize());
                default -> throw new IllegalArgumentException(values[i].toString());
            }
            addresses.setAtIndex(JAVA_LONG, i, slots.address() + offset);
        }
        return new KeptPointer(addresses, slots);
    }

    /** Keeps its memory reachable. */
    private static final class KeptPointer extends Pointer {
        @SuppressWarnings("unused")
        private final MemorySegment[] kept;

        KeptPointer(MemorySegment target, MemorySegment... kept) {
            super(target.address());
            this.kept = new MemorySegment[] {target, kept[0]};
        }
    }

    static Device device(long bytes) {
        Device device = new Device();
        check(cuMemAlloc(device, bytes));
        return device;
    }

    static Locked locked(long bytes) {
        Locked locked = new Locked();
        check(cuMemHostAlloc(locked, bytes, 0));
        locked.bytes = bytes;
        return locked;
    }

    static CUstream stream() {
        CUstream stream = new CUstream();
        check(cuStreamCreate(stream, NON_BLOCKING));
        return stream;
    }

    static CUevent event() {
        CUevent event = new CUevent();
        check(cuEventCreate(event, DISABLE_TIMING));
        return event;
    }

    static CUevent timingEvent() {
        CUevent event = new CUevent();
        check(cuEventCreate(event, 0));
        return event;
    }

    static void fill(MemorySegment segment, byte value) {
        for (long i = 0; i < segment.byteSize(); i++) {
            segment.set(JAVA_BYTE, i, value);
        }
    }
}
