package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.BackendProvider.Availability;
import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.HostMemory;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.backend.Rope;
import dev.prefetch.backend.Tier;
import dev.prefetch.backend.Weight;
import dev.prefetch.cuda.simulator.Finding;
import dev.prefetch.cuda.simulator.Settings;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import jcuda.driver.CUresult;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Memory, streams and events of the device. */
class CudaDeviceTest {

    private SimulatedDriver driver;
    private Device device;

    @BeforeEach
    void open() {
        driver = Devices.driver();
        device = Devices.cuda();
    }

    private void reopen(Settings settings) {
        device.close();
        driver.apply(settings);
        device = Devices.cuda();
    }

    @AfterEach
    void nothingIsLeft() {
        device.close();
        assertThat(driver.live()).isEqualTo(SimulatedDriver.Live.NONE);
        assertThat(driver.counter("leaked_device_ranges")).isZero();
    }

    private void assertNothingFound() {
        assertThat(driver.findings()).isEmpty();
    }

    @Test
    void describesTheCard() {
        assertThat(device.backend()).isEqualTo("cuda");
        assertThat(device.tier()).isEqualTo(Tier.DEVICE);
        assertThat(device.description())
                .contains("GiB")
                .contains("compute capability")
                .contains("driver for CUDA");
        assertThat(device.availableBytes()).isPresent();
        assertThatThrownBy(() -> device.wrap(MemorySegment.NULL)).isInstanceOf(UnsupportedOperationException.class);
    }

    @Test
    void availabilityNamesWhatIsTooOld() {
        BackendProvider provider = new CudaBackendProvider();
        assertThat(provider.availability()).isInstanceOf(Availability.Available.class);
        driver.apply(Devices.settings().driverVersion(11080));
        assertThat(provider.availability())
                .isInstanceOfSatisfying(
                        Availability.Unavailable.class,
                        it -> assertThat(it.reason()).contains("11.8").contains("12.0"));
        driver.apply(Devices.settings().computeCapability(70));
        assertThat(provider.availability())
                .isInstanceOfSatisfying(
                        Availability.Unavailable.class,
                        it -> assertThat(it.reason()).contains("7.0").contains("7.5"));
        driver.apply(Devices.settings().devices(0));
        assertThat(provider.availability()).isInstanceOf(Availability.Unavailable.class);
        driver.apply(Devices.settings());
        assertThatThrownBy(() -> provider.open(new DeviceOptions(1, 3))).hasMessageContaining("number 3");
    }

    @Test
    void allocatesZeroedMemoryOfWhichItKnowsHowMuchThereIs() {
        long before = device.availableBytes().orElseThrow();
        try (DeviceBuffer buffer = device.allocate(5 << 20, "test")) {
            assertThat(device.availableBytes().orElseThrow()).isLessThanOrEqualTo(before - (5 << 20));
            assertThat(Devices.read(buffer, 1000)).containsOnly(0f);
        }
        assertThat(device.availableBytes().orElseThrow()).isEqualTo(before);
        assertNothingFound();
    }

    @Test
    void saysWhatDidNotFitAndStaysUsable() {
        assertThatThrownBy(() -> device.allocate(1L << 40, "a monster"))
                .isInstanceOf(OutOfDeviceMemoryException.class)
                .hasMessageContaining("a monster")
                .hasMessageContaining(Long.toString(1L << 40))
                .hasMessageContaining("bytes free")
                .hasMessageContaining("lower the budget");
        driver.apply(Devices.settings().pageLockedBytes(16 << 20));
        assertThatThrownBy(() -> device.allocateHost(1L << 30, "staging"))
                .isInstanceOf(OutOfDeviceMemoryException.class)
                .hasMessageContaining("staging");
        device.allocate(16, "something small").close();
    }

    @Test
    void uploadsAndDownloadsAnySizeFromHeapAndNativeMemory() {
        SplittableRandom random = new SplittableRandom(1);
        for (int size : new int[] {1, 3, 4096, (4 << 20) + 1, (13 << 20) + 7}) {
            byte[] bytes = new byte[size];
            random.nextBytes(bytes);
            try (DeviceBuffer buffer = device.allocate(size + 10L, "test");
                    Arena arena = Arena.ofConfined()) {
                buffer.upload(MemorySegment.ofArray(bytes), 5);
                byte[] heap = new byte[size];
                buffer.download(5, MemorySegment.ofArray(heap));
                assertThat(heap).isEqualTo(bytes);
                MemorySegment outside = arena.allocate(size);
                buffer.download(5, outside);
                buffer.upload(outside, 0);
                buffer.download(0, MemorySegment.ofArray(heap));
                assertThat(heap).isEqualTo(bytes);
                assertThatThrownBy(() -> buffer.upload(outside, 11)).isInstanceOf(IndexOutOfBoundsException.class);
                assertThatThrownBy(() -> buffer.download(-1, outside)).isInstanceOf(IndexOutOfBoundsException.class);
            }
        }
        assertNothingFound();
    }

