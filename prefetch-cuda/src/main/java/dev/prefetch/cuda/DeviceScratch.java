package dev.prefetch.cuda;

import jcuda.driver.CUstream;
import org.jspecify.annotations.Nullable;

/** Device memory for intermediate results, which grows to the largest size asked for. Used in stream order. */
final class DeviceScratch {

    private static final long GRANULE_BYTES = 64 << 10;

    private final CudaDevice device;
    private final CUstream stream;
    private final String purpose;
    private @Nullable CudaBuffer buffer;

    DeviceScratch(CudaDevice device, CUstream stream, String purpose) {
        this.device = device;
        this.stream = stream;
        this.purpose = purpose;
    }

    /** What is allocated for that many bytes. */
    static long rounded(long bytes) {
        return Math.ceilDiv(bytes, GRANULE_BYTES) * GRANULE_BYTES;
    }

    /** Address of at least that many bytes; what lay there before may be gone. */
    long ensure(long bytes) {
        CudaBuffer existing = buffer;
        if (existing == null || existing.byteSize() < bytes) {
            close();
            existing = device.allocate(rounded(bytes), purpose);
            buffer = existing;
        }
        return existing.address();
    }

    void close() {
        CudaBuffer existing = buffer;
        if (existing != null) {
            buffer = null;
            // Kernels may still be using it.
            device.context().finish(stream);
            existing.close();
        }
    }
}
