package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import dev.prefetch.gguf.GgmlType;
import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.TensorRole;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.model.WeightBlock.Kind;
import dev.prefetch.prefetch.BlockLayout.Part;
import dev.prefetch.storage.Extent;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class BlockLayoutTest {

    private static BlockTensor tensor(TensorRole role, long offset, long bytes) {
        return new BlockTensor(role, role.name(), GgmlType.I8, 1, bytes, offset, bytes);
    }

    private static WeightBlock block(BlockTensor... tensors) {
        return new WeightBlock(0, Kind.FEED_FORWARD, 0, -1, List.of(tensors));
    }

    @Test
    void readsAlignedRunsAndKeepsTheDistanceToTheirStart() {
        BlockLayout layout = BlockLayout.of(
                block(tensor(TensorRole.FFN_UP, 5000, 3000), tensor(TensorRole.FFN_DOWN, 100_000, 10)), 4096, 0);
        assertThat(layout.parts())
                .containsExactly(new Part(new Extent(4096, 4096), 0), new Part(new Extent(98304, 4096), 4096));
        assertThat(layout.tensorOffset(0)).isEqualTo(904);
        assertThat(layout.tensorOffset(1)).isEqualTo(4096 + 100_000 - 98304);
        assertThat(layout.byteSize()).isEqualTo(8192);
    }

    @Test
    void readsNearRunsAsOne() {
        BlockTensor up = tensor(TensorRole.FFN_UP, 0, 4096);
        BlockTensor down = tensor(TensorRole.FFN_DOWN, 12_288, 4096);
        assertThat(BlockLayout.of(block(up, down), 4096, 8191).parts()).hasSize(2);
        assertThat(BlockLayout.of(block(up, down), 4096, 8192).parts())
                .containsExactly(new Part(new Extent(0, 16_384), 0));
    }

    @Test
    void readsASharedPageOnce() {
        BlockLayout layout = BlockLayout.of(
                block(tensor(TensorRole.FFN_DOWN, 5000, 100), tensor(TensorRole.FFN_UP, 4096, 800)), 4096, 0);
        assertThat(layout.parts()).containsExactly(new Part(new Extent(4096, 4096), 0));
        assertThat(layout.tensorOffset(0)).isEqualTo(904);
        assertThat(layout.tensorOffset(1)).isZero();
    }

    @Test
    void cutsRunsIntoReads() {
        BlockLayout layout = BlockLayout.of(block(tensor(TensorRole.FFN_UP, 4096, 20_000)), 4096, 0);
        assertThat(layout.chunks(8192))
                .containsExactly(
                        new Part(new Extent(4096, 8192), 0),
                        new Part(new Extent(12_288, 8192), 8192),
                        new Part(new Extent(20_480, 4096), 16_384));
    }

    @Test
    void refusesABlockWithoutTensors() {
        assertThatIllegalArgumentException().isThrownBy(() -> BlockLayout.of(block(), 4096, 0));
    }

    @Test
    void placesEveryTensorOfRandomBlocksInsideItsRun() {
        Random random = new Random(42);
        for (int i = 0; i < 500; i++) {
            List<BlockTensor> tensors = new ArrayList<>();
            long offset = random.nextInt(10_000);
            for (int t = 0; t < 1 + random.nextInt(6); t++) {
                long bytes = 1 + random.nextInt(30_000);
                tensors.add(tensor(TensorRole.values()[t], offset, bytes));
                offset += bytes + random.nextInt(40_000);
            }
            int alignment = 512 << random.nextInt(5);
            BlockLayout layout = BlockLayout.of(
                    new WeightBlock(0, Kind.ATTENTION, 0, -1, tensors), alignment, random.nextInt(20_000));
            for (int t = 0; t < tensors.size(); t++) {
                BlockTensor tensor = tensors.get(t);
                long at = layout.tensorOffset(t);
                Part part = layout.parts().stream()
                        .filter(p -> p.memoryOffset() <= at
                                && at + tensor.byteSize()
                                        <= p.memoryOffset() + p.extent().length())
                        .findFirst()
                        .orElseThrow();
                assertThat(part.extent().offset() + at - part.memoryOffset()).isEqualTo(tensor.fileOffset());
                assertThat(part.extent().offset() % alignment).isZero();
                assertThat(part.memoryOffset() % alignment).isZero();
            }
        }
    }
}
