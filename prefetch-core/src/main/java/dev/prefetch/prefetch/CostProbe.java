package dev.prefetch.prefetch;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Devices;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Tier;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.storage.BlockReader;
import dev.prefetch.storage.DiskProbe;
import dev.prefetch.storage.Extent;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Measures what a {@link CostModel} says, on this machine and with this model: how fast its file is read, and how fast
 * one of its own matrices is multiplied with one token and with many. Takes two to five seconds, most of it until the Java
 * compiler is done with the kernels (which the first request then need not wait for), and {@link #MEMORY_BYTES} of memory
 * that is given back.
 */
public final class CostProbe {

    /** Weights the probe multiplies: more than a processor's caches usually hold. */
    static final long MEMORY_BYTES = 64L << 20;

    private static final long DISK_BYTES = 256L << 20;

    private static final int MANY_TOKENS = 64;

    private static final long MANY_TOKENS_BYTES = 8L << 20;

    /** Matrices are made of multiples of so many rows. */
    private static final long PACKED_ROWS = 64;

    /** Measuring ends when nothing faster was seen for so long: until then the compiler may still be at work. */
    private static final long PATIENCE_NANOS = 700_000_000;

    private static final long MOST_NANOS = 4_000_000_000L;

    /** What counts as faster, as a share of the best time so far. */
    private static final double FASTER = 0.97;

    private static final Logger LOG = LoggerFactory.getLogger(CostProbe.class);

    private final Device device;
    private final BlockReader reader;

    /** Whether weights will be packed where they are computed. */
    private final boolean packs;

    private CostProbe(Device device, BlockReader reader, boolean packs) {
        this.device = device;
        this.reader = reader;
        this.packs = packs;
    }

    /**
     * Measures.
     *
     * @param blocks the model
     * @param device what computes; nobody else may use its compute stream meanwhile
     * @param reader reads the model's file
     * @param options how weights will be read
     * @throws dev.prefetch.storage.StorageException when the file cannot be read
     */
    public static CostModel measure(
            List<WeightBlock> blocks, Device device, BlockReader reader, StreamingOptions options) {
        return measure(blocks, device, reader, options, true);
    }

    private static CostModel measure(
            List<WeightBlock> blocks, Device device, BlockReader reader, StreamingOptions options, boolean packs) {
        CostProbe probe = new CostProbe(device, reader, packs);
        double disk = DiskProbe.bytesPerSecond(
                reader, options.readerThreads(), options.chunkBytes(), reader.fileSize() / 3, DISK_BYTES);
        CostModel costs = probe.compute(typical(blocks), disk);
        LOG.info("Measured for the plan: {}", costs.describe());
        return costs;
    }

    /**
     * Measures a device with memory of its own and the host beside it.
     *
     * @param blocks the model
     * @param devices what computes; nobody else may use their compute streams meanwhile
     * @param reader reads the model's file
     * @param options how weights will be read
     * @param link what was measured of the link
     * @throws dev.prefetch.storage.StorageException when the file cannot be read
     */
    public static MeasuredCosts measure(
            List<WeightBlock> blocks, Devices devices, BlockReader reader, StreamingOptions options, LinkReport link) {
        BlockTensor tensor = typical(blocks);
        // The host computes weights where they are mapped, from where the device gets them too.
        CostModel host = measure(blocks, devices.host(), reader, options, false);
        CostModel primary = new CostProbe(devices.primary(), reader, true)
                .compute(tensor, link.bytesPerSecond(options.chunkBytes()));
        LOG.info("Measured for the device: {}", primary.describe());
        return new MeasuredCosts(primary, host);
    }

    /** The largest feed-forward matrix of the type that most of their bytes have. */
    private static BlockTensor typical(List<WeightBlock> blocks) {
        List<BlockTensor> matrices = blocks.stream()
                .filter(b -> b.kind().isFeedForward() || b.kind() == WeightBlock.Kind.EXPERT)
                .flatMap(b -> b.tensors().stream())
                .filter(t -> t.rows() > 1)
                .toList();
        GgmlType type = matrices.stream()
                .collect(Collectors.groupingBy(BlockTensor::type, Collectors.summingLong(BlockTensor::byteSize)))
                .entrySet()
                .stream()
                .max(Map.Entry.comparingByValue())
                .map(Map.Entry::getKey)
                .orElseThrow(() -> new IllegalArgumentException("the model has no feed-forward matrix"));
        return matrices.stream()
                .filter(t -> t.type() == type)
                .max(Comparator.comparingLong(BlockTensor::byteSize))
                .orElseThrow();
    }

    /** Multiplies a matrix made of as many copies of the tensor's rows as fill the memory. */
    private CostModel compute(BlockTensor tensor, double linkBytesPerSecond) {
        long rowBytes = tensor.byteSize() / tensor.rows();
        long rows = rounded(MEMORY_BYTES / rowBytes);
        long fewRows = Math.min(rounded(MANY_TOKENS_BYTES / rowBytes), rows);
        try (DeviceBuffer memory = device.allocate(rows * rowBytes, "weights for measuring");
                DeviceBuffer x = device.allocate(MANY_TOKENS * tensor.cols() * Float.BYTES, "activations");
                DeviceBuffer y = device.allocate(Math.max(rows, MANY_TOKENS * fewRows) * Float.BYTES, "activations")) {
            fill(memory, tensor, rows * rowBytes);
            fill(x);
            Ops ops = device.compute().ops();
            Weight all = packed(new Weight(tensor.type(), rows, tensor.cols(), memory, 0));
            Weight few = new Weight(tensor.type(), fewRows, tensor.cols(), memory, 0, all.packed());
            double one = seconds(() -> ops.matmul(all, x, 1, 1, y));
            double many = seconds(() -> ops.matmul(few, x, 0, MANY_TOKENS, y));
            return new CostModel(
                    linkBytesPerSecond,
                    rows * rowBytes / one,
                    2.0 * MANY_TOKENS * fewRows * tensor.cols() / many,
                    CostModel.ASSUMED.expertHitRate(),
                    true);
        }
    }

    /** Down to what every device packs. */
    private static long rounded(long rows) {
        return Math.max(1, rows < PACKED_ROWS ? rows : rows / PACKED_ROWS * PACKED_ROWS);
    }

    private Weight packed(Weight weight) {
        boolean packable = packs && device.packs(weight.type(), weight.rows(), weight.cols());
        return packable ? device.pack(weight) : weight;
    }

    private void fill(DeviceBuffer memory, BlockTensor tensor, long bytes) {
        Extent wanted = new Extent(tensor.fileOffset(), Math.min(tensor.byteSize(), bytes));
        Extent run = wanted.alignedTo(reader.alignment());
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment source = arena.allocate(run.length(), reader.alignment());
            reader.read(run.offset(), source);
            MemorySegment rows = source.asSlice(wanted.offset() - run.offset(), wanted.length());
            for (long done = 0; done < bytes; done += rows.byteSize()) {
                memory.upload(rows.asSlice(0, Math.min(rows.byteSize(), bytes - done)), done);
            }
        }
    }

    private static void fill(DeviceBuffer x) {
        SplittableRandom random = new SplittableRandom(1);
        float[] values = new float[(int) (x.byteSize() / Float.BYTES)];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) random.nextGaussian();
        }
        try (Arena arena = Arena.ofConfined()) {
            x.upload(arena.allocateFrom(ValueLayout.JAVA_FLOAT, values), 0);
        }
    }

    /** Best time of an operation, once it does not get better any more. */
    private double seconds(Runnable operation) {
        long begun = System.nanoTime();
        long improved = begun;
        double best = Double.MAX_VALUE;
        for (long now = begun; now - improved < PATIENCE_NANOS && now - begun < MOST_NANOS; now = System.nanoTime()) {
            double seconds = time(operation);
            if (seconds < FASTER * best) {
                improved = System.nanoTime();
            }
            best = Math.min(best, seconds);
        }
        return best;
    }

    private double time(Runnable operation) {
        if (device.tier() == Tier.DEVICE) {
            Event before = device.compute().recordTimed();
            operation.run();
            Event after = device.compute().recordTimed();
            after.await();
            return Math.max(1, after.timeNanos() - before.timeNanos()) / 1e9;
        }
        long begun = System.nanoTime();
        operation.run();
        device.compute().record().await();
        return Math.max(1, System.nanoTime() - begun) / 1e9;
    }
}
