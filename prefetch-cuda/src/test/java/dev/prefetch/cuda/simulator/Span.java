package dev.prefetch.cuda.simulator;

/**
 * A stretch of the timeline: a copy over the link, or a kernel.
 *
 * @param engine       what was busy
 * @param stream       the stream's number
 * @param beginNanos   on the clock of the settings; only differences mean something
 * @param endNanos     likewise
 * @param bytes        bytes copied, 0 for a kernel
 * @param description  the operation
 */
public record Span(Engine engine, int stream, long beginNanos, long endNanos, long bytes, String description) {

    /** The parts of a device that work side by side; in the order of the driver's numbers. */
    public enum Engine {
        HOST_TO_DEVICE,
        DEVICE_TO_HOST,
        COMPUTE
    }

    static Span parse(String line) {
        String[] parts = line.split(" ", 6);
        return new Span(
                Engine.values()[Integer.parseInt(parts[0])],
                Integer.parseInt(parts[1]),
                Long.parseLong(parts[2]),
                Long.parseLong(parts[3]),
                Long.parseLong(parts[4]),
                parts[5]);
    }

    public long nanos() {
        return endNanos - beginNanos;
    }
}
