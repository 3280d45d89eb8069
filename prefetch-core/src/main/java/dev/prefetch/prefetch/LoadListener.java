package dev.prefetch.prefetch;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Hears how far the loading of resident weights is. Called by the thread that opens the weights. */
@FunctionalInterface
public interface LoadListener {

    /**
     * @param doneBytes bytes in memory so far; first 0, last {@code totalBytes}
     * @param totalBytes bytes to load
     */
    void progress(long doneBytes, long totalBytes);

    /** A listener that logs a line at every tenth of the way. */
    static LoadListener logging() {
        Logger log = LoggerFactory.getLogger(LoadListener.class);
        long start = System.nanoTime();
        return new LoadListener() {
            private int tenths;

            @Override
            public void progress(long doneBytes, long totalBytes) {
                if (totalBytes == 0) {
                    return;
                }
                int now = (int) (10 * doneBytes / totalBytes);
                if (now > tenths) {
                    tenths = now;
                    double seconds = (System.nanoTime() - start) / 1e9;
                    log.info(
                            "Loading resident weights: {} % of {} MiB, {} MB/s",
                            10 * now, totalBytes >> 20, Math.round(doneBytes / 1e6 / seconds));
                }
            }
        };
    }
}
