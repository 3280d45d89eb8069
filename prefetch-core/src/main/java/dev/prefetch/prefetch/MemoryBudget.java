package dev.prefetch.prefetch;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.stream.Stream;

/**
 * What memory this process may still use: the machine's available memory, or what its control groups leave, whichever is
 * less.
 *
 * @param availableBytes memory that can still be used
 * @param source where the figure comes from, in words
 * @see <a href="https://docs.kernel.org/admin-guide/cgroup-v2.html">Control groups, version 2</a>
 */
public record MemoryBudget(long availableBytes, String source) {

    /** Kept free of what is available, as a share. */
    public static final double RESERVE_SHARE = 0.1;

    /** Kept free of what is available, at least. */
    public static final long MIN_RESERVE_BYTES = 256L << 20;

    /** What the machine, or the container, really has free now. */
    public static MemoryBudget discover() {
        return discover(Path.of("/"));
    }

    /** The same for a file system rooted elsewhere. */
    static MemoryBudget discover(Path root) {
        List<MemoryBudget> limits = new ArrayList<>();
        machine(root).ifPresent(limits::add);
        limits.addAll(controlGroups(root));
        return limits.stream()
                .min((a, b) -> Long.compare(a.availableBytes, b.availableBytes))
                .orElseGet(MemoryBudget::byManagementBean);
    }

    private static MemoryBudget byManagementBean() {
        var system = java.lang.management.ManagementFactory.getOperatingSystemMXBean();
        long free = system instanceof com.sun.management.OperatingSystemMXBean bean ? bean.getFreeMemorySize() : 0;
        return new MemoryBudget(free, "the operating system's free memory");
    }

    /** What an engine takes by default: what is available without a reserve for everything else. */
    public long defaultEngineBytes() {
        return Math.max(0, availableBytes - Math.max(MIN_RESERVE_BYTES, (long) (RESERVE_SHARE * availableBytes)));
    }

    private static Optional<MemoryBudget> machine(Path root) {
        try (Stream<String> lines = Files.lines(root.resolve("proc/meminfo"))) {
            return lines.filter(line -> line.startsWith("MemAvailable:"))
                    .map(line -> line.replaceAll("\\D", ""))
                    .map(kib -> new MemoryBudget(Long.parseLong(kib) << 10, "the machine's available memory"))
                    .findFirst();
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    /** The limits of this process's groups and of the groups around them. */
    private static List<MemoryBudget> controlGroups(Path root) {
        List<MemoryBudget> limits = new ArrayList<>();
        for (String line : lines(root.resolve("proc/self/cgroup"))) {
            String[] parts = line.split(":", 3);
            if (parts.length < 3) {
                continue;
            }
            if (parts[0].equals("0") && parts[1].isEmpty()) {
                Path mount = root.resolve("sys/fs/cgroup");
                walkUp(mount, parts[2], limits, "memory.max", "memory.current", "inactive_file");
            } else if (List.of(parts[1].split(",")).contains("memory")) {
                Path mount = root.resolve("sys/fs/cgroup/memory");
                walkUp(
                        mount,
                        parts[2],
                        limits,
                        "memory.limit_in_bytes",
                        "memory.usage_in_bytes",
                        "total_inactive_file");
            }
        }
        return limits;
    }

    private static void walkUp(
            Path mount,
            String group,
            List<MemoryBudget> limits,
            String limitFile,
            String usageFile,
            String reclaimable) {
        Path directory =
                mount.resolve(group.substring(group.startsWith("/") ? 1 : 0)).normalize();
        // Inside a container the path may be the one outside of it; the mount is then the group itself.
        if (!directory.startsWith(mount) || !Files.isDirectory(directory)) {
            directory = mount;
        }
        for (Path at = directory; at != null && at.startsWith(mount); at = at.getParent()) {
            OptionalLong limit = number(at.resolve(limitFile));
            OptionalLong usage = number(at.resolve(usageFile));
            if (limit.isPresent() && usage.isPresent()) {
                long left = limit.getAsLong() - usage.getAsLong() + statistic(at.resolve("memory.stat"), reclaimable);
                limits.add(new MemoryBudget(
                        Math.clamp(left, 0, limit.getAsLong()),
                        "the memory limit of control group " + at + ", " + (limit.getAsLong() >> 20) + " MiB"));
            }
        }
    }

    /** Version 1 writes a huge number for no limit, version 2 the word {@code max}, which is no number. */
    private static OptionalLong number(Path file) {
        return lines(file).stream()
                .map(String::strip)
                .filter(text -> text.matches("\\d{1,18}"))
                .mapToLong(Long::parseLong)
                .findFirst();
    }

    private static long statistic(Path file, String name) {
        return lines(file).stream()
                .filter(line -> line.startsWith(name + " "))
                .map(line -> line.substring(name.length() + 1).strip())
                .filter(text -> text.matches("\\d{1,18}"))
                .mapToLong(Long::parseLong)
                .findFirst()
                .orElse(0);
    }

    private static List<String> lines(Path file) {
        try {
            return Files.readAllLines(file);
        } catch (IOException e) {
            return List.of();
        }
    }
}
