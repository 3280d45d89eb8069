package dev.prefetch.backend.cpu;

import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.Threads;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Copies on a thread of its own.
 *
 * <p>How it works: callers append commands to a queue, the thread takes them in order. A failed copy does not stop the
 * thread: it is remembered and handed to the next recorded event, so that whoever waits for the data learns that it is not
 * there; copies after that event start afresh.
 */
final class CpuCopyStream implements CopyStream {

    private static final Runnable STOP = () -> {};

    private final BlockingQueue<Runnable> commands = new LinkedBlockingQueue<>();
    private final Thread thread;
    private final Consumer<CpuCopyStream> onClose;
    /** Written and read by the copy thread only. */
    private @Nullable Throwable failure;
    /** Guarded by this. */
    private boolean closed;

    CpuCopyStream(String threadName, Consumer<CpuCopyStream> onClose) {
        this.onClose = onClose;
        this.thread = Thread.ofPlatform().daemon().name(threadName).start(this::runCommands);
    }

    private void runCommands() {
        try {
            for (Runnable command = commands.take(); command != STOP; command = commands.take()) {
                run(command);
            }
        } catch (InterruptedException e) {
            // Nobody but the owner knows this thread, and the owner stops it with STOP.
            throw new IllegalStateException("copy thread was interrupted", e);
        }
    }

    private void run(Runnable command) {
        try {
            command.run();
        } catch (RuntimeException | Error e) {
            if (failure == null) {
                failure = e;
            }
        }
    }

    @Override
    public void copy(MemorySegment source, DeviceBuffer target, long targetOffset) {
        if (!(target instanceof CpuBuffer buffer)) {
            throw new IllegalArgumentException("target is not a buffer of the CPU device: " + target);
        }
        buffer.writable(targetOffset, source.byteSize());
        enqueue(() -> buffer.upload(source, targetOffset));
    }

    @Override
    public Event record() {
        CpuEvent event = new CpuEvent();
        enqueue(() -> {
            Throwable cause = failure;
            failure = null;
            event.complete(cause);
        });
        return event;
    }

    @Override
    public void await(Event event) {
        enqueue(event::await);
    }

    private synchronized void enqueue(Runnable command) {
        if (closed) {
            throw new IllegalStateException("copy stream is closed");
        }
        commands.add(command);
    }

    @Override
    public void close() {
        synchronized (this) {
            if (closed) {
                return;
            }
            closed = true;
            commands.add(STOP);
        }
        Threads.joinUninterruptibly(List.of(thread));
        onClose.accept(this);
    }
}
