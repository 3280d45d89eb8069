package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.backend.Event;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.BlockLayout.Part;
import dev.prefetch.storage.StorageException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The order in which chunks enter a device's copy stream. */
@Timeout(30)
class DeviceLinkTest {

    private static final int CHUNK = 64 << 10;

    private final TestModel model = TestModel.dense(2, 256);
    private final TestDevice device = new TestDevice();
    private final TestReader reader = new TestReader(model.fileSize);
    private final DeviceLink link = new DeviceLink(
            device, new DeviceLink.Sources(reader, null, block -> false, LockedFiles.NONE), CHUNK, false);
    private final ExecutorService threads = Executors.newCachedThreadPool();

    @AfterEach
    void close() {
        threads.shutdown();
        link.close();
    }

    @Test
    void aSlowReadIsNotOvertakenByTheNextBlock() throws Exception {
        Transfer first = transfer(model.blocks.get(2), TestDevice.DONE);
        Transfer second = transfer(model.blocks.get(4), TestDevice.DONE);
        int chunks = first.chunks.size();
        for (int i = 0; i < chunks - 1; i++) {
            link.deliver(first, first.chunks.get(i), i);
        }
        // The last of the first block hangs, and the next block's first is read meanwhile.
        CountDownLatch disk = new CountDownLatch(1);
        reader.before = () -> {
            try {
                disk.await();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        };
        CompletableFuture<Void> slow = deliver(first, chunks - 1, chunks - 1);
        while (reader.reading.get() == 0) {
            Thread.onSpinWait();
        }
        reader.before = () -> {};
        int before = device.copies.size();
        CompletableFuture<Void> next = deliver(second, 0, chunks);
        assertThatThrownBy(() -> next.get(200, TimeUnit.MILLISECONDS)).isInstanceOf(TimeoutException.class);
        assertThat(reader.reading).hasValue(1);
        assertThat(device.copies).hasSize(before);
        assertThat(first.arrival).isNull();
        disk.countDown();
        CompletableFuture.allOf(slow, next).get(20, TimeUnit.SECONDS);
        assertThat(first.arrival).isNotNull();
        // The event of the first block stands before the wait for the second one's memory.
        assertThat(device.copies.subList(before, device.copies.size()))
                .containsExactly(
                        first.chunks.get(chunks - 1).memoryOffset(),
                        "event",
                        "wait",
                        second.chunks.getFirst().memoryOffset());
        assertThat(second.arrival).isNull();
    }

    @Test
    void aFailedReadLetsTheNextThrough() throws Exception {
        Transfer first = transfer(model.blocks.get(2), null);
        Transfer second = transfer(model.blocks.get(4), null);
        long broken = first.chunks.getFirst().extent().offset();
        reader.broken = offset -> offset == broken;
        assertThatThrownBy(() -> link.deliver(first, first.chunks.getFirst(), 0))
                .isInstanceOf(StorageException.class);
        deliver(second, 0, 1).get(20, TimeUnit.SECONDS);
        assertThat(device.copies).containsExactly(second.chunks.getFirst().memoryOffset());
    }

    /** More threads than places: whoever is first has a place. */
    @Test
    void threadsInAnyOrderCannotBlockEachOther() throws Exception {
        Transfer transfer = transfer(model.blocks.get(2), null);
        int chunks = transfer.chunks.size();
        List<CompletableFuture<Void>> deliveries = new ArrayList<>();
        for (int turn = 40 * chunks - 1; turn >= 0; turn--) {
            deliveries.add(deliver(transfer, turn % chunks, turn));
        }
        CompletableFuture.allOf(deliveries.toArray(CompletableFuture[]::new)).get(20, TimeUnit.SECONDS);
        List<Object> offsets =
                device.copies.stream().filter(copy -> !copy.equals("event")).toList();
        for (int turn = 0; turn < offsets.size(); turn++) {
            assertThat(offsets.get(turn))
                    .isEqualTo(transfer.chunks.get(turn % chunks).memoryOffset());
        }
    }

    private CompletableFuture<Void> deliver(Transfer transfer, int chunk, long turn) {
        Part part = transfer.chunks.get(chunk);
        return CompletableFuture.runAsync(() -> link.deliver(transfer, part, turn), threads);
    }

    private Transfer transfer(WeightBlock block, @Nullable Event writeAfter) {
        BlockLayout layout = TestModel.layout(block);
        Transfer transfer = new Transfer(
                layout,
                link.allocate(layout.byteSize(), "test"),
                0,
                new Transfer.Owner() {
                    @Override
                    public void filled(Transfer done) {}

                    @Override
                    public void failed(Transfer done, Throwable cause) {}

                    @Override
                    public void dropped(Transfer done) {}
                },
                writeAfter);
        transfer.chunks = layout.chunks(CHUNK);
        return transfer;
    }
}
