package dev.prefetch.cuda;

import dev.prefetch.backend.DeviceFailedException;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import jcuda.CudaException;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdevice_attribute;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A context of our own (not the primary one), because what a fault leaves behind goes only with its context, and others
 * in the process may be using the primary one.
 *
 * <p>Every call to the driver goes through {@link #check}. After the first failure the context is marked: what lies in the
 * device's memory is worth nothing any more, so everything that follows fails with the first reason instead of computing
 * on.
 */
final class CudaContext implements AutoCloseable {

    private static final Logger log = LoggerFactory.getLogger(CudaContext.class);

    private final CUcontext context = new CUcontext();
    private final CUdevice device = new CUdevice();
    private final String description;
    private volatile @Nullable String failure;
    private volatile boolean closed;

    private CudaContext(String description) {
        this.description = description;
    }

    /**
     * Creates a context on that device and makes it current.
     *
     * @throws DeviceFailedException when the driver refuses
     */
    static CudaContext create(int ordinal, String description) {
        CudaContext created = new CudaContext(description);
        created.check(JCudaDriver.cuInit(0), "cuInit");
        created.check(JCudaDriver.cuDeviceGet(created.device, ordinal), "cuDeviceGet");
        created.check(JCudaDriver.cuCtxCreate(created.context, 0, created.device), "cuCtxCreate");
        return created;
    }

    /** The device in words. */
    String description() {
        return description;
    }

    int attribute(int attribute) {
        int[] value = new int[1];
        check(JCudaDriver.cuDeviceGetAttribute(value, attribute, device), "cuDeviceGetAttribute");
        return value[0];
    }

    int multiprocessors() {
        return attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    }

    /** Free bytes of the device's memory. */
    long freeBytes() {
        makeCurrent();
        long[] free = new long[1];
        check(JCudaDriver.cuMemGetInfo(free, new long[1]), "cuMemGetInfo");
        return free[0];
    }

    /**
     * Makes the context current in the calling thread; called before every use, because threads and other libraries come
     * and go, and it costs less than remembering who did.
     *
     * @throws DeviceFailedException when the device has failed before
     * @throws IllegalStateException when the device is closed
     */
    void makeCurrent() {
        String reason = failure;
        if (reason != null) {
            throw new DeviceFailedException(reason);
        }
        if (closed) {
            throw new IllegalStateException("the CUDA device is closed");
        }
        check(JCudaDriver.cuCtxSetCurrent(context), "cuCtxSetCurrent");
    }

    /** Makes the context current in order to give something back: never throws, because a fault must not stop that. */
    void enterToRelease() {
        if (!closed) {
            release(JCudaDriver.cuCtxSetCurrent(context), "cuCtxSetCurrent");
        }
    }

    /** Waits for a stream whose memory is about to be given back; never throws. */
    void finish(CUstream stream) {
        enterToRelease();
        if (failure == null && !closed) {
            release(JCudaDriver.cuStreamSynchronize(stream), "cuStreamSynchronize");
        }
    }

    boolean hasFailed() {
        return failure != null;
    }

    boolean isClosed() {
        return closed;
    }

    /**
     * Turns a result into an exception.
     *
     * @throws DeviceFailedException when it is not success; the context is marked as failed
     */
    void check(int result, String call) {
        if (result != CUresult.CUDA_SUCCESS) {
            throw fail(result, call);
        }
    }

    /** Marks the context as failed and says how. */
    DeviceFailedException fail(int result, String call) {
        String message =
                "CUDA device failed: " + call + " returned " + name(result) + " (" + description + "). What lay in "
                        + "its memory is lost; open the device anew, and if it fails again look for 'NVRM: Xid' in the kernel log";
        if (failure == null) {
            failure = message;
            log.error("{}", message);
        }
        return new DeviceFailedException(message);
    }

    /** An allocation that was refused, which leaves the device as it was. */
    OutOfDeviceMemoryException outOfMemory(String call, long bytes, String purpose, String where, String remedy) {
        String free;
        long[] available = new long[1];
        if (JCudaDriver.cuMemGetInfo(available, new long[1]) == CUresult.CUDA_SUCCESS) {
            free = ", of which the device has " + available[0] + " bytes free";
        } else {
            free = "";
        }
        return new OutOfDeviceMemoryException(
                "cannot allocate " + bytes + " bytes of " + where + " for " + purpose + free + ": " + remedy,
                new CudaException(call + " returned " + name(CUresult.CUDA_ERROR_OUT_OF_MEMORY)));
    }

    static String name(int result) {
        return CUresult.stringFor(result) + " (" + result + ")";
    }

    /** Releases a resource; a device that has failed refuses this, and the context takes the resource with it. */
    void release(int result, String call) {
        if (result != CUresult.CUDA_SUCCESS && failure == null) {
            log.warn("{} returned {} on {}", call, name(result), description);
        }
    }

    @Override
    public void close() {
        if (closed) {
            return;
        }
        closed = true;
        release(JCudaDriver.cuCtxDestroy(context), "cuCtxDestroy");
    }
}
