package dev.prefetch.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.backend.Tier;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.ServiceLoader;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CpuDeviceTest {

    private final Device device = new CpuBackendProvider().open(new DeviceOptions(2));

    @AfterEach
    void close() {
        device.close();
    }

    @Test
    void isFoundAsAService() {
        assertThat(ServiceLoader.load(BackendProvider.class).stream()
                        .map(p -> p.get().id()))
                .contains("cpu");
        assertThat(new CpuBackendProvider().availability()).isInstanceOf(BackendProvider.Availability.Available.class);
    }

    @Test
    void describesItself() {
        assertThat(device.backend()).isEqualTo("cpu");
        assertThat(device.tier()).isEqualTo(Tier.HOST);
        assertThat(device.description()).contains("2 threads", "kernels");
        assertThat(device.weightTypes()).hasSize(25);
    }

    @Test
    void buffersAreZeroedAndAligned() {
        for (long bytes : new long[] {1, 4096, 1 << 20, 5_000_001}) {
            CpuBuffer buffer = (CpuBuffer) device.allocate(bytes, "test");
            assertThat(buffer.byteSize()).isEqualTo(bytes);
            assertThat(buffer.address() % 64).isZero();
            byte[] contents = new byte[(int) bytes];
            buffer.download(0, MemorySegment.ofArray(contents));
            assertThat(contents).containsOnly(0);
            buffer.upload(MemorySegment.ofArray(new byte[] {7}), bytes - 1);
            buffer.download(bytes - 1, MemorySegment.ofArray(contents).asSlice(0, 1));
            assertThat(contents[0]).isEqualTo((byte) 7);
            buffer.close();
            buffer.close();
            assertThatThrownBy(buffer::address).isInstanceOf(IllegalStateException.class);
        }
    }

    @Test
    void refusesRangesThatLeaveABuffer() {
        DeviceBuffer buffer = device.allocate(10, "test");
        MemorySegment eleven = MemorySegment.ofArray(new byte[11]);
        assertThatThrownBy(() -> buffer.upload(eleven, 0)).isInstanceOf(IndexOutOfBoundsException.class);
        assertThatThrownBy(() -> buffer.upload(eleven.asSlice(0, 5), 6)).isInstanceOf(IndexOutOfBoundsException.class);
        assertThatThrownBy(() -> buffer.upload(eleven.asSlice(0, 5), -1)).isInstanceOf(IndexOutOfBoundsException.class);
        assertThatThrownBy(() -> buffer.download(1, eleven.asSlice(0, 10)))
                .isInstanceOf(IndexOutOfBoundsException.class);
    }

    @Test
    void namesThePurposeWhenMemoryIsRefused() {
        assertThatThrownBy(() -> device.allocate(1L << 60, "the KV cache"))
                .isInstanceOf(OutOfDeviceMemoryException.class)
                .hasMessageContaining("the KV cache")
                .hasMessageContaining(Long.toString(1L << 60));
        assertThatThrownBy(() -> device.allocate(0, "nothing")).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void wrapsWithoutCopying(@TempDir Path folder) throws IOException {
        try (Arena arena = Arena.ofShared()) {
            MemorySegment memory = arena.allocate(64);
            CpuBuffer buffer = (CpuBuffer) device.wrap(memory.asSlice(16));
            assertThat(buffer.address()).isEqualTo(memory.address() + 16);
            buffer.upload(MemorySegment.ofArray(new byte[] {5}), 0);
            assertThat(memory.get(ValueLayout.JAVA_BYTE, 16)).isEqualTo((byte) 5);
            buffer.close();
            assertThat(memory.get(ValueLayout.JAVA_BYTE, 16)).isEqualTo((byte) 5);
        }
        assertThatThrownBy(() -> device.wrap(MemorySegment.ofArray(new byte[8])))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("outside the heap");
        Path file = Files.write(folder.resolve("weights"), new byte[64]);
        try (Arena arena = Arena.ofShared();
                FileChannel channel = FileChannel.open(file)) {
            DeviceBuffer mapped = device.wrap(channel.map(FileChannel.MapMode.READ_ONLY, 0, 64, arena));
            Ops ops = device.compute().ops();
            DeviceBuffer sum = device.allocate(64, "sum");
            ops.add(sum, mapped, 16);
            assertThatThrownBy(() -> ops.add(mapped, sum, 16))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("read-only");
        }
    }

    @Test
    void memoryOfAClosedArenaIsRefused() {
        DeviceBuffer buffer;
        try (Arena arena = Arena.ofShared()) {
            buffer = device.wrap(arena.allocate(64));
        }
        assertThatThrownBy(() -> device.compute().ops().add(buffer, buffer, 1))
                .isInstanceOf(IllegalStateException.class);
    }

    @Test
    void copiesRunInOrderAndBesideTheCaller() {
        SplittableRandom random = new SplittableRandom(1);
        byte[] expected = new byte[10_000];
        DeviceBuffer target = device.allocate(expected.length, "target");
        try (CopyStream stream = device.openCopyStream()) {
            for (int i = 0; i < 2000; i++) {
                byte[] piece = new byte[random.nextInt(1, 100)];
                random.nextBytes(piece);
                int at = random.nextInt(expected.length - piece.length);
                stream.copy(MemorySegment.ofArray(piece), target, at);
                System.arraycopy(piece, 0, expected, at, piece.length);
            }
            stream.record().await();
            byte[] actual = new byte[expected.length];
            target.download(0, MemorySegment.ofArray(actual));
            assertThat(actual).isEqualTo(expected);
        }
    }

    @Test
    void aCopyStreamWaitsForAnEventWithoutHoldingTheCaller() {
        Gate gate = new Gate();
        DeviceBuffer target = device.allocate(1, "target");
        byte[] seen = new byte[1];
        try (CopyStream stream = device.openCopyStream()) {
            stream.await(gate);
            stream.copy(MemorySegment.ofArray(new byte[] {9}), target, 0);
            Event copied = stream.record();
            assertThat(copied.isComplete()).isFalse();
            target.download(0, MemorySegment.ofArray(seen));
            assertThat(seen[0]).isZero();
            gate.open();
            copied.await();
            assertThat(copied.isComplete()).isTrue();
            target.download(0, MemorySegment.ofArray(seen));
            assertThat(seen[0]).isEqualTo((byte) 9);
        }
    }

    @Test
    void anOperationStartsAfterTheEventsItAwaits() {
        DeviceBuffer x = TestData.buffer((CpuDevice) device, 1, 2);
        DeviceBuffer y = device.allocate(8, "y");
        List<Event> awaited = new ArrayList<>();
        try (CopyStream stream = device.openCopyStream()) {
            stream.copy(MemorySegment.ofArray(new float[] {10, 20}), y, 0);
            Event copied = recording(stream.record(), awaited);
            device.compute().await(copied);
            assertThat(awaited).isEmpty();
            device.compute().ops().add(x, y, 2);
            assertThat(awaited).hasSize(1);
            assertThat(device.compute().record().isComplete()).isTrue();
            float[] sums = new float[2];
            x.download(0, MemorySegment.ofArray(sums));
            assertThat(sums).containsExactly(11, 22);
        }
    }

    @Test
    void anEventOfTheComputeStreamCoversWhatItAwaits() {
        Gate gate = new Gate();
        device.compute().await(gate);
        Event event = device.compute().record();
        assertThat(event.isComplete()).isFalse();
        gate.open();
        event.await();
        assertThat(event.isComplete()).isTrue();
        device.compute().synchronize();
    }

    @Test
    void aFailedCopyShowsInTheNextEventAndOnlyThere() {
        DeviceBuffer target = device.allocate(8, "target");
        DeviceBuffer other = device.allocate(8, "other");
        Gate gate = new Gate();
        try (CopyStream stream = device.openCopyStream()) {
            stream.await(gate);
            stream.copy(MemorySegment.ofArray(new byte[8]), target, 0);
            Event failed = stream.record();
            stream.copy(MemorySegment.ofArray(new byte[8]), other, 0);
            Event fine = stream.record();
            target.close();
            gate.open();
            fine.await();
            assertThat(failed.isComplete()).isTrue();
            assertThatThrownBy(failed::await)
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("closed");
            device.compute().await(failed);
            assertThatThrownBy(() -> device.compute().ops().add(other, other, 1))
                    .isInstanceOf(IllegalStateException.class);
            device.compute().ops().add(other, other, 1);
        }
    }

    @Test
    void copiesThatCannotFitAreRefusedAtOnce() {
        DeviceBuffer target = device.allocate(8, "target");
        CopyStream stream = device.openCopyStream();
        assertThatThrownBy(() -> stream.copy(MemorySegment.ofArray(new byte[5]), target, 4))
                .isInstanceOf(IndexOutOfBoundsException.class);
        stream.close();
        stream.close();
        assertThatThrownBy(stream::record).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void closingTheDeviceFinishesCopiesAndReleasesBuffers() {
        DeviceBuffer target = device.allocate(8 << 20, "target");
        CopyStream stream = device.openCopyStream();
        stream.copy(MemorySegment.ofArray(new byte[8 << 20]), target, 0);
        Event event = stream.record();
        device.close();
        assertThat(event.isComplete()).isTrue();
        event.await();
        assertThatThrownBy(() -> target.upload(MemorySegment.ofArray(new byte[1]), 0))
                .isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(() -> device.allocate(1, "late")).isInstanceOf(IllegalStateException.class);
    }

    private static Event recording(Event event, List<Event> awaited) {
        return new Event() {
            @Override
            public boolean isComplete() {
                return event.isComplete();
            }

            @Override
            public void await() {
                awaited.add(this);
                event.await();
            }
        };
    }

    /** An event that the test completes. */
    private static final class Gate implements Event {

        private final CountDownLatch latch = new CountDownLatch(1);
        private final AtomicBoolean open = new AtomicBoolean();

        void open() {
            open.set(true);
            latch.countDown();
        }

        @Override
        public boolean isComplete() {
            return open.get();
        }

        @Override
        public void await() {
            try {
                latch.await();
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
        }
    }
}
