package dev.prefetch.inference;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.inference.KvLayout.Span;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.BiConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Keys and values of prompts, kept after the sequence that computed them, as a tree: a node is the tokens of a page, and
 * the way from the root to it is everything that stands before.
 *
 * <p>How it works. A full page that a sequence's prompt has filled becomes a node and is shared from then on: whoever begins
 * with the same tokens reads it, and nobody writes it again. The page that a prompt fills only in part becomes a node when
 * its sequence ends, and is copied by who goes on from it. Only positions computed by prefill kernels are kept, so what is
 * taken from here has the bits that computing it again would give. Pages of layers with a window belong to one
 * sequence at a time; a node has one only as long as somebody left it there. Where layers have a state, computing can only go on behind a node that has a copy of
 * it, and a page filled in part is of no use. What no running sequence uses is given up when its place is needed, what
 * was not used for longest first. Used by the compute thread only.
 */
final class PromptCache {

    private final KvLayout layout;
    private final long mostIdleBytes;
    private final BiConsumer<Span, DeviceBuffer> free;
    private final Node root = new Node(null, new int[0], null);
    private long pinnedBytes;
    private long idleBytes;
    private long clock;

    /** @param free takes a page that is not needed any more */
    PromptCache(KvLayout layout, long mostIdleBytes, BiConsumer<Span, DeviceBuffer> free) {
        this.layout = layout;
        this.mostIdleBytes = mostIdleBytes;
        this.free = free;
    }

    /** Whether anything is ever kept. */
    boolean enabled() {
        return mostIdleBytes > 0;
    }

    /** Bytes of the pages that running sequences share or may share. */
    long pinnedBytes() {
        return pinnedBytes;
    }

    /** Bytes of the pages that no running sequence uses. */
    long idleBytes() {
        return idleBytes;
    }

    /** Whether so many bytes more may lie idle. */
    boolean hasRoomFor(long bytes) {
        return bytes <= mostIdleBytes - idleBytes;
    }

    /** All nodes, each behind its parent. */
    List<Node> nodes() {
        List<Node> nodes = new ArrayList<>(root.children);
        for (int i = 0; i < nodes.size(); i++) {
            nodes.addAll(nodes.get(i).children);
        }
        return nodes;
    }

    /** The node of the page before; null for the first. */
    @Nullable
    Node parentOf(Node node) {
        return node.parent == root ? null : node.parent;
    }

    /**
     * Adds a page that was kept elsewhere. Nodes come in the order of {@link #nodes()}, into a cache that nobody has used yet.
     *
     * @param lastUsed the larger, the later it is given up
     * @return null when nothing can be there: it follows a page that is not full, or its tokens are there already
     */
    @Nullable
    Node restore(
            @Nullable Node parent,
            int[] tokens,
            @Nullable DeviceBuffer full,
            @Nullable DeviceBuffer window,
            long lastUsed) {
        Node above = parent == null ? root : parent;
        boolean known = above.children.stream().anyMatch(child -> Arrays.equals(child.tokens, tokens));
        if (known || above != root && !above.isFull()) {
            return null;
        }
        Node node = new Node(above, tokens, full);
        node.lastUsed = lastUsed;
        clock = Math.max(clock, lastUsed);
        idleBytes += layout.pageBytes(Span.FULL);
        above.children.add(node);
        if (window != null) {
            leaveWindow(node, window);
        }
        return node;
    }

    /** The longest beginning of {@code tokens} that is here, of at most {@code most} of them. */
    Match match(int[] tokens, int most) {
        List<Node> shared = new ArrayList<>();
        Node at = root;
        while ((shared.size() + 1) * KvLayout.PAGE_TOKENS <= most) {
            Node next = child(at, tokens, shared.size() * KvLayout.PAGE_TOKENS);
            if (next == null) {
                break;
            }
            shared.add(next);
            at = next;
        }
        int length = shared.size() * KvLayout.PAGE_TOKENS;
        if (layout.hasState()) {
            while (!shared.isEmpty() && shared.getLast().state == null) {
                shared.removeLast();
            }
            return new Match(shared, null, 0, false, length, false);
        }
        Node partial = null;
        int best = 0;
        for (Node child : at.children) {
            int common = Math.min(child.common(tokens, length), most - length);
            if (common > best && seesItsWindow(shared, child, length + common)) {
                best = common;
                partial = child;
            }
        }
        return partial == null ? fullPages(shared) : new Match(shared, partial, best, false);
    }

