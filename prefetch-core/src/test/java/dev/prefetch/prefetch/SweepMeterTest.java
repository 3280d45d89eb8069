package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.backend.Tier;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.TraceRecorder.Lane;
import dev.prefetch.prefetch.TraceRecorder.Span;
import dev.prefetch.prefetch.TraceRecorder.Sweep;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;

class SweepMeterTest {

    private final TestModel model = TestModel.dense(1, 4);
    private final TraceRecorder trace = new TraceRecorder(2);
    private long now = 1000;
    private final SweepMeter meter = new SweepMeter(model.blocks.size(), () -> now, trace, Lane.DISK);

    private WeightBlock block(int i) {
        return model.blocks.get(i);
    }

    /**
     * <pre>
     * time     0    10    20    30    40    50
     * compute  |-b0-|           |--b1------|
     * waiting       |-----b1----|
     * disk       |---b1 (two reads)---|
     * </pre>
     */
    private void oneSweep() {
        long start = now;
        meter.beginSweep(Regime.DECODE, 1);
        meter.acquired(block(0), Tier.HOST);
        now = start + 5;
        meter.readStarted();
        now = start + 8;
        meter.readStarted();
        now = start + 10;
        meter.released();
        meter.stallStarted();
        now = start + 20;
        meter.readEnded(block(1), 100, false, null);
        now = start + 30;
        meter.stallEnded(block(1));
        meter.acquired(block(1), null);
        now = start + 35;
        meter.readEnded(block(1), 200, false, null);
        meter.blockStreamed();
        now = start + 50;
        meter.released();
        meter.endSweep();
    }

    @Test
    void dividesASweepIntoComputeAndStallAndCountsOverlappingReadsOnce() {
        oneSweep();
        PrefetchStatistics statistics = meter.snapshot();
        assertThat(statistics.sweeps()).isEqualTo(1);
        assertThat(statistics.sweepNanos()).isEqualTo(50);
        assertThat(statistics.computeNanos()).isEqualTo(30);
        assertThat(statistics.stallNanos()).isEqualTo(20);
        assertThat(statistics.linkBusyNanos()).isEqualTo(30);
        assertThat(statistics.diskBytes()).isEqualTo(300);
        assertThat(statistics.diskBlocks()).isEqualTo(1);
        assertThat(statistics.hostBytes()).isEqualTo(block(0).byteSize());
        // (30 + 30 - 50) / 30
        assertThat(statistics.overlapEfficiency()).isCloseTo(1.0 / 3, within(1e-9));
        assertThat(statistics.rooflineFraction()).isCloseTo(0.6, within(1e-9));
        assertThat(statistics.linkUtilisation()).isCloseTo(0.6, within(1e-9));
        assertThat(statistics.linkBytesPerSecond()).isCloseTo(1e10, within(1.0));
        assertThat(meter.computeNanos(Regime.DECODE, 1)).isEqualTo(20);
        assertThat(meter.computeNanos(Regime.PREFILL, 1)).isZero();
    }

    @Test
    void countsReadsBetweenSweepsApart() {
        meter.readStarted();
        now += 100;
        oneSweep();
        meter.readEnded(block(1), 7, false, null);
        now += 40;
        PrefetchStatistics statistics = meter.snapshot();
        assertThat(statistics.idleLinkBusyNanos()).isEqualTo(100);
        assertThat(statistics.linkBusyNanos()).isEqualTo(50);
    }

    @Test
    void givesTheDifferenceOfTwoSnapshots() {
        oneSweep();
        PrefetchStatistics before = meter.snapshot();
        now += 1000;
        oneSweep();
        assertThat(meter.snapshot().since(before)).isEqualTo(before.since(PrefetchStatistics.NONE));
    }

    @Test
    void endsAForgottenSweepWhenComputeLetGo() {
        meter.beginSweep(Regime.DECODE, 1);
        meter.acquired(block(0), Tier.HOST);
        now += 10;
        meter.released();
        now += 5000;
        meter.endForgottenSweep();
        assertThat(meter.snapshot().sweepNanos()).isEqualTo(10);
    }

