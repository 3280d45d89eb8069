package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.DeltaShape;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.testing.MeteredBackend;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class KvPoolTest {

    private static final AttentionShape SHAPE = new AttentionShape(4, 2, 8, 4, 1, 0, 0);
    private static final int LAYERS = 3;
    private static final KvLayout LAYOUT = new KvLayout(Collections.nCopies(LAYERS, SHAPE), GgmlType.F32);

    /** Positions x layers x heads x (key + value) x four bytes. */
    private static final long PAGE_BYTES = 64L * 3 * 2 * (8 + 4) * 4;

    private final AtomicBoolean refusing = new AtomicBoolean();
    private final Device device =
            MeteredBackend.metered(MeteredBackend.cpu().open(new DeviceOptions(1)), purpose -> refusing.get());
    private final KvPool pool = new KvPool(device, LAYOUT, 64, 3 * PAGE_BYTES, 0);

    @AfterEach
    void close() {
        pool.close();
        device.close();
    }

    @Test
    void promisesWholePagesAndNoMoreThanThereAre() {
        KvCache one = pool.open(64);
        KvCache two = pool.open(65);
        assertThat(pool.hasRoomFor(1)).isFalse();
        assertThatIllegalStateException()
                .isThrownBy(() -> pool.open(1))
                .withMessage("KV cache has 0 bytes left but " + PAGE_BYTES + " are needed");
        one.close();
        assertThat(pool.hasRoomFor(64)).isTrue();
        assertThat(pool.hasRoomFor(65)).isFalse();
        two.close();
        assertThat(pool.hasRoomFor(3 * 64)).isTrue();
        assertThat(pool.hasRoomFor(Integer.MAX_VALUE)).isFalse();
    }

    @Test
    void allocatesAPageWhenItsFirstPositionIsUsed() {
        long before = MeteredBackend.allocatedBytes();
        KvCache cache = pool.open(130);
        assertThat(MeteredBackend.allocatedBytes() - before).isZero();
        cache.ensure(0, 64);
        assertThat(MeteredBackend.allocatedBytes() - before).isEqualTo(PAGE_BYTES);
        cache.ensure(0, 65);
        cache.ensure(0, 128);
        assertThat(MeteredBackend.allocatedBytes() - before).isEqualTo(2 * PAGE_BYTES);
        assertThat(LAYOUT.pageBytes(KvLayout.Span.FULL)).isEqualTo(PAGE_BYTES);
    }

    @Test
    void reusesThePagesThatCameBack() {
        KvCache first = pool.open(3 * 64);
        first.ensure(0, 3 * 64);
        DeviceBuffer page = first.layer(0).page(0);
        first.close();
        long before = MeteredBackend.allocatedBytes();
        KvCache second = pool.open(3 * 64);
        second.ensure(0, 3 * 64);
        assertThat(MeteredBackend.allocatedBytes()).isEqualTo(before);
        assertThat(second.layer(0).page(0)).isSameAs(page);
    }

    @Test
    void givesBackOnlyOnce() {
        KvCache cache = pool.open(64);
        cache.ensure(0, 1);
        cache.close();
        cache.close();
        KvCache all = pool.open(3 * 64);
        all.ensure(0, 3 * 64);
        assertThat(pool.hasRoomFor(1)).isFalse();
        assertThat(all.layer(0).page(0))
                .isNotSameAs(all.layer(0).page(1))
                .isNotSameAs(all.layer(0).page(2));
    }

    @Test
    void holdsASequenceToItsPromise() {
        KvCache cache = pool.open(64);
        assertThatIllegalStateException().isThrownBy(() -> cache.ensure(0, 65)).withMessageContaining("promised 1");
    }

    @Test
    void aPromiseGrowsPageByPageAsLongAsThereIsRoom() {
        KvCache one = pool.open(1);
        KvCache two = pool.open(64);
        assertThat(one.promise(64)).isTrue();
        assertThat(pool.bytesInUse()).as("its page has room for that").isEqualTo(2 * PAGE_BYTES);
        assertThat(one.promise(65)).isTrue();
        assertThat(one.promisedTokens()).isEqualTo(128);
        assertThat(pool.bytesInUse()).isEqualTo(3 * PAGE_BYTES);
        assertThat(two.promise(65)).isFalse();
        assertThat(two.promisedTokens()).isEqualTo(64);
        assertThat(pool.bytesInUse()).isEqualTo(3 * PAGE_BYTES);
        one.ensure(0, 128);
        one.close();
        assertThat(two.promise(3 * 64)).isTrue();
        two.ensure(0, 3 * 64);
        two.close();
        assertThat(pool.bytesInUse()).isZero();
        assertThat(pool.pagesTaken()).isZero();
    }

    @Test
    void aRefusedPageLeavesThePromiseAndThePagesBefore() {
        KvCache cache = pool.open(128);
        cache.ensure(0, 64);
        refusing.set(true);
        assertThatExceptionOfType(OutOfDeviceMemoryException.class).isThrownBy(() -> cache.ensure(0, 65));
        cache.close();
        KvCache next = pool.open(3 * 64);
        next.ensure(0, 64);
        assertThat(next.layer(0).page(0).byteSize()).isEqualTo(PAGE_BYTES);
    }

    @Test
    void pagesTakeTheBytesOfTheirType() {
        List<AttentionShape> layers = List.of(
                new AttentionShape(4, 2, 64, 32, 1, 0, 0),
                new AttentionShape(4, 2, 64, 32, 1, 0, 100),
                new AttentionShape(4, 2, 96, 32, 1, 0, 0));
        KvLayout f32 = new KvLayout(layers, GgmlType.F32);
        KvLayout f16 = new KvLayout(layers, GgmlType.F16);
        KvLayout q80 = new KvLayout(layers, GgmlType.Q8_0);
        for (KvLayout.Span span : List.of(KvLayout.Span.FULL, KvLayout.Span.WINDOW)) {
            assertThat(2 * f16.pageBytes(span)).isEqualTo(f32.pageBytes(span));
            // 34 bytes for 32 elements.
            assertThat(128 * q80.pageBytes(span)).isEqualTo(34 * f32.pageBytes(span));
        }
        assertThat(q80.pageBytes(KvLayout.Span.FULL)).isEqualTo(64L * 2 * (64 + 32 + 96 + 32) / 32 * 34);
        assertThat(q80.keyOffset(2)).isEqualTo(64L * 2 * (64 + 32) / 32 * 34);
        assertThat(q80.valueOffset(2)).isEqualTo(64L * 2 * (64 + 32 + 96) / 32 * 34);
        assertThat(2 * f16.sequenceBytes(1000, 16)).isEqualTo(f32.sequenceBytes(1000, 16));
        assertThatIllegalArgumentException().isThrownBy(() -> new KvLayout(List.of(SHAPE), GgmlType.Q8_0));
    }

    @Test
    void aStateIsPartOfThePromiseAndIsThereOnceForASequence() {
        DeltaShape delta = new DeltaShape(2, 4, 8, 4, false);
        KvLayout layout = new KvLayout(Arrays.asList(null, SHAPE, null), GgmlType.F32, delta);
        // Three rows of queries, keys and values, and four matrices, of four bytes, in two layers.
        long state = 2 * (3L * (2 * 2 * 8 + 4 * 8) + 4 * 8 * 8) * 4;
        long page = PAGE_BYTES / LAYERS;
        assertThat(layout.pageBytes(KvLayout.Span.STATE)).isEqualTo(state);
        assertThat(layout.stateOffset(0)).isZero();
        assertThat(layout.stateOffset(2)).isEqualTo(state / 2);
        assertThat(layout.sequenceBytes(65, 1)).isEqualTo(2 * page + state);
        try (KvPool own = new KvPool(device, layout, 64, 3 * page + 2 * state, 0)) {
            long before = MeteredBackend.allocatedBytes();
            KvCache one = own.open(65);
            KvCache two = own.open(64);
            assertThat(own.hasRoomFor(1)).isFalse();
            one.ensure(0, 64);
            two.ensure(0, 1);
            one.ensure(64, 65);
            assertThat(MeteredBackend.allocatedBytes() - before).isEqualTo(3 * page + 2 * state);
            assertThat(one.state()).isNotSameAs(two.state());
            DeviceBuffer first = one.state();
            one.close();
            KvCache three = own.open(1);
            three.ensure(0, 1);
            assertThat(three.state()).isSameAs(first);
            assertThat(MeteredBackend.allocatedBytes() - before).isEqualTo(3 * page + 2 * state);
            two.close();
            three.close();
            assertThat(own.bytesInUse()).isZero();
            assertThat(own.pagesTaken()).isZero();
        }
    }

    @Test
    void aStateGoesOnWhereItStands() {
        KvLayout layout = new KvLayout(Arrays.asList(null, SHAPE), GgmlType.F32, new DeltaShape(1, 1, 8, 2, false));
        try (KvPool own = new KvPool(device, layout, 64, 1 << 20, 0);
                KvCache cache = own.open(64)) {
            assertThatIllegalStateException().isThrownBy(cache::state);
            cache.ensure(0, 3);
            assertThatIllegalStateException()
                    .isThrownBy(() -> cache.ensure(2, 4))
                    .withMessageContaining("position 3")
                    .withMessageContaining("2 cannot");
            cache.ensure(3, 4);
            assertThatIllegalArgumentException().isThrownBy(() -> cache.stateOffset(1));
        }
        assertThatIllegalArgumentException()
                .isThrownBy(() -> new KvLayout(Collections.singletonList(null), GgmlType.F32));
    }

    @Test
    void layersAndHeadsShareAPageWithoutOverlap() {
        KvCache cache = pool.open(1);
        for (int layer = 0; layer < LAYERS; layer++) {
            assertThat(cache.layer(layer).keyOffset()).isEqualTo(layer * PAGE_BYTES / LAYERS);
            assertThat(cache.layer(layer).valueOffset()).isEqualTo(layer * PAGE_BYTES / LAYERS + 64 * 2 * 8 * 4);
            assertThat(cache.layer(layer).pageTokens()).isEqualTo(64);
        }
    }
}
