package dev.prefetch.backend.cpu;

import dev.prefetch.backend.ComputeStream;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.Ops;
import java.util.ArrayList;
import java.util.List;

/**
 * Runs each operation at once, on the calling thread and the worker pool. Events to wait for are kept until the next
 * operation starts, so that {@link #await} itself does not block.
 */
final class CpuComputeStream implements ComputeStream {

    private final CpuOps ops;
    private final List<Event> pending = new ArrayList<>();

    CpuComputeStream(Kernels kernels, WorkerPool pool) {
        this.ops = new CpuOps(kernels, pool, this::synchronize);
    }

    @Override
    public Ops ops() {
        return ops;
    }

    @Override
    public Event record() {
        return pending.isEmpty() ? CpuEvent.COMPLETE : CpuEvent.all(pending);
    }

    @Override
    public void await(Event event) {
        // Kept even when complete: only await() tells whether the copies before it succeeded.
        pending.add(event);
    }

    @Override
    public void synchronize() {
        if (pending.isEmpty()) {
            return;
        }
        try {
            for (Event event : pending) {
                event.await();
            }
        } finally {
            pending.clear();
        }
    }

    void close() {
        ops.close();
    }
}
