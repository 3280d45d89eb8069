package dev.prefetch.inference;

import dev.prefetch.backend.DeviceFailedException;
import org.jspecify.annotations.Nullable;

/**
 * Where a {@link BatchLoop} goes on when its device fails, and when it comes back. Everything a sequence has in a device's
 * memory can be computed again from its tokens, so none is lost. Called by the compute thread.
 */
public interface Failover {

    /** There is nowhere to go: what a failed device was computing fails. */
    Failover NONE = new Failover() {
        @Override
        public @Nullable Workplace after(DeviceFailedException failure) {
            return null;
        }

        @Override
        public @Nullable Workplace recovered() {
            return null;
        }
    };

    /**
     * Where to go on after a failure. What the loop had of the failed workplace has been given back.
     *
     * @return null when there is nowhere
     */
    @Nullable
    Workplace after(DeviceFailedException failure);

    /** The place to come back to, once it is there; asked between sweeps, so it must not wait. */
    @Nullable
    Workplace recovered();

    /** The loop has come back and uses the place it was at no more. */
    default void left() {}
}
