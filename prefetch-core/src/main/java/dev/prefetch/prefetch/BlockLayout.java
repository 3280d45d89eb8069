package dev.prefetch.prefetch;

import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.storage.Extent;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/**
 * How a block lies in the file and in the memory it is read into.
 *
 * <p>Direct reads need aligned offsets and addresses, and tensors are not aligned to pages. So a block's runs of bytes are
 * read as the aligned runs around them, one behind the other, and a tensor lies at the same distance from its run's start
 * in memory as in the file: nothing is ever moved. Runs that are near are read as one.
 */
final class BlockLayout {

    private final WeightBlock block;
    private final List<Part> parts;
    private final long[] tensorOffsets;
    private final long byteSize;

    private BlockLayout(WeightBlock block, List<Part> parts, long[] tensorOffsets, long byteSize) {
        this.block = block;
        this.parts = List.copyOf(parts);
        this.tensorOffsets = tensorOffsets;
        this.byteSize = byteSize;
    }

    /**
     * @param alignment of file offsets and memory addresses, a power of two
     * @param mergeGapBytes runs with at most this much between them are read as one
     */
    static BlockLayout of(WeightBlock block, int alignment, long mergeGapBytes) {
        if (block.tensors().isEmpty()) {
            throw new IllegalArgumentException("block " + block.label() + " has no tensors");
        }
        List<Extent> runs = mergedRuns(block, alignment, mergeGapBytes);
        List<Part> parts = new ArrayList<>();
        long size = 0;
        for (Extent run : runs) {
            parts.add(new Part(run, size));
            size = Math.addExact(size, run.length());
        }
        long[] offsets = block.tensors().stream()
                .mapToLong(tensor -> place(parts, tensor))
                .toArray();
        return new BlockLayout(block, parts, offsets, size);
    }

    private static List<Extent> mergedRuns(WeightBlock block, int alignment, long mergeGapBytes) {
        List<Extent> sorted = block.tensors().stream()
                .map(t -> new Extent(t.fileOffset(), t.byteSize()).alignedTo(alignment))
                .sorted(Comparator.comparingLong(Extent::offset))
                .toList();
        List<Extent> merged = new ArrayList<>();
        for (Extent next : sorted) {
            Extent last = merged.isEmpty() ? null : merged.getLast();
            if (last != null && next.offset() - last.end() <= mergeGapBytes) {
                long end = Math.max(last.end(), next.end());
                merged.set(merged.size() - 1, new Extent(last.offset(), end - last.offset()));
            } else {
                merged.add(next);
            }
        }
        return merged;
    }

    private static long place(List<Part> parts, BlockTensor tensor) {
        for (Part part : parts) {
            Extent run = part.extent();
            if (tensor.fileOffset() >= run.offset() && tensor.fileOffset() + tensor.byteSize() <= run.end()) {
                return part.memoryOffset() + (tensor.fileOffset() - run.offset());
            }
        }
        throw new AssertionError("tensor " + tensor.name() + " lies in no part of its block");
    }

    WeightBlock block() {
        return block;
    }

    /** What is read, in file order. */
    List<Part> parts() {
        return parts;
    }

    /** Where tensor {@code i} of the block lies in the memory. */
    long tensorOffset(int i) {
        return tensorOffsets[i];
    }

    /** Memory the block needs, which is also what is read; a multiple of the alignment. */
    long byteSize() {
        return byteSize;
    }

    /**
     * The reads that fill the memory, in file order.
     *
     * @param chunkBytes most bytes per read, a multiple of the alignment
     */
    List<Part> chunks(long chunkBytes) {
        List<Part> chunks = new ArrayList<>();
        for (Part part : parts) {
            for (long done = 0; done < part.extent().length(); done += chunkBytes) {
                long length = Math.min(chunkBytes, part.extent().length() - done);
                chunks.add(new Part(new Extent(part.extent().offset() + done, length), part.memoryOffset() + done));
            }
        }
        return List.copyOf(chunks);
    }

    /**
     * @param extent where in the file
     * @param memoryOffset where in the block's memory
     */
    record Part(Extent extent, long memoryOffset) {}
}
