package dev.prefetch.prefetch;

import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.HostMemory;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.prefetch.LinkReport.Rate;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Measures the link from the host's memory to a device's, by the device's clock; a tenth of a second on a usual one. */
public final class LinkProbe {

    private static final long[] COPY_BYTES = {256L << 10, 1L << 20, 4L << 20, 8L << 20, 16L << 20};

    private static final long[] PAGEABLE_COPY_BYTES = {1L << 20, 8L << 20};

    /** Bytes that are copied for a rate. */
    private static final long BYTES = 16L << 20;

    private static final int TRIES = 2;

    private static final Logger LOG = LoggerFactory.getLogger(LinkProbe.class);

    private LinkProbe() {}

    /**
     * Measures. Takes as much memory of the device and of the host as one of the largest copies, for the time being.
     *
     * @param device has memory of its own
     * @throws dev.prefetch.backend.OutOfDeviceMemoryException when there is no memory for even the smallest copy
     */
    public static LinkReport measure(Device device) {
        long most = device.availableBytes().orElse(Long.MAX_VALUE) / 2;
        for (int i = COPY_BYTES.length - 1; i > 0; i--) {
            if (COPY_BYTES[i] <= most) {
                try {
                    return measure(device, COPY_BYTES[i]);
                } catch (OutOfDeviceMemoryException e) {
                    LOG.debug("No memory to measure copies of {} bytes", COPY_BYTES[i], e);
                }
            }
        }
        return measure(device, COPY_BYTES[0]);
    }

    private static LinkReport measure(Device device, long largest) {
        try (DeviceBuffer target = device.allocate(largest, "measuring the link");
                HostMemory locked = device.allocateHost(largest, "measuring the link");
                Arena arena = Arena.ofShared();
                CopyStream stream = device.openCopyStream()) {
            LinkReport report = new LinkReport(
                    rates(stream, locked.memory(), target, COPY_BYTES),
                    rates(stream, arena.allocate(largest, 64), target, PAGEABLE_COPY_BYTES));
            LOG.info("Link to the device: {}", report.describe());
            return report;
        }
    }

    private static List<Rate> rates(CopyStream stream, MemorySegment source, DeviceBuffer target, long[] sizes) {
        // What is touched first is slower.
        stream.copy(source, target, 0);
        List<Rate> rates = new ArrayList<>();
        for (long bytes : sizes) {
            if (bytes <= source.byteSize()) {
                rates.add(new Rate(bytes, best(stream, source.asSlice(0, bytes), target)));
            }
        }
        return rates;
    }

    private static double best(CopyStream stream, MemorySegment source, DeviceBuffer target) {
        long copies = Math.max(1, BYTES / source.byteSize());
        double best = 0;
        for (int i = 0; i < TRIES; i++) {
            Event begun = stream.recordTimed();
            for (long copy = 0; copy < copies; copy++) {
                stream.copy(source, target, 0);
            }
            Event ended = stream.recordTimed();
            ended.await();
            long nanos = Math.max(1, ended.timeNanos() - begun.timeNanos());
            best = Math.max(best, copies * source.byteSize() * 1e9 / nanos);
        }
        return best;
    }
}
