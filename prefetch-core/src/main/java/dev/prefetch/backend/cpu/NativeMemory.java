package dev.prefetch.backend.cpu;

import dev.prefetch.backend.OutOfDeviceMemoryException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A zeroed block of memory outside the heap, aligned to at least 64 bytes.
 *
 * <p>Large blocks on Linux are anonymous mappings aligned to 2 MiB with huge pages advised: they cost nothing until they
 * are touched, and fewer TLB misses raise the bandwidth of two reading threads measurably. Everything else comes from an
 * {@link Arena}.
 */
final class NativeMemory implements AutoCloseable {

    private static final Logger log = LoggerFactory.getLogger(NativeMemory.class);

    private static final long ALIGNMENT = 64;
    private static final long HUGE_PAGE = 2L << 20;
    private static final long MAP_THRESHOLD = 1L << 20;

    private final long address;
    private final @Nullable Arena arena;
    private final long mapAddress;
    private final long mapBytes;
    private boolean closed;

    private NativeMemory(long address, @Nullable Arena arena, long mapAddress, long mapBytes) {
        this.address = address;
        this.arena = arena;
        this.mapAddress = mapAddress;
        this.mapBytes = mapBytes;
    }

    /**
     * Allocates.
     *
     * @param bytes size, positive
     * @param purpose what it is for, for the error message
     * @throws OutOfDeviceMemoryException when the system refuses
     */
    static NativeMemory allocate(long bytes, String purpose) {
        if (bytes < 1) {
            throw new IllegalArgumentException("bytes must be positive but was " + bytes + " for " + purpose);
        }
        Mapper mapper = Mapper.INSTANCE;
        if (mapper != null && bytes >= MAP_THRESHOLD) {
            return mapper.map(bytes, purpose);
        }
        Arena arena = Arena.ofShared();
        try {
            return new NativeMemory(arena.allocate(bytes, ALIGNMENT).address(), arena, 0, 0);
        } catch (OutOfMemoryError | IllegalArgumentException e) {
            arena.close();
            throw refused(bytes, purpose, e);
        }
    }

    long address() {
        return address;
    }

    /** Releases the memory. Idempotent. */
    @Override
    public synchronized void close() {
        if (closed) {
            return;
        }
        closed = true;
        if (arena != null) {
            arena.close();
        } else if (Mapper.INSTANCE != null) {
            Mapper.INSTANCE.unmap(mapAddress, mapBytes);
        }
    }

    private static OutOfDeviceMemoryException refused(long bytes, String purpose, Throwable cause) {
        return new OutOfDeviceMemoryException(
                "cannot allocate " + bytes + " bytes of host memory for " + purpose
                        + ": lower the memory budget or the context length, or use a smaller model",
                cause);
    }

    /** {@code mmap}, {@code munmap} and {@code madvise} of Linux. */
    private static final class Mapper {

        private static final int PROT_READ_WRITE = 3;
        private static final int MAP_PRIVATE_ANONYMOUS = 0x22;
        private static final int MADV_HUGEPAGE = 14;

        private static final @Nullable Mapper INSTANCE = create();

        private final MethodHandle mmap;
        private final MethodHandle munmap;
        private final MethodHandle madvise;

        @SuppressWarnings("restricted")
        private Mapper() {
            Linker linker = Linker.nativeLinker();
            mmap = linker.downcallHandle(
                    linker.defaultLookup().findOrThrow("mmap"),
                    FunctionDescriptor.of(
                            ValueLayout.JAVA_LONG,
                            ValueLayout.JAVA_LONG,
                            ValueLayout.JAVA_LONG,
                            ValueLayout.JAVA_INT,
                            ValueLayout.JAVA_INT,
                            ValueLayout.JAVA_INT,
                            ValueLayout.JAVA_LONG));
            munmap = linker.downcallHandle(
                    linker.defaultLookup().findOrThrow("munmap"),
                    FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG));
            madvise = linker.downcallHandle(
                    linker.defaultLookup().findOrThrow("madvise"),
                    FunctionDescriptor.of(
                            ValueLayout.JAVA_INT, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG, ValueLayout.JAVA_INT));
        }

        private static @Nullable Mapper create() {
            if (!System.getProperty("os.name").equals("Linux")) {
                return null;
            }
            try {
                return new Mapper();
            } catch (RuntimeException e) {
                log.warn("Huge pages are not used for CPU buffers, which costs bandwidth: {}", e.toString());
                return null;
            }
        }

        NativeMemory map(long bytes, String purpose) {
            try {
                long size = Math.addExact(bytes, 2 * HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
                long mapped = (long) mmap.invokeExact(0L, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0L);
                if (mapped == -1) {
                    throw new OutOfMemoryError("mmap of " + size + " bytes failed");
                }
                long aligned = Math.ceilDiv(mapped, HUGE_PAGE) * HUGE_PAGE;
                int advised = (int) madvise.invokeExact(aligned, mapped + size - aligned, MADV_HUGEPAGE);
                if (advised != 0) {
                    log.debug("madvise(MADV_HUGEPAGE) refused for {}", purpose);
                }
                return new NativeMemory(aligned, null, mapped, size);
            } catch (OutOfMemoryError | ArithmeticException e) {
                throw refused(bytes, purpose, e);
            } catch (Throwable e) {
                throw new IllegalStateException("calling mmap failed", e);
            }
        }

        void unmap(long address, long bytes) {
            try {
                int result = (int) munmap.invokeExact(address, bytes);
                if (result != 0) {
                    throw new IllegalStateException("munmap of " + bytes + " bytes failed");
                }
            } catch (RuntimeException e) {
                throw e;
            } catch (Throwable e) {
                throw new IllegalStateException("calling munmap failed", e);
            }
        }
    }
}
