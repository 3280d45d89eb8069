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
import jcuda.driver.CUstream;

/** Launches the kernels of {@code attention.cu}: decides whether every chunk of positions gets blocks of its own. */
final class AttentionLauncher {

    /** Positions per chunk, queries per block and positions per tile, as in {@code attention.cu}. */
    private static final int CHUNK = 256;

    private static final int WARPS = 8;
    private static final int TILE = 32;
    private static final int SMALLEST_VALUE_DIM = 64;

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
            launcher.launch(kernels.storeKv, shape.kvHeads(), count, 128);
        }
    }

    /** Attention of rows that start at those addresses; {@code sinks} is the address of one score per head, or 0. */
    void run(AttentionShape shape, KvLayer cache, long q, long sinks, int count, int position, long out) {
        Kernel kernel = kernel(shape.valueDim());
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
        return shape.valueDim() <= SMALLEST_VALUE_DIM << kernels.attention.size() - 1
                && sharedBytes(shape) <= kernels.largestSharedBytes;
    }

    private static int sharedBytes(AttentionShape shape) {
        return Math.multiplyExact(
                Float.BYTES, Math.addExact(WARPS * shape.keyDim(), TILE * Math.addExact(shape.keyDim(), 1)));
    }

    private Kernel kernel(int valueDim) {
        int largest = SMALLEST_VALUE_DIM;
        for (Kernel kernel : kernels.attention) {
            if (valueDim <= largest) {
                return kernel;
            }
            largest *= 2;
        }
        throw new IllegalArgumentException("attention kernels take at most " + largest / 2
                + " dimensions per value head but there are " + valueDim);
    }

    /** {@code attention_shape} of {@code attention.cu}. */
    private MemorySegment describe(
            AttentionShape shape, KvLayer cache, PageTables.Table table, int count, int position) {
        if (cache.type() != GgmlType.F32) {
            throw new IllegalArgumentException("the CUDA backend keeps keys and values as F32, not " + cache.type());
        }
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
