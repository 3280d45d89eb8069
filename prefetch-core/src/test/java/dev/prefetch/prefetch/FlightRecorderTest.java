package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.backend.Devices;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.Plan.Residency;
import java.nio.file.Path;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FlightRecorderTest {

    @TempDir
    Path folder;

    @Test
    void recordsTransfersAndSweeps() throws Exception {
        TestModel model = TestModel.dense(2, 8);
        TestReader reader = new TestReader(model.fileSize);
        Path file = folder.resolve("run.jfr");
        try (Recording recording = new Recording()) {
            recording.enable("dev.prefetch.Transfer").withoutThreshold();
            recording.enable("dev.prefetch.Stall").withoutThreshold();
            recording.enable("dev.prefetch.Sweep").withoutThreshold();
            recording.start();
            reader.pause();
            try (StreamingWeights weights = StreamingWeights.open(
                    model.plan(1, 0, 0, b -> Residency.STREAMED),
                    Devices.of(new TestDevice()),
                    reader,
                    List.of(),
                    StreamingOptions.DEFAULT,
                    (done, total) -> {})) {
                weights.beginSweep(Regime.PREFILL, 17);
                Thread.ofPlatform().start(reader::resume);
                for (WeightBlock block : model.blocks) {
                    weights.acquire(block).close();
                }
                weights.endSweep();
            }
            recording.stop();
            recording.dump(file);
        }
        List<RecordedEvent> events = RecordingFile.readAllEvents(file);
        List<RecordedEvent> sweeps = ofType(events, "dev.prefetch.Sweep");
        assertThat(sweeps).hasSize(1);
        assertThat(sweeps.getFirst().getInt("tokens")).isEqualTo(17);
        assertThat(sweeps.getFirst().getString("regime")).isEqualTo("PREFILL");
        assertThat(ofType(events, "dev.prefetch.Transfer"))
                .extracting(e -> e.getString("block"))
                .contains("embed", "L00.attn", "L01.up", "output");
        assertThat(ofType(events, "dev.prefetch.Stall").size()).isBetween(1, model.blocks.size());
    }

    private static List<RecordedEvent> ofType(List<RecordedEvent> events, String name) {
        return events.stream()
                .filter(e -> e.getEventType().getName().equals(name))
                .toList();
    }
}
