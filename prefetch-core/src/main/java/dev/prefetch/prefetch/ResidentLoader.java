package dev.prefetch.prefetch;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** Reads the resident blocks into their own memory, once, before the first sweep. */
final class ResidentLoader implements Transfer.Owner {

    /** Before everything that streams. */
    static final long DEADLINE = Long.MIN_VALUE;

    private final TransferQueue queue;
    private final LoadListener listener;
    private final long totalBytes;
    private int outstanding;
    private long doneBytes;
    private @Nullable Throwable failure;

    private ResidentLoader(TransferQueue queue, LoadListener listener, long totalBytes) {
        this.queue = queue;
        this.listener = listener;
        this.totalBytes = totalBytes;
    }

    /**
     * @param layouts blocks to read
     * @param memory where each goes
     * @throws WeightUnavailableException when a block cannot be read
     */
    static void load(TransferQueue queue, List<BlockLayout> layouts, List<WeightMemory> memory, LoadListener listener) {
        long total = layouts.stream().mapToLong(BlockLayout::byteSize).sum();
        ResidentLoader loader = new ResidentLoader(queue, listener, total);
        listener.progress(0, total);
        queue.lock().lock();
        try {
            for (int i = 0; i < layouts.size(); i++) {
                loader.outstanding++;
                queue.submit(new Transfer(layouts.get(i), memory.get(i), DEADLINE, loader, null));
            }
        } finally {
            queue.lock().unlock();
        }
        loader.await();
    }

    private void await() {
        long reported = 0;
        Throwable cause = null;
        while (true) {
            long done;
            boolean over;
            queue.lock().lock();
            try {
                while (outstanding > 0 && doneBytes == reported && failure == null) {
                    queue.changed().awaitUninterruptibly();
                }
                done = doneBytes;
                // After a failure the rest is not waited for: closing gives it up.
                over = outstanding == 0 || failure != null;
                cause = failure;
            } finally {
                queue.lock().unlock();
            }
            // The listener is foreign code: it is called without the lock.
            if (done != reported) {
                reported = done;
                listener.progress(done, totalBytes);
            }
            if (over) {
                break;
            }
        }
        if (cause != null) {
            throw new WeightUnavailableException("Resident weights could not be loaded: " + cause.getMessage(), cause);
        }
    }

    @Override
    public void filled(Transfer transfer) {
        outstanding--;
        doneBytes += transfer.layout.byteSize();
    }

    @Override
    public void failed(Transfer transfer, Throwable cause) {
        outstanding--;
        if (failure == null) {
            failure = cause;
        }
    }

    @Override
    public void dropped(Transfer transfer) {
        outstanding--;
        if (failure == null) {
            failure = new IllegalStateException("closed while loading");
        }
    }
}