    /** On a driver that runs nothing until it is waited for, an upload in the wrong order changes what operations see. */
    @Test
    void anUploadComesAfterTheOperationsIssuedBefore() {
        driver.apply(Devices.settings().lazy());
        try (DeviceBuffer x = Devices.buffer(device, 1);
                DeviceBuffer sum = Devices.buffer(device, 0)) {
            device.compute().ops().add(sum, x, 1);
            x.upload(MemorySegment.ofArray(new float[] {10}), 0);
            device.compute().ops().add(sum, x, 1);
            assertThat(Devices.read(sum, 1)).containsExactly(11);
        }
        assertNothingFound();
    }

    @Test
    void copiesBesideComputeAndWaitsByEvents() {
        driver.apply(Devices.settings().lazy());
        int n = 1000;
        try (HostMemory staging = device.allocateHost(4L * n, "staging");
                CopyStream copies = device.openCopyStream();
                DeviceBuffer slot = device.allocate(4L * n, "slot");
                DeviceBuffer sum = device.allocate(4L * n, "sum")) {
            Event free = device.compute().record();
            float expected = 0;
            for (int round = 1; round <= 5; round++) {
                for (int i = 0; i < n; i++) {
                    staging.memory().setAtIndex(ValueLayout.JAVA_FLOAT, i, round);
                }
                copies.await(free);
                copies.copy(staging.memory(), slot, 0);
                Event copied = copies.record();
                device.compute().await(copied);
                device.compute().ops().add(sum, slot, n);
                free = device.compute().record();
                copied.await();
                assertThat(copied.isComplete()).isTrue();
                expected += round;
            }
            assertThat(Devices.read(sum, n)).containsOnly(expected);
            assertThatThrownBy(() -> copies.copy(MemorySegment.ofArray(new float[1]), slot, 0))
                    .isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> copies.copy(staging.memory(), slot, 4))
                    .isInstanceOf(IndexOutOfBoundsException.class);
        }
        assertNothingFound();
    }

    /** The same program with each of the two waits left out: the checker sees it, so its silence above means something. */
    @Test
    void aMissingWaitIsARace() {
        for (boolean waitForCopy : new boolean[] {true, false}) {
            driver.reset();
            try (HostMemory staging = device.allocateHost(4000, "staging");
                    CopyStream copies = device.openCopyStream();
                    DeviceBuffer slot = device.allocate(4000, "slot");
                    DeviceBuffer sum = device.allocate(4000, "sum")) {
                for (int round = 0; round < 2; round++) {
                    copies.copy(staging.memory(), slot, 0);
                    Event copied = copies.record();
                    if (waitForCopy) {
                        device.compute().await(copied);
                    }
                    device.compute().ops().add(sum, slot, 1000);
                }
                device.compute().synchronize();
            }
            assertThat(driver.findings()).extracting(Finding::kind).contains(Finding.Kind.RACE);
        }
    }

    @Test
    void eventsAreReusedOnceTheyAreComplete() {
        List<Event> all = new ArrayList<>();
        try (CopyStream copies = device.openCopyStream()) {
            for (int i = 0; i < 1000; i++) {
                Event event = i % 2 == 0 ? device.compute().record() : copies.record();
                event.await();
                all.add(event);
            }
            long live = driver.live().events();
            assertThat(live).isLessThan(20);
            // Complete events stay complete, whatever their driver event stands for now.
            assertThat(all).allMatch(Event::isComplete);
            all.forEach(device.compute()::await);
            all.forEach(Event::await);
            assertThat(driver.live().events()).isEqualTo(live);
        }
        assertNothingFound();
    }

    @Test
    void timedEventsOfAllStreamsShareOneClock() {
        reopen(Devices.settings()
                .virtualClock(Duration.ZERO)
                .link(1, 1, Duration.ZERO)
                .kernelTimes(Duration.ZERO, Duration.ofMillis(3)));
        try (HostMemory staging = device.allocateHost(1_000_000, "staging");
                CopyStream copies = device.openCopyStream();
                DeviceBuffer slot = device.allocate(1_000_000, "slot")) {
            Event begin = device.compute().recordTimed();
            Event copyBegin = copies.recordTimed();
            copies.copy(staging.memory(), slot, 0);
            Event copied = copies.recordTimed();
            device.compute().await(copied);
            device.compute().ops().scale(slot, 2, 1000);
            Event end = device.compute().recordTimed();
            end.await();
            assertThat(copyBegin.timeNanos() - begin.timeNanos()).isBetween(-100L, 100L);
            assertThat(copied.timeNanos() - copyBegin.timeNanos()).isBetween(999_000L, 1_001_000L);
            assertThat(end.timeNanos() - copied.timeNanos()).isBetween(2_999_000L, 3_001_000L);
            // A later event takes the driver's, but not the time.
            long reached = end.timeNanos();
            for (int i = 0; i < 10; i++) {
                device.compute().recordTimed().await();
            }
            assertThat(end.timeNanos()).isEqualTo(reached);
            assertThatThrownBy(() -> device.compute().record().timeNanos())
                    .isInstanceOf(UnsupportedOperationException.class);
        }
        assertNothingFound();
    }

    /** Who plans with the free memory has to know it. */
    @Test
    void operationsTakeNoMoreMemoryThanTheDeviceSays() {
        int rows = 300;
        int cols = 2048;
        SplittableRandom random = new SplittableRandom(5);
        int[] positions = IntStream.range(0, rows).toArray();
        Weight gain = Devices.weight(device, GgmlType.F16, 1, cols, Devices.randomBlocks(random, GgmlType.F16, cols));
        Weight w =
                Devices.weight(device, GgmlType.Q8_0, 4, cols, Devices.randomBlocks(random, GgmlType.Q8_0, 4 * cols));
        try (DeviceBuffer x = device.allocate(4L * rows * cols, "test");
                DeviceBuffer y = device.allocate(4L * rows * 4, "test")) {
            device.compute().synchronize();
            long before = driver.counter("device_used_bytes");
            Ops ops = device.compute().ops();
            ops.rmsNorm(x, rows, cols, gain, 1e-5f, x);
            for (float base : new float[] {1e4f, 1e6f}) {
                Rope rope = new Rope(Rope.Layout.ADJACENT, new float[] {1, 1 / base}, 1);
                ops.rope(x, rows, cols / 128, 128, rope, positions);
            }
            ops.matmul(w, x, 0, rows, y);
            ops.gatherRows(y, positions, rows, 4, x);
            device.compute().synchronize();
            long used = driver.counter("device_used_bytes") - before;
            // Most of the rest is for attention in long contexts.
            assertThat(used).isGreaterThan(2L * rows * cols).isLessThan(device.scratchBytes(rows, cols) - (64 << 20));
            assertThat(device.scratchBytes(rows, cols)).isLessThan(80 << 20);
        } finally {
            gain.buffer().close();
            w.buffer().close();
        }
        assertNothingFound();
    }

    @Test
    void locksMemoryInPlaceWhereTheSystemAllowsIt() {
        try (Arena arena = Arena.ofShared()) {
            MemorySegment memory = arena.allocate(1 << 16, 4096);
            try (HostMemory locked = device.pageLock(memory).orElseThrow()) {
                assertThat(locked.memory().address()).isEqualTo(memory.address());
                assertThat(driver.counter("page_locked_bytes")).isGreaterThanOrEqualTo(1 << 16);
                // what is locked already
                assertThat(device.pageLock(memory)).isEmpty();
            }
            for (int refusal : new int[] {
                CUresult.CUDA_ERROR_INVALID_VALUE, CUresult.CUDA_ERROR_NOT_SUPPORTED, CUresult.CUDA_ERROR_OUT_OF_MEMORY
            }) {
                driver.apply(Devices.settings().hostRegistrationAnswers(refusal));
                Optional<HostMemory> none = device.pageLock(memory);
                assertThat(none).isEmpty();
            }
            device.allocate(16, "still usable").close();
        }
    }

    @Test
    void closingTwiceAndClosingWithOpenThingsLeavesNothing() {
        device.allocate(1000, "left open");
        device.allocateHost(1000, "left open");
        CopyStream stream = device.openCopyStream();
        Event event = stream.record();
        DeviceBuffer buffer = device.allocate(1000, "closed later");
        device.close();
        device.close();
        buffer.close();
        stream.close();
        assertThat(event.isComplete()).isTrue();
        assertThatThrownBy(() -> device.allocate(1, "too late")).hasMessageContaining("closed");
        assertThatThrownBy(() -> buffer.upload(MemorySegment.ofArray(new byte[1]), 0))
                .hasMessageContaining("closed");
        assertNothingFound();
    }
}