    /** A match of whole pages only, as many as computing can go on behind. */
    Match fullPages(List<Node> shared) {
        List<Node> nodes = new ArrayList<>(shared);
        while (!seesItsWindow(nodes, null, nodes.size() * KvLayout.PAGE_TOKENS)) {
            nodes.removeLast();
        }
        return new Match(nodes, null, 0, false);
    }

    /** Bytes that cannot be given up while a match is taken over, beyond those that cannot be now. */
    long heldBytes(Match match) {
        long bytes = 0;
        for (Node node : match.shared()) {
            bytes += node.pins == 0 ? layout.pageBytes(Span.FULL) : 0;
        }
        Node partial = match.partial();
        if (partial != null && !match.takesPartial()) {
            bytes += partial.pins == 0 ? layout.pageBytes(Span.FULL) : 0;
            bytes += partial.ownsWindow ? layout.pageBytes(Span.WINDOW) : 0;
        }
        if (layout.hasState() && !match.shared().isEmpty() && !match.takesState()) {
            bytes += layout.pageBytes(Span.STATE);
        }
        return bytes;
    }

    /** The same match with what would be copied taken instead; null when somebody needs it here. */
    @Nullable
    Match takingPartial(Match match) {
        if (layout.hasState()) {
            return match.shared().isEmpty() ? null : match.takingState();
        }
        Node partial = match.partial();
        boolean free = partial != null && partial.isUnused() && (!layout.slides() || partial.ownsWindow);
        return free ? new Match(match.shared(), partial, match.partialTokens(), true) : null;
    }

    /** Hands the pages of a node over that is forgotten with it. */
    void take(Node node) {
        above(node).children.remove(node);
        idleBytes -= layout.pageBytes(Span.FULL);
        lendWindow(node);
    }

    /**
     * Hands a node's page of the layers with a window over to a sequence, which leaves it here again later and changes
     * nothing in it meanwhile; null when it is another sequence's.
     */
    @Nullable
    DeviceBuffer lendWindow(Node node) {
        if (!node.ownsWindow) {
            return null;
        }
        node.ownsWindow = false;
        idleBytes -= layout.pageBytes(Span.WINDOW);
        return node.window;
    }

    /** A copy of the state behind a node's last token, which becomes the node's unless it has one. */
    void leaveState(Node node, DeviceBuffer page) {
        if (node.state != null) {
            free.accept(Span.STATE, page);
            return;
        }
        node.state = page;
        node.stateUsed = ++clock;
        idleBytes += layout.pageBytes(Span.STATE);
        limit();
    }

    /** Hands a node's copy of the state over to a sequence, which goes on from it. */
    DeviceBuffer takeState(Node node) {
        DeviceBuffer page = stateOf(node);
        node.state = null;
        idleBytes -= layout.pageBytes(Span.STATE);
        return page;
    }

    /** A node's copy of the state, which a sequence goes on from. */
    DeviceBuffer stateOf(Node node) {
        if (node.state == null) {
            throw new IllegalStateException("the state of a match is gone");
        }
        node.stateUsed = ++clock;
        return node.state;
    }

    /** Gives up what was not used for longest until so much more may lie idle; false when that cannot be. */
    boolean makeRoomFor(long bytes) {
        while (!hasRoomFor(bytes)) {
            if (bytes > mostIdleBytes || !evict()) {
                return false;
            }
        }
        return true;
    }

    private static @Nullable Node child(Node parent, int[] tokens, int from) {
        for (Node child : parent.children) {
            if (child.isFull() && child.common(tokens, from) == KvLayout.PAGE_TOKENS) {
                return child;
            }
        }
        return null;
    }

    /** Whether the pages are there that layers with a window need when computing goes on at {@code position}. */
    private boolean seesItsWindow(List<Node> shared, @Nullable Node partial, int position) {
        if (layout.slides() && position > 0) {
            for (int page = layout.firstSeen(position) / KvLayout.PAGE_TOKENS;
                    page <= (position - 1) / KvLayout.PAGE_TOKENS;
                    page++) {
                Node node = page < shared.size() ? shared.get(page) : partial;
                if (node == null || node.window == null) {
                    return false;
                }
            }
        }
        return true;
    }

