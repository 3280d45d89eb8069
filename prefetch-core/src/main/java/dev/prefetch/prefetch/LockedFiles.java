package dev.prefetch.prefetch;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.HostMemory;
import dev.prefetch.gguf.GgufPart;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The mapped files of a model, page-locked in place window by window where the system allows it. A copy must not cross the
 * bounds of a window, so what does is not found here and takes the way through staging.
 */
final class LockedFiles implements AutoCloseable {

    /** Nothing is locked. */
    static final LockedFiles NONE = new LockedFiles(List.of());

    /** Bytes locked by one call: large, for the few chunks that cross a bound, and yet small enough to get some. */
    private static final long WINDOW_BYTES = 1L << 30;

    private static final long PAGE_BYTES = 4096;

    private static final Logger LOG = LoggerFactory.getLogger(LockedFiles.class);

    private final List<Window> windows;

    private LockedFiles(List<Window> windows) {
        this.windows = windows;
    }

    /** Locks as much as the system allows, from the front. */
    static LockedFiles lock(Device device, List<GgufPart> parts) {
        List<Window> windows = new ArrayList<>();
        for (GgufPart part : parts) {
            // Part of the last page lies behind the end of the file; whole pages are mapped all the same.
            long wholePages = part.byteSize() / PAGE_BYTES * PAGE_BYTES;
            for (long from = 0; from < wholePages; from += WINDOW_BYTES) {
                MemorySegment window = part.mapping().asSlice(from, Math.min(WINDOW_BYTES, wholePages - from));
                Optional<HostMemory> locked = device.pageLock(window);
                if (locked.isEmpty()) {
                    LOG.info(
                            "{} of the mapped file page-locked in place; the rest passes through staging buffers",
                            windows.isEmpty() ? "Nothing" : windows.size() + " GiB");
                    return new LockedFiles(windows);
                }
                windows.add(new Window(part.start() + from, locked.get()));
            }
        }
        return new LockedFiles(windows);
    }

    boolean isEmpty() {
        return windows.isEmpty();
    }

    /** The bytes at one of the model's offsets, if they lie in one window; null otherwise. */
    @Nullable
    MemorySegment find(long offset, long length) {
        for (Window window : windows) {
            long from = offset - window.start;
            if (from >= 0 && from + length <= window.memory.memory().byteSize()) {
                return window.memory.memory().asSlice(from, length);
            }
        }
        return null;
    }

    /** Unlocks. No copy may be in progress. */
    @Override
    public void close() {
        windows.forEach(window -> window.memory.close());
    }

    private record Window(long start, HostMemory memory) {}
}
