package dev.prefetch.backend.cpu;

import dev.prefetch.backend.Event;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;

/** An event that a copy stream completes, normally or with the failure of a copy before it. */
final class CpuEvent implements Event {

    /** An event whose point was reached before it was recorded. */
    static final Event COMPLETE = new Event() {
        @Override
        public boolean isComplete() {
            return true;
        }

        @Override
        public void await() {}
    };

    private final CountDownLatch reached = new CountDownLatch(1);
    private volatile @Nullable Throwable failure;

    void complete(@Nullable Throwable cause) {
        failure = cause;
        reached.countDown();
    }

    @Override
    public boolean isComplete() {
        return reached.getCount() == 0;
    }

    /**
     * {@inheritDoc}
     *
     * @throws IllegalStateException when a copy before this point failed; the data is not there
     */
    @Override
    public void await() {
        boolean interrupted = false;
        while (true) {
            try {
                reached.await();
                break;
            } catch (InterruptedException e) {
                // The point must be reached before memory is reused; the interrupt is handed on afterwards.
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        Throwable cause = failure;
        if (cause != null) {
            throw new IllegalStateException("a copy before this event failed: " + cause, cause);
        }
    }

    /** An event that is complete when all of the given ones are. */
    static Event all(List<Event> events) {
        List<Event> all = List.copyOf(events);
        return new Event() {
            @Override
            public boolean isComplete() {
                return all.stream().allMatch(Event::isComplete);
            }

            @Override
            public void await() {
                all.forEach(Event::await);
            }
        };
    }
}
