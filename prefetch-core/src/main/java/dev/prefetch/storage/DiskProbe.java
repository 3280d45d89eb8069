package dev.prefetch.storage;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;

/** Measures how fast a file can be read, in the way weights are read: the roof that streaming is compared with. */
public final class DiskProbe {

    private DiskProbe() {}

    /**
     * Reads a run of the file and measures.
     *
     * @param reader the file
     * @param threads reads in progress at a time
     * @param chunkBytes bytes per read, a multiple of the reader's alignment
     * @param offset where to start; rounded down to a whole chunk
     * @param bytes how much to read; less when the file ends before
     * @return bytes per second
     * @throws StorageException when reading fails
     * @throws IllegalArgumentException when there is not one whole chunk to read
     */
    public static double bytesPerSecond(BlockReader reader, int threads, int chunkBytes, long offset, long bytes) {
        long start = offset - offset % chunkBytes;
        long chunks = Math.min(bytes, reader.fileSize() - start) / chunkBytes;
        if (chunks < 1) {
            throw new IllegalArgumentException(
                    "no chunk of " + chunkBytes + " bytes lies behind offset " + start + " of the file");
        }
        AtomicLong next = new AtomicLong();
        try (ExecutorService pool = Executors.newFixedThreadPool(threads);
                Arena arena = Arena.ofShared()) {
            List<Callable<Void>> work = new ArrayList<>();
            for (int i = 0; i < threads; i++) {
                MemorySegment target = arena.allocate(chunkBytes, Math.max(reader.alignment(), 4096));
                work.add(() -> {
                    long chunk;
                    while ((chunk = next.getAndIncrement()) < chunks) {
                        reader.read(start + chunk * chunkBytes, target);
                    }
                    return null;
                });
            }
            long begun = System.nanoTime();
            for (Future<Void> done : pool.invokeAll(work)) {
                done.get();
            }
            return chunks * (double) chunkBytes * 1e9 / (System.nanoTime() - begun);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while measuring the disk", e);
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException failure) {
                throw failure;
            }
            throw new IllegalStateException(e.getCause());
        }
    }
}
