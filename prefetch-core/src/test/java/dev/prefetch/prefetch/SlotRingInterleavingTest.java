package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.prefetch.Interleavings.Actor;
import dev.prefetch.prefetch.SlotRing.State;
import org.junit.jupiter.api.Test;

/** The slots' state machine under every order of the accesses of a few actors. */
class SlotRingInterleavingTest {

    /** Fills a slot with a block, in two writes, and hands the ticket on; does nothing when no slot is empty. */
    private static Actor reader(int block, int box) {
        return (ring, shared) -> {
            SlotTicket ticket = ring.claim(block);
            if (ticket == null) {
                return;
            }
            shared.write(ticket.slot(), 0, stamp(ticket));
            shared.write(ticket.slot(), 1, stamp(ticket));
            ring.publish(ticket);
            shared.hand(box, ticket);
        };
    }

    /** Gives up in the middle of filling. */
    private static Actor abortingReader(int block) {
        return (ring, shared) -> {
            SlotTicket ticket = ring.claim(block);
            if (ticket != null) {
                shared.write(ticket.slot(), 0, stamp(ticket));
                ring.abort(ticket);
            }
        };
    }

    /** Reads a block under a lease; a discarded block may be refused, but wrong bytes may never be seen. */
    private static Actor compute(int box, boolean mayBeRefused) {
        return (ring, shared) -> {
            SlotTicket ticket = shared.take(box);
            try {
                ring.lease(ticket);
            } catch (SlotStateException e) {
                if (!mayBeRefused) {
                    throw e;
                }
                return;
            }
            long first = shared.read(ticket.slot(), 0);
            long second = shared.read(ticket.slot(), 1);
            if (first != stamp(ticket) || second != stamp(ticket)) {
                throw new AssertionError("read " + first + " and " + second + " under a lease of " + ticket);
            }
            ring.release(ticket, State.EMPTY);
        };
    }

    /** Gives a filled block up, unless somebody was faster. */
    private static Actor discarder(int box) {
        return (ring, shared) -> {
            SlotTicket ticket = shared.take(box);
            try {
                ring.discard(ticket);
            } catch (SlotStateException e) {
                // Read and released before: the ticket is stale, and nothing may have happened.
            }
        };
    }

    private static long stamp(SlotTicket ticket) {
        return ticket.block() * 1000L + ticket.generation();
    }

    @Test
    void neverShowsAnotherBlockWhileSlotsAreRefilled() {
        int points = Interleavings.explore(1, reader(1, 0), compute(0, false), reader(2, 1), compute(1, false));
        assertThat(points).isGreaterThan(100);
    }

    @Test
    void neverShowsAnotherBlockWhenBlocksAreDiscardedMeanwhile() {
        Interleavings.explore(1, reader(1, 0), compute(0, true), discarder(0), reader(2, 1), compute(1, false));
    }

    @Test
    void sharesALeaseAmongReadersAndEmptiesTheSlotOnce() {
        Interleavings.explore(1, reader(1, 0), compute(0, true), compute(0, true), discarder(0), reader(2, 1));
    }

    @Test
    void givesTwoReadersTwoSlots() {
        Interleavings.explore(2, reader(1, 0), reader(2, 1), compute(0, false), compute(1, false), reader(3, 2));
    }

    @Test
    void survivesReadersThatGiveUp() {
        Interleavings.explore(1, abortingReader(1), reader(2, 0), compute(0, false), abortingReader(3));
    }

    @Test
    void theExplorationNoticesAnUncheckedTransition() {
        assertThatThrownBy(() ->
                        Interleavings.exploreBroken(1, reader(1, 0), compute(0, true), discarder(0), reader(2, 1)))
                .isInstanceOf(AssertionError.class)
                .hasMessageContaining("after A");
    }
}
