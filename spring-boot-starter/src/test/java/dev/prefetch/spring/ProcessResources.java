package dev.prefetch.spring;

import com.sun.management.UnixOperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.MemoryUsage;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Stream;
import org.awaitility.Awaitility;

/**
 * What this process holds at a moment, as the operating system says; for tests that nothing is lost. Linux only.
 *
 * @param heapBytes live heap, after a collection
 * @param anonymousBytes resident memory that is no file: heap, native memory, stacks
 * @param nativeBytes of it, what is not the heap's, which the collector makes larger and smaller as it likes
 * @param mappings mapped regions of files whose name contains a given text
 * @param files open files and sockets
 * @param threads live threads
 */
public record ProcessResources(
        long heapBytes, long anonymousBytes, long nativeBytes, long mappings, long files, int threads) {

    /** Whether there is a {@code /proc} to ask. */
    public static boolean isSupported() {
        return Files.isReadable(Path.of("/proc/self/maps"));
    }

    /** What is held now; mappings are those of files whose path ends like this. */
    public static ProcessResources now(String mappedSuffix) throws IOException {
        System.gc();
        System.gc();
        MemoryUsage heap = ManagementFactory.getMemoryMXBean().getHeapMemoryUsage();
        long mappings;
        try (Stream<String> lines = Files.lines(Path.of("/proc/self/maps"))) {
            mappings = lines.filter(line -> line.endsWith(mappedSuffix)).count();
        }
        long anonymous = settledAnonymousBytes();
        long files = ManagementFactory.getPlatformMXBean(UnixOperatingSystemMXBean.class)
                .getOpenFileDescriptorCount();
        return new ProcessResources(
                heap.getUsed(), anonymous, anonymous - heap.getCommitted(), mappings, files, Thread.activeCount());
    }

    /** After a collection the heap gives memory back to the system in the background, which takes a few tenths of a second. */
    private static long settledAnonymousBytes() {
        AtomicLong last = new AtomicLong(Long.MAX_VALUE);
        Awaitility.await().pollInterval(Duration.ofMillis(250)).until(() -> {
            long now = anonymousBytesNow();
            return last.getAndSet(now) - now < 1 << 20;
        });
        return last.get();
    }

    private static long anonymousBytesNow() throws IOException {
        return Files.readAllLines(Path.of("/proc/self/status")).stream()
                .filter(line -> line.startsWith("RssAnon:"))
                .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")) * 1024)
                .sum();
    }

    @Override
    public String toString() {
        return "heap %.1f MiB, anonymous %.1f MiB, of it native %.1f MiB, %d mappings, %d files, %d threads"
                .formatted(
                        heapBytes / 1048576.0,
                        anonymousBytes / 1048576.0,
                        nativeBytes / 1048576.0,
                        mappings,
                        files,
                        threads);
    }
}
