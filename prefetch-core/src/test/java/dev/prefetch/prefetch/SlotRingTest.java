package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import dev.prefetch.prefetch.SlotRing.State;
import org.junit.jupiter.api.Test;

class SlotRingTest {

    private final SlotRing ring = new SlotRing(2);

    @Test
    void goesThroughItsStates() {
        assertThat(ring.state(0)).isEqualTo(State.EMPTY);
        SlotTicket ticket = ring.claim(7);
        assertThat(ticket).isEqualTo(new SlotTicket(0, 7, 1));
        assertThat(ring.state(0)).isEqualTo(State.FILLING);
        ring.publish(ticket);
        assertThat(ring.state(0)).isEqualTo(State.READY);
        ring.lease(ticket);
        ring.lease(ticket);
        assertThat(ring.describe(0)).isEqualTo("LEASED {block 7, generation 1, leases 2}");
        assertThat(ring.release(ticket, State.EMPTY)).isFalse();
        assertThat(ring.state(0)).isEqualTo(State.LEASED);
        assertThat(ring.release(ticket, State.EMPTY)).isTrue();
        assertThat(ring.state(0)).isEqualTo(State.EMPTY);
    }

    @Test
    void keepsTheBytesOfASlotReleasedAsReady() {
        SlotTicket ticket = ring.claim(7);
        ring.publish(ticket);
        ring.lease(ticket);
        ring.release(ticket, State.READY);
        ring.lease(ticket);
        assertThat(ring.state(0)).isEqualTo(State.LEASED);
    }

    @Test
    void hasNothingToClaimWhenAllSlotsAreUsed() {
        assertThat(ring.claim(1)).isNotNull();
        assertThat(ring.claim(2)).isNotNull();
        assertThat(ring.claim(3)).isNull();
    }

    @Test
    void refusesEveryActionOnAStaleTicket() {
        SlotTicket stale = ring.claim(7);
        ring.abort(stale);
        SlotTicket fresh = ring.claim(7);
        assertThat(fresh.slot()).isEqualTo(stale.slot());
        refuses(() -> ring.publish(stale));
        refuses(() -> ring.abort(stale));
        ring.publish(fresh);
        refuses(() -> ring.lease(stale));
        refuses(() -> ring.discard(stale));
        ring.lease(fresh);
        refuses(() -> ring.release(stale, State.EMPTY));
        assertThat(ring.describe(0)).isEqualTo("LEASED {block 7, generation 2, leases 1}");
    }

    @Test
    void refusesActionsInTheWrongState() {
        SlotTicket ticket = ring.claim(7);
        refuses(() -> ring.lease(ticket));
        refuses(() -> ring.discard(ticket));
        refuses(() -> ring.release(ticket, State.EMPTY));
        ring.publish(ticket);
        refuses(() -> ring.publish(ticket));
        refuses(() -> ring.abort(ticket));
        refuses(() -> ring.release(ticket, State.EMPTY));
        ring.lease(ticket);
        refuses(() -> ring.publish(ticket));
        assertThat(ring.discard(ticket)).isFalse();
        ring.release(ticket, State.EMPTY);
        refuses(() -> ring.lease(ticket));
    }

    private void refuses(Runnable action) {
        assertThatExceptionOfType(SlotStateException.class)
                .isThrownBy(action::run)
                .withMessageContaining("slot 0")
                .withMessageContaining("expected")
                .withMessageContaining("but was");
    }

    @Test
    void carriesLargeBlockIndicesAndManyLeases() {
        SlotTicket ticket = ring.claim(SlotRing.MAX_BLOCK);
        ring.publish(ticket);
        for (int i = 0; i < SlotRing.MAX_LEASES; i++) {
            ring.lease(ticket);
        }
        assertThatExceptionOfType(SlotStateException.class).isThrownBy(() -> ring.lease(ticket));
        for (int i = 1; i < SlotRing.MAX_LEASES; i++) {
            assertThat(ring.release(ticket, State.EMPTY)).isFalse();
        }
        assertThat(ring.release(ticket, State.EMPTY)).isTrue();
        assertThatIllegalArgumentException().isThrownBy(() -> ring.claim(SlotRing.MAX_BLOCK + 1));
    }
}
