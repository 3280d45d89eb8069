package dev.prefetch.cuda;

import dev.prefetch.backend.DeviceFailedException;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Queue;
import jcuda.driver.CUevent;
import jcuda.driver.CUevent_flags;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The events of one stream, used again and again.
 *
 * <p>How it works: nobody closes a {@link CudaEvent}, and nobody needs to. An event that is complete stays so; once that is
 * known its driver event is not looked at any more and may be recorded anew for somebody else. A stream completes in order,
 * so the driver events wait in a queue and only the first is asked: complete, it is taken from its old {@code CudaEvent}
 * (whose time, if it has one, is read before) and reused; otherwise one more is created. There are never more than were
 * under way at once. The pool's lock is taken before an event's, never after.
 */
final class EventPool {

    private static final Logger log = LoggerFactory.getLogger(EventPool.class);

    private final CudaContext context;
    private final CUstream stream;
    private final EventClock clock;
    private final Queue<Handle> plain = new ArrayDeque<>();
    private final Queue<Handle> timed = new ArrayDeque<>();

    EventPool(CudaContext context, CUstream stream, EventClock clock) {
        this.context = context;
        this.stream = stream;
        this.clock = clock;
    }

    /** Records an event behind everything issued on the stream so far. */
    synchronized CudaEvent record(boolean withTime) {
        context.makeCurrent();
        Queue<Handle> queue = withTime ? timed : plain;
        Handle handle = queue.peek();
        if (handle != null && handle.isComplete()) {
            handle.giveUp();
            queue.remove();
        } else {
            handle = new Handle(withTime);
        }
        EventClock.@Nullable Epoch epoch = withTime ? clock.acquire() : null;
        CudaEvent event = new CudaEvent(context, clock, handle.event, epoch);
        handle.holder = event;
        queue.add(handle);
        context.check(JCudaDriver.cuEventRecord(handle.event, stream), "cuEventRecord");
        return event;
    }

    /** Destroys the driver's events. Everything on the stream has finished, or the device has failed. */
    synchronized void close() {
        for (Queue<Handle> queue : List.of(plain, timed)) {
            for (Handle handle : queue) {
                try {
                    handle.giveUp();
                } catch (DeviceFailedException e) {
                    log.debug("The time of an event is lost with its device", e);
                }
                context.release(JCudaDriver.cuEventDestroy(handle.event), "cuEventDestroy");
            }
            queue.clear();
        }
    }

    /** An event of the driver and who it stands for. */
    private final class Handle {

        private final CUevent event = new CUevent();
        private @Nullable CudaEvent holder;

        Handle(boolean withTime) {
            int flags = withTime ? CUevent_flags.CU_EVENT_DEFAULT : CUevent_flags.CU_EVENT_DISABLE_TIMING;
            context.check(JCudaDriver.cuEventCreate(event, flags), "cuEventCreate");
        }

        boolean isComplete() {
            int result = JCudaDriver.cuEventQuery(event);
            if (result == CUresult.CUDA_ERROR_NOT_READY) {
                return false;
            }
            context.check(result, "cuEventQuery");
            return true;
        }

        /** Takes the driver's event, which is complete, from its holder. */
        void giveUp() {
            CudaEvent before = holder;
            holder = null;
            if (before != null) {
                before.completed();
            }
        }
    }
}
