package dev.prefetch.prefetch;

import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.TensorRole;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.model.WeightBlock.Kind;
import dev.prefetch.prefetch.Plan.Entry;
import dev.prefetch.prefetch.Plan.Forecast;
import dev.prefetch.prefetch.Plan.Residency;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;

/** Blocks of a made-up model in a made-up file, each eight bytes of which say where they stand. */
final class TestModel {

    static final int ALIGNMENT = 4096;
    private static final int COLS = 64;

    final List<WeightBlock> blocks = new ArrayList<>();
    long fileSize = 12_320;

    /** A dense model: embedding, per layer attention and feed-forward, output. */
    static TestModel dense(int layers, int kib) {
        TestModel model = new TestModel();
        model.add(Kind.EMBEDDING, -1, -1, kib, TensorRole.TOKEN_EMBEDDING);
        for (int layer = 0; layer < layers; layer++) {
            model.add(Kind.ATTENTION, layer, -1, kib / 4, TensorRole.ATTENTION_NORM, TensorRole.ATTENTION_Q);
            model.add(Kind.FEED_FORWARD, layer, -1, kib, TensorRole.FFN_NORM, TensorRole.FFN_UP, TensorRole.FFN_DOWN);
        }
        model.add(Kind.OUTPUT, -1, -1, kib, TensorRole.OUTPUT);
        return model;
    }

    /** A mixture of experts whose experts' tensors lie apart, as in a GGUF file. */
    static TestModel experts(int layers, int experts, int kib) {
        TestModel model = new TestModel();
        model.add(Kind.EMBEDDING, -1, -1, kib, TensorRole.TOKEN_EMBEDDING);
        for (int layer = 0; layer < layers; layer++) {
            model.add(Kind.ATTENTION, layer, -1, kib, TensorRole.ATTENTION_Q);
            model.add(Kind.FEED_FORWARD, layer, -1, 1, TensorRole.FFN_ROUTER);
            long bytes = kib * 1024L;
            long up = model.fileSize;
            long down = up + experts * bytes;
            model.fileSize = down + experts * bytes;
            for (int expert = 0; expert < experts; expert++) {
                model.blocks.add(new WeightBlock(
                        model.blocks.size(),
                        Kind.EXPERT,
                        layer,
                        expert,
                        List.of(
                                tensor(TensorRole.FFN_UP, up + expert * bytes, bytes),
                                tensor(TensorRole.FFN_DOWN, down + expert * bytes, bytes))));
            }
        }
        model.add(Kind.OUTPUT, -1, -1, kib, TensorRole.OUTPUT);
        return model;
    }

    private void add(Kind kind, int layer, int expert, int kib, TensorRole... roles) {
        List<BlockTensor> tensors = new ArrayList<>();
        for (TensorRole role : roles) {
            long bytes = kib * 1024L;
            tensors.add(tensor(role, fileSize, bytes));
            fileSize += bytes + 32;
        }
        blocks.add(new WeightBlock(blocks.size(), kind, layer, expert, tensors));
    }

    private static BlockTensor tensor(TensorRole role, long offset, long bytes) {
        long rows = bytes / (4 * COLS);
        return new BlockTensor(role, role + "@" + offset, GgmlType.F32, rows, COLS, offset, rows * COLS * 4);
    }

    /** A plan with the residency chosen per block, slots as large as needed. */
    Plan plan(int slots, int expertSlots, int passingExpertSlots, Function<WeightBlock, Residency> choice) {
        List<Entry> entries = blocks.stream()
                .map(b -> new Entry(
                        b,
                        choice.apply(b),
                        choice.apply(b) == Residency.RESIDENT ? layout(b).byteSize() : 0))
                .toList();
        boolean streams = entries.stream().anyMatch(e -> e.residency() == Residency.STREAMED);
        boolean onDemand = entries.stream().anyMatch(e -> e.residency() == Residency.ON_DEMAND);
        Forecast none = new Forecast(1, 0, 0, 0);
        return new Plan(
                entries,
                0,
                fileSize,
                streams ? slots : 0,
                largest(entries, Residency.STREAMED),
                Math.max(0, slots - 1),
                onDemand ? expertSlots : 0,
                largest(entries, Residency.ON_DEMAND),
                passingExpertSlots,
                CostModel.ASSUMED,
                none,
                none);
    }

    private static long largest(List<Entry> entries, Residency residency) {
        return entries.stream()
                .filter(e -> e.residency() == residency)
                .mapToLong(e -> layout(e.block()).byteSize())
                .max()
                .orElse(0);
    }

    static BlockLayout layout(WeightBlock block) {
        return BlockLayout.of(block, ALIGNMENT, StreamingOptions.DEFAULT_MERGE_GAP_BYTES);
    }

    /** What stands at a place of the file that is a multiple of eight. */
    static long contentAt(long offset) {
        long mixed = (offset + 1) * 0x9E3779B97F4A7C15L;
        return mixed ^ mixed >>> 29;
    }

    static void fillFromFile(long offset, MemorySegment target) {
        for (long i = 0; i < target.byteSize(); i += 8) {
            target.set(ValueLayout.JAVA_LONG, i, contentAt(offset + i));
        }
    }

    /** The first place where a lease does not show what the file holds, or null when all is well. */
    static String firstDifference(WeightLease lease) {
        for (BlockTensor tensor : lease.block().tensors()) {
            Weight weight = lease.weight(tensor.role());
            MemorySegment memory =
                    weight.buffer().hostMemory().orElseThrow().asSlice(weight.offset(), tensor.byteSize());
            for (long i = 0; i < tensor.byteSize(); i += 8) {
                long found = memory.get(ValueLayout.JAVA_LONG_UNALIGNED, i);
                if (found != contentAt(tensor.fileOffset() + i)) {
                    return "%s %s at byte %d: found %016x but the file holds %016x"
                            .formatted(
                                    lease.block().label(), tensor.role(), i, found, contentAt(tensor.fileOffset() + i));
                }
            }
        }
        return null;
    }
}
