package dev.prefetch.prefetch;

/** Lets threads through in the order of their numbers: 0, 1, 2 and so on, each of which must {@link #pass} once. */
final class Turnstile {

    private long next;

    /** Waits until all smaller numbers have passed. */
    synchronized void await(long turn) {
        boolean interrupted = false;
        while (next != turn) {
            try {
                wait();
            } catch (InterruptedException e) {
                // Those before need no help of this thread, so it comes to its turn.
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /** Waits for its turn, and lets the next through. */
    synchronized void pass(long turn) {
        await(turn);
        next = turn + 1;
        notifyAll();
    }
}
