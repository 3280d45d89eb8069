package dev.prefetch.inference;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.inference.KvLayout.Span;
import dev.prefetch.inference.PromptCache.Node;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;

/**
 * Copies of the state that a sequence's layers of linear attention have at some positions of its prompt, made for the prompt
 * cache while a sweep passes those positions: layer by layer, so no sweep has to end there.
 *
 * <p>How it works: a state is large and what is between two copies has to be computed again, so copies are few: at the last
 * end of a page in front of the prompt's end, where the conversation goes on; where the prompt leaves what others began with
 * as well; and otherwise as far apart as a copy and the keys and values in between take the same memory. A copy in
 * the making counts as memory in use; once its positions are computed it belongs to a node of the cache, idle. Where there is
 * no room beside what is in use, none is made. Used by the compute thread only.
 */
final class StateSnapshots {

    private static final int PAGE = KvLayout.PAGE_TOKENS;

    private final KvPool pool;
    private final int sharedTokens;
    private final int spacing;
    private final List<Snapshot> pending = new ArrayList<>();

    /**
     * A copy in the making.
     *
     * @param position where the state goes on, the end of a page
     * @param buffer laid out as the state itself
     */
    record Snapshot(int position, DeviceBuffer buffer) {}

    /** @param sharedTokens what of the prompt others began with too, a whole number of pages */
    StateSnapshots(KvPool pool, int sharedTokens) {
        this.pool = pool;
        this.sharedTokens = sharedTokens;
        this.spacing = spacing(pool.layout());
    }

    /** Positions between copies of a long prompt. */
    static int spacing(KvLayout layout) {
        long page = layout.pageBytes(Span.FULL);
        long pages = page == 0 ? 1 : Math.ceilDiv(layout.pageBytes(Span.STATE), page);
        return Math.toIntExact(Math.min(pages * PAGE, 1 << 20));
    }

    /**
     * Takes memory for the copies of a sweep over the positions {@code from .. to}.
     *
     * @param end the last position at which somebody may go on, where the sweep ends the prompt; else 0
     */
    void plan(int from, int to, int end) {
        discard();
        TreeSet<Integer> positions = new TreeSet<>();
        for (int position = (from / spacing + 1) * spacing; position <= to; position += spacing) {
            positions.add(position);
        }
        positions.add(sharedTokens);
        positions.add(end / PAGE * PAGE);
        for (int position : positions.descendingSet()) {
            if (position > from && position <= to) {
                try {
                    DeviceBuffer buffer = pool.takeForSnapshot();
                    if (buffer == null) {
                        break;
                    }
                    pending.addFirst(new Snapshot(position, buffer));
                } catch (OutOfDeviceMemoryException e) {
                    // Then the next prompt computes more than it might have to.
                    break;
                }
            }
        }
    }

    /** The copies of the sweep, in ascending order of their positions. */
    List<Snapshot> pending() {
        return pending;
    }

    /**
     * Leaves the copies of a completed sweep to the cache.
     *
     * @param nodes of the pages in front, as many as there are
     */
    void keep(List<Node> nodes) {
        for (Snapshot snapshot : pending) {
            int page = snapshot.position() / PAGE - 1;
            if (page < nodes.size()) {
                pool.keepSnapshot(nodes.get(page), snapshot.buffer());
            } else {
                pool.dropSnapshot(snapshot.buffer());
            }
        }
        pending.clear();
    }

    /** Gives the memory of copies back that were not completed. */
    void discard() {
        pending.forEach(snapshot -> pool.dropSnapshot(snapshot.buffer()));
        pending.clear();
    }
}