    /**
     * Makes a sequence's full page a node, or finds the one that has the same tokens; either is pinned.
     *
     * @param tokens tokens of the sequence
     * @param page index of the page
     * @param window the sequence's own page of the layers with a window, which the node may show while the sequence has it
     * @return the node; when its page is another than the one given, that one is not needed any more
     */
    Node keepFull(
            @Nullable Node parent, int[] tokens, int page, @Nullable DeviceBuffer full, @Nullable DeviceBuffer window) {
        int from = page * KvLayout.PAGE_TOKENS;
        Node above = parent == null ? root : parent;
        Node node = child(above, tokens, from);
        if (node == null) {
            node = new Node(above, Arrays.copyOfRange(tokens, from, from + KvLayout.PAGE_TOKENS), full);
            idleBytes += layout.pageBytes(Span.FULL);
            dropBeginningsOf(node);
            above.children.add(node);
        }
        if (node.window == null) {
            node.window = window;
        }
        pin(node);
        return node;
    }

    /** Keeps the page that the end of a prompt fills in part, if nothing here begins with the same tokens. */
    boolean keepPartial(
            @Nullable Node parent,
            int[] tokens,
            int from,
            int count,
            @Nullable DeviceBuffer full,
            @Nullable DeviceBuffer window) {
        Node above = parent == null ? root : parent;
        for (Node child : above.children) {
            if (child.common(tokens, from) >= count && (!layout.slides() || child.window != null)) {
                return false;
            }
        }
        Node node = new Node(above, Arrays.copyOfRange(tokens, from, from + count), full);
        idleBytes += layout.pageBytes(Span.FULL);
        node.lastUsed = ++clock;
        dropBeginningsOf(node);
        above.children.add(node);
        if (window != null) {
            leaveWindow(node, window);
        }
        limit();
        return true;
    }

    private void dropBeginningsOf(Node node) {
        for (Node sibling : List.copyOf(above(node).children)) {
            if (sibling.isUnused()
                    && sibling.tokens.length < node.tokens.length
                    && node.common(sibling.tokens, 0) == sibling.tokens.length) {
                remove(sibling);
            }
        }
    }

    /** Keeps a node from being given up. */
    void pin(Node node) {
        if (node.pins++ == 0) {
            idleBytes -= layout.pageBytes(Span.FULL);
            pinnedBytes += layout.pageBytes(Span.FULL);
        }
        node.lastUsed = ++clock;
    }

    /** Takes a {@link #pin} back. */
    void unpin(Node node) {
        node.lastUsed = ++clock;
        if (--node.pins == 0) {
            pinnedBytes -= layout.pageBytes(Span.FULL);
            idleBytes += layout.pageBytes(Span.FULL);
        }
    }

    /** Leaves a page of the layers with a window, which its sequence does not need any more, to a node. */
    void leaveWindow(Node node, DeviceBuffer page) {
        if (node.window == null || (node.window == page && !node.ownsWindow)) {
            node.window = page;
            node.ownsWindow = true;
            idleBytes += layout.pageBytes(Span.WINDOW);
        } else {
            free.accept(Span.WINDOW, page);
        }
    }

    /** Gives up what is beyond the bytes that may lie idle. */
    void limit() {
        while (idleBytes > mostIdleBytes && evict()) {
            // until it is enough
        }
    }

    /** Gives up what was not used for longest; false when everything is in use. */
    boolean evict() {
        Node node = oldest();
        if (node == null) {
            return false;
        }
        if (node.isUnused()) {
            remove(node);
        } else {
            dropWindow(node);
            dropState(node);
        }
        return true;
    }

    /** A page of a window, a copy of a state, or a node that nothing follows: the one not used for longest. */
    private @Nullable Node oldest() {
        Node oldest = null;
        ArrayDeque<Node> left = new ArrayDeque<>(root.children);
        while (!left.isEmpty()) {
            Node node = left.poll();
            if (!node.copying
                    && (node.ownsWindow || node.state != null || node.isUnused())
                    && (oldest == null || age(node) < age(oldest))) {
                oldest = node;
            }
            left.addAll(node.children);
        }
        return oldest;
    }

