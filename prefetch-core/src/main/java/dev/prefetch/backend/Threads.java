package dev.prefetch.backend;

import java.util.List;

/** Waits for threads that must have ended before their memory goes. */
public final class Threads {

    private Threads() {}

    /** Waits until the threads have ended; an interrupt meanwhile is handed on afterwards. */
    public static void joinUninterruptibly(List<Thread> threads) {
        boolean interrupted = false;
        for (Thread thread : threads) {
            while (thread.isAlive()) {
                try {
                    thread.join();
                } catch (InterruptedException e) {
                    interrupted = true;
                }
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
