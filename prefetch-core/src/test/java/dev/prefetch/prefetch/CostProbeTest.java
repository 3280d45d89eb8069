package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.storage.DirectReader;
import dev.prefetch.testing.DemoModel;
import dev.prefetch.testing.MeteredBackend;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class CostProbeTest {

    @Test
    void measuresThisMachineAndGivesItsMemoryBack() {
        long before = MeteredBackend.allocatedBytes();
        try (GgufFile file = GgufFile.open(DemoModel.file());
                Device device = new MeteredBackend().open(new DeviceOptions(1));
                DirectReader reader = DirectReader.open(DemoModel.file())) {
            ModelGraph graph = ModelGraph.of(file, ModelConfig.read(file));
            CostModel costs =
                    CostProbe.measure(graph.blocks(), device, reader, StreamingOptions.DEFAULT.withChunkBytes(65536));
            assertThat(costs.measured()).isTrue();
            // Any machine at all, and no unit mistaken for another.
            assertThat(costs.diskBytesPerSecond()).isBetween(1e6, 1e12);
            assertThat(costs.memoryBytesPerSecond()).isBetween(1e6, 1e12);
            assertThat(costs.flopsPerSecond()).isBetween(1e6, 1e14);
            assertThat(costs.describe()).contains("measured").contains("GB/s");
        }
        assertThat(MeteredBackend.allocatedBytes() - before).isGreaterThan(CostProbe.MEMORY_BYTES / 2);
    }
}