    @Test
    void hasNothingToHideWithoutTransfers() {
        assertThat(PrefetchStatistics.NONE.overlapEfficiency()).isEqualTo(1);
        assertThat(PrefetchStatistics.NONE.rooflineFraction()).isEqualTo(1);
        assertThat(PrefetchStatistics.NONE.expertHitRate()).isZero();
        assertThat(PrefetchStatistics.NONE.linkBytesPerSecond()).isZero();
    }

    @Test
    void theTraceAgreesWithTheAccounts() {
        oneSweep();
        Sweep sweep = trace.sweeps().getFirst();
        assertThat(sweep.endNanos() - sweep.startNanos()).isEqualTo(50);
        assertThat(sum(sweep, Lane.COMPUTE)).isEqualTo(30);
        assertThat(sum(sweep, Lane.WAITING)).isEqualTo(20);
        assertThat(sum(sweep, Lane.DISK)).isEqualTo(30);
        assertThat(sweep.spans())
                .contains(new Span(Lane.WAITING, "L00.attn", 1010, 1030, 0))
                .contains(new Span(Lane.DISK, "L00.attn", 1005, 1035, 300));
        assertNoOverlapInALane(sweep);
    }

    private static long sum(Sweep sweep, Lane lane) {
        return sweep.spans().stream()
                .filter(s -> s.lane() == lane)
                .mapToLong(s -> s.endNanos() - s.startNanos())
                .sum();
    }

    private static void assertNoOverlapInALane(Sweep sweep) {
        for (Lane lane : Lane.values()) {
            long end = 0;
            for (Span span : sweep.spans()) {
                if (span.lane() == lane) {
                    assertThat(span.startNanos()).isGreaterThanOrEqualTo(end);
                    end = span.endNanos();
                }
            }
        }
    }

    @Test
    void remembersTheLastSweepsOnly() {
        for (int i = 0; i < 5; i++) {
            oneSweep();
        }
        assertThat(trace.sweeps()).extracting(Sweep::number).containsExactly(4L, 5L);
    }

    @Test
    void writesATraceThatViewersRead() throws Exception {
        oneSweep();
        oneSweep();
        JsonNode events =
                new ObjectMapper().readTree(ChromeTrace.write(trace.sweeps())).get("traceEvents");
        List<String> lanes = new ArrayList<>();
        double waiting = 0;
        for (JsonNode event : events) {
            String phase = event.get("ph").stringValue();
            if (phase.equals("M")) {
                lanes.add(event.get("args").get("name").stringValue());
            } else if (phase.equals("X") && event.get("cat").stringValue().equals("waiting")) {
                waiting += event.get("dur").doubleValue();
            }
        }
        assertThat(lanes).containsExactly("disk", "compute", "waiting");
        assertThat(waiting).isCloseTo(0.04, within(1e-9));
    }

    @Test
    void escapesWhatJsonCannotHold() throws Exception {
        String awkward = "a \"quoted\" \\ line\nend\t\u0001 \ud83d\ude00 \ud800";
        String json = new JsonWriter()
                .beginObject()
                .name(awkward)
                .beginArray()
                .value(awkward)
                .value(Double.NaN)
                .value(1.5)
                .value(true)
                .endArray()
                .endObject()
                .toString();
        JsonNode array = new ObjectMapper().readTree(json).get(awkward);
        assertThat(array.get(0).stringValue()).isEqualTo(awkward);
        assertThat(array.get(1).isNull()).isTrue();
        assertThat(array.get(2).doubleValue()).isEqualTo(1.5);
    }

    @Test
    void keepsTheRegimesApart() {
        oneSweep();
        meter.beginSweep(Regime.PREFILL, 7);
        now += 30;
        meter.endSweep();
        oneSweep();
        PrefetchStatistics prefill = meter.finished(Regime.PREFILL);
        PrefetchStatistics decode = meter.finished(Regime.DECODE);
        assertThat(prefill.sweeps()).isEqualTo(1);
        assertThat(prefill.computeNanos()).isEqualTo(30);
        assertThat(decode.sweeps()).isEqualTo(2);
        assertThat(decode.sweepNanos()).isEqualTo(100);
        assertThat(decode.diskBytes()).isEqualTo(600);
        assertThat(decode.plus(prefill)).isEqualTo(meter.snapshot());
    }
}
