package dev.prefetch.cuda;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.cuda.KernelModules.Kernel;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Collections;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import jcuda.driver.CUstream;

/** Launches the kernels of {@code attention.cu}, which there are for each type of cache: decides whether every chunk of positions gets blocks of its own. */
final class AttentionLauncher {

    /** Positions per chunk, queries per block and positions per tile, as in {@code attention.cu}. */
    private static final int CHUNK = 256;

    private static final int WARPS = 8;
    private static final int TILE = 32;

    /** What keys and values can be kept as. */
    static final Set<GgmlType> KV_TYPES =
            Collections.unmodifiableSet(EnumSet.of(GgmlType.F32, GgmlType.F16, GgmlType.Q8_0));

    /** Most dimensions of values that there are kernels for, ascending. */
    static final List<Integer> VALUE_DIMS = List.of(64, 128, 256, 512);

    /** Bytes of partial results beyond which every block walks all chunks; there are blocks enough then. */
    private static final long MOST_PARTIAL_BYTES = 64L << 20;

    private final KernelModules kernels;
    private final Launcher launcher;
    private final PageTables pages;
    private final DeviceScratch partials;
    private final int fillingBlocks;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment struct = arena.allocate(72, 8);

    AttentionLauncher(CudaDevice device, CUstream stream, ArgumentRing ring, Launcher launcher) {
        this.kernels = device.kernels();
        this.launcher = launcher;
        pages = new PageTables(device, stream, ring);
        partials = new DeviceScratch(device, stream, "partial results of attention");
        fillingBlocks = 2 * device.context().multiprocessors();
    }

    /** Most dimensions of a key whose tile fits the shared memory of a block. */
    int largestKeyDim() {
        return (kernels.largestSharedBytes / Float.BYTES - TILE) / (WARPS + TILE);
    }

    /** Device memory for partial results and page tables; a table fills the smallest allocation only in long contexts. */
    long scratchBytes() {
        return MOST_PARTIAL_BYTES + PageTables.USUAL_BYTES;
    }

    /** Stores rows that start at those addresses. */
    void store(AttentionShape shape, KvLayer cache, long keys, long values, int count, int position) {
        PageTables.Table table = pages.table(shape, cache, position, position + count);
        if (count > 0) {
            launcher.begin()
                    .arg(describe(shape, cache, table, count, position))
                    .arg(keys)
                    .arg(values);
            launcher.launch(of(kernels.storeKv, cache.type()), shape.kvHeads(), count, 64);
        }
    }

    /** Attention of rows that start at those addresses; {@code sinks} is the address of one score per head, or 0. */
    void run(AttentionShape shape, KvLayer cache, long q, long sinks, int count, int position, long out) {
        PageTables.checkType(cache.type());
        Kernel kernel = kernel(cache.type(), shape.valueDim());
        int sharedBytes = sharedBytes(shape);
        if (sharedBytes > kernels.largestSharedBytes) {
            throw new IllegalArgumentException("keys of " + shape.keyDim() + " dimensions need " + sharedBytes
                    + " bytes of shared memory and this card has " + kernels.largestSharedBytes + " per block");
        }
        int from = shape.window() == 0 ? 0 : Math.max(0, position - shape.window() + 1);
        PageTables.Table table = pages.table(shape, cache, from, position + count);
        if (count == 0) {
            return;
        }
        int firstChunk = from / CHUNK;
        int chunks = (position + count - 1) / CHUNK - firstChunk + 1;
        long items = (long) count * (shape.heads() / shape.kvHeads());
        long gridX = Math.ceilDiv(items, (long) WARPS);
        long partialBytes = 4L * count * shape.heads() * chunks * (shape.valueDim() + 2);
        boolean split = chunks > 1 && gridX * shape.kvHeads() < fillingBlocks && partialBytes <= MOST_PARTIAL_BYTES;
        long partial = split ? partials.ensure(partialBytes) : 0;
        launcher.begin()
                .arg(describe(shape, cache, table, count, position))
                .arg(q)
                .arg(sinks)
                .arg(out);
        launcher.arg(partial).arg(firstChunk);
        launcher.launch(kernel, gridX, shape.kvHeads(), split ? chunks : 1, 32 * WARPS, sharedBytes);
        if (split) {
            launcher.begin().arg(partial).arg(sinks).arg(out);
            launcher.arg(shape.heads()).arg(shape.valueDim()).arg(chunks);
            launcher.launch(kernels.attentionCombine, shape.heads(), count, 32);
        }
    }

    /** Whether there is a kernel for that shape, and room for what its blocks share. */
    boolean supports(AttentionShape shape) {
        return shape.valueDim() <= VALUE_DIMS.getLast() && sharedBytes(shape) <= kernels.largestSharedBytes;
    }

    private static int sharedBytes(AttentionShape shape) {
        return Math.multiplyExact(
                Float.BYTES, Math.addExact(WARPS * shape.keyDim(), TILE * Math.addExact(shape.keyDim(), 1)));
    }

    private Kernel kernel(GgmlType type, int valueDim) {
        for (int i = 0; i < VALUE_DIMS.size(); i++) {
            if (valueDim <= VALUE_DIMS.get(i)) {
                return of(kernels.attention, type).get(i);
            }
        }
        throw new IllegalArgumentException("attention kernels take at most " + VALUE_DIMS.getLast()
                + " dimensions per value head but there are " + valueDim);
    }

    private static <T> T of(Map<GgmlType, T> byType, GgmlType type) {
        return Objects.requireNonNull(byType.get(type));
    }

    /** {@code attention_shape} of {@code attention.cu}. */
    private MemorySegment describe(
            AttentionShape shape, KvLayer cache, PageTables.Table table, int count, int position) {
        struct.set(JAVA_LONG, 0, table.address());
        struct.set(JAVA_LONG, 8, cache.keyOffset());
        struct.set(JAVA_LONG, 16, cache.valueOffset());
        struct.set(JAVA_INT, 24, table.firstPage());
        struct.set(JAVA_INT, 28, cache.pageTokens());
        struct.set(JAVA_INT, 32, shape.heads());
        struct.set(JAVA_INT, 36, shape.kvHeads());
        struct.set(JAVA_INT, 40, shape.keyDim());
        struct.set(JAVA_INT, 44, shape.valueDim());
        struct.set(JAVA_INT, 48, shape.window());
        struct.set(JAVA_INT, 52, position);
        struct.set(JAVA_INT, 56, count);
        struct.set(JAVA_FLOAT, 60, shape.scale());
        struct.set(JAVA_FLOAT, 64, shape.softCap());
        return struct;
    }

    void close() {
        pages.close();
        partials.close();
        arena.close();
    }
}