    /** The smaller, the sooner it is given up. */
    private long age(Node node) {
        if (!layout.hasState()) {
            return node.lastUsed;
        }
        // Nobody can go on behind a last page without a state.
        return node.state == null ? 0 : node.stateUsed;
    }

    private void remove(Node node) {
        dropWindow(node);
        dropState(node);
        above(node).children.remove(node);
        idleBytes -= layout.pageBytes(Span.FULL);
        if (node.full != null) {
            free.accept(Span.FULL, node.full);
        }
    }

    private void dropWindow(Node node) {
        if (node.ownsWindow && node.window != null) {
            free.accept(Span.WINDOW, node.window);
            idleBytes -= layout.pageBytes(Span.WINDOW);
            node.ownsWindow = false;
            node.window = null;
        }
    }

    private void dropState(Node node) {
        if (node.state != null) {
            free.accept(Span.STATE, takeState(node));
        }
    }

    private static Node above(Node node) {
        if (node.parent == null) {
            throw new IllegalStateException("the root has no parent");
        }
        return node.parent;
    }

    /**
     * The tokens of a page, and what was computed for them.
     */
    static final class Node {

        private final @Nullable Node parent;
        private final List<Node> children = new ArrayList<>();
        private final int[] tokens;
        private final @Nullable DeviceBuffer full;
        private @Nullable DeviceBuffer window;
        private boolean ownsWindow;
        private @Nullable DeviceBuffer state;
        private long stateUsed;
        private boolean copying;
        private int pins;
        private long lastUsed;

        private Node(@Nullable Node parent, int[] tokens, @Nullable DeviceBuffer full) {
            this.parent = parent;
            this.tokens = tokens;
            this.full = full;
        }

        /** The page of the layers that see everything; null when there is no such layer. */
        @Nullable
        DeviceBuffer full() {
            return full;
        }

        /** The page of the layers with a window; null when it is not here. */
        @Nullable
        DeviceBuffer window() {
            return window;
        }

        /** The tokens of the page; not to be changed. */
        int[] tokens() {
            return tokens;
        }

        /** The page of the layers with a window, when it is this node's own and no sequence's; else null. */
        @Nullable
        DeviceBuffer ownWindow() {
            return ownsWindow ? window : null;
        }

        /** When it was used last, on the cache's clock. */
        long lastUsed() {
            return lastUsed;
        }

        private boolean isFull() {
            return tokens.length == KvLayout.PAGE_TOKENS;
        }

        private boolean isUnused() {
            return pins == 0 && children.isEmpty();
        }

        /** How many of the tokens are those of {@code other} from {@code from} on. */
        private int common(int[] other, int from) {
            int end = Math.min(tokens.length, other.length - from);
            int difference = Arrays.mismatch(tokens, 0, end, other, from, from + end);
            return difference < 0 ? end : difference;
        }
    }

    /**
     * What of a prompt is here.
     *
     * @param shared nodes of the full pages
     * @param partial the node of which a beginning comes next, or null
     * @param partialTokens how many of its tokens
     * @param takesPartial whether that node's page is taken instead of copied
     * @param knownTokens what others began with too, in whole pages; more than can be taken over where states are missing
     * @param takesState whether the last shared node's copy of the state is taken instead of copied once more
     */
    record Match(
            List<Node> shared,
            @Nullable Node partial,
            int partialTokens,
            boolean takesPartial,
            int knownTokens,
            boolean takesState) {

        Match(List<Node> shared, @Nullable Node partial, int partialTokens, boolean takesPartial) {
            this(shared, partial, partialTokens, takesPartial, 0, false);
        }

        Match takingState() {
            return new Match(shared, partial, partialTokens, takesPartial, knownTokens, true);
        }

        /** Nothing taken over of what is known. */
        Match withoutPages() {
            return new Match(List.of(), null, 0, false, knownTokens, false);
        }

        /** Positions in all. */
        int tokens() {
            return shared.size() * KvLayout.PAGE_TOKENS + partialTokens;
        }

        /** Keeps what is copied from being given up meanwhile. */
        void copying(boolean value) {
            if (partial != null) {
                partial.copying = value;
            }
            if (!takesState && !shared.isEmpty() && shared.getLast().state != null) {
                // Its pages are pinned, but a copy of a state is not.
                shared.getLast().copying = value;
            }
        }
    }
}
