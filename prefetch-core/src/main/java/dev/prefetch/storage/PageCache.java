package dev.prefetch.storage;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;
import java.util.Locale;

/**
 * Asks the kernel to drop a file's pages after they were read, through {@code posix_fadvise(2)}. The advice works on the
 * file, not on the descriptor, so a descriptor of our own serves for reads done through another.
 */
final class PageCache implements AutoCloseable {

    private static final int O_RDONLY = 0;
    private static final int O_CLOEXEC = 0x80000;
    private static final int POSIX_FADV_DONTNEED = 4;

    private final Functions functions;
    private final int descriptor;

    private PageCache(Functions functions, int descriptor) {
        this.functions = functions;
        this.descriptor = descriptor;
    }

    /**
     * @throws UnsupportedOperationException with the reason, when this system or its configuration does not allow it
     */
    static PageCache open(Path file) {
        String system = System.getProperty("os.name", "");
        if (!system.toLowerCase(Locale.ROOT).contains("linux")) {
            throw new UnsupportedOperationException("posix_fadvise is used on Linux only, and this is " + system);
        }
        Functions functions = Functions.link();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment path = arena.allocateFrom(file.toString());
            int descriptor = (int) functions.open().invokeExact(path, O_RDONLY | O_CLOEXEC);
            if (descriptor < 0) {
                throw new UnsupportedOperationException("open(2) of " + file + " failed");
            }
            return new PageCache(functions, descriptor);
        } catch (RuntimeException e) {
            throw e;
        } catch (Throwable e) {
            throw new UnsupportedOperationException("open(2) of " + file + " failed: " + e, e);
        }
    }

    /** Drops the clean pages of a range. Advice only: whether the kernel follows it is not reported. */
    void drop(long offset, long length) {
        try {
            int ignored = (int) functions.fadvise().invokeExact(descriptor, offset, length, POSIX_FADV_DONTNEED);
        } catch (Throwable e) {
            throw new IllegalStateException("posix_fadvise could not be called", e);
        }
    }

    @Override
    public void close() {
        try {
            int ignored = (int) functions.close().invokeExact(descriptor);
        } catch (Throwable e) {
            throw new IllegalStateException("close(2) could not be called", e);
        }
    }

    private record Functions(MethodHandle open, MethodHandle fadvise, MethodHandle close) {

        @SuppressWarnings("restricted")
        static Functions link() {
            try {
                Linker linker = Linker.nativeLinker();
                return new Functions(
                        linker.downcallHandle(
                                linker.defaultLookup().findOrThrow("open"),
                                FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.JAVA_INT),
                                Linker.Option.firstVariadicArg(2)),
                        linker.downcallHandle(
                                linker.defaultLookup().findOrThrow("posix_fadvise"),
                                FunctionDescriptor.of(
                                        ValueLayout.JAVA_INT,
                                        ValueLayout.JAVA_INT,
                                        ValueLayout.JAVA_LONG,
                                        ValueLayout.JAVA_LONG,
                                        ValueLayout.JAVA_INT)),
                        linker.downcallHandle(
                                linker.defaultLookup().findOrThrow("close"),
                                FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.JAVA_INT)));
            } catch (IllegalCallerException e) {
                throw new UnsupportedOperationException(
                        "native access is not enabled (start Java with --enable-native-access=ALL-UNNAMED)", e);
            } catch (RuntimeException e) {
                throw new UnsupportedOperationException("posix_fadvise cannot be linked: " + e.getMessage(), e);
            }
        }
    }
}
