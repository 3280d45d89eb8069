package dev.prefetch.prefetch;

import dev.prefetch.storage.BlockReader;
import dev.prefetch.storage.StorageException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.LongPredicate;

/** A disk that can be paused and broken. Its file holds {@link TestModel#contentAt}. */
final class TestReader implements BlockReader {

    static final Path FILE = Path.of("made-up.gguf");

    private static final int UNPAUSED = 1 << 20;

    final List<Long> offsets = new CopyOnWriteArrayList<>();
    final AtomicInteger reading = new AtomicInteger();
    final Semaphore permits = new Semaphore(UNPAUSED);
    volatile LongPredicate broken = offset -> false;
    volatile Runnable before = () -> {};
    volatile boolean closed;
    private final long size;

    TestReader(long size) {
        this.size = size;
    }

    @Override
    public int alignment() {
        return TestModel.ALIGNMENT;
    }

    @Override
    public long fileSize() {
        return size;
    }

    @Override
    public String description() {
        return "from nowhere";
    }

    /** From now on reads wait for {@link #let}. */
    void pause() {
        permits.drainPermits();
    }

    void let(int reads) {
        permits.release(reads);
    }

    void resume() {
        permits.release(UNPAUSED);
    }

    @Override
    public void read(long offset, MemorySegment target) {
        offsets.add(offset);
        reading.incrementAndGet();
        try {
            permits.acquireUninterruptibly();
            before.run();
            if (closed) {
                throw new StorageException(FILE, offset, "the reader is closed", null);
            }
            if (broken.test(offset)) {
                throw new StorageException(FILE, offset, "the disk is broken", null);
            }
            TestModel.fillFromFile(offset, target);
        } finally {
            reading.decrementAndGet();
        }
    }

    @Override
    public void close() {
        closed = true;
    }
}
