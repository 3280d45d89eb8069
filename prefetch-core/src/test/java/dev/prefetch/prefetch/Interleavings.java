package dev.prefetch.prefetch;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * Runs actors on a slot ring in every possible order of their accesses to shared state: the states of the slots, the
 * slots' memory, and boxes through which tickets are handed on.
 *
 * <p>How it works: an actor is a function without side effects but its accesses. To let it do one more access it is run
 * again from its start, gets the answers of its earlier accesses from a log, does one new access and is stopped by an
 * exception. So a point of the exploration is the shared state and the logs, and orders that lead to the same point are
 * followed once. No threads are involved; what is run is the real ring.
 */
final class Interleavings {

    private final int slots;
    private final List<Actor> actors;
    private final boolean brokenCompareAndSet;
    private final Set<String> seen = new HashSet<>();
    private int ends;

    private Interleavings(int slots, boolean brokenCompareAndSet, List<Actor> actors) {
        this.slots = slots;
        this.brokenCompareAndSet = brokenCompareAndSet;
        this.actors = actors;
    }

    /** Explores; throws what an actor throws, with the order that led there. Returns the number of different points. */
    static int explore(int slots, Actor... actors) {
        Interleavings exploration = new Interleavings(slots, false, List.of(actors));
        exploration.follow(new Point(slots, actors.length), "");
        if (exploration.ends == 0) {
            throw new AssertionError("no order ran to its end");
        }
        return exploration.seen.size();
    }

    /** The same with states that are overwritten whatever they were, to see that the exploration notices. */
    static void exploreBroken(int slots, Actor... actors) {
        new Interleavings(slots, true, List.of(actors)).follow(new Point(slots, actors.length), "");
    }

    private void follow(Point point, String order) {
        if (!seen.add(point.key())) {
            return;
        }
        boolean moved = false;
        boolean waiting = false;
        for (int i = 0; i < actors.size(); i++) {
            if (point.done[i]) {
                continue;
            }
            Point next = point.copy();
            Turn turn = new Turn(next, i);
            String nextOrder = order + (char) ('A' + i);
            try {
                actors.get(i).act(new SlotRing(turn), turn);
                next.done[i] = true;
            } catch (Stopped stopped) {
                if (stopped.waits) {
                    waiting = true;
                    continue;
                }
            } catch (RuntimeException | AssertionError e) {
                throw new AssertionError("after " + nextOrder + ": " + e.getMessage(), e);
            }
            moved = true;
            follow(next, nextOrder);
        }
        if (!moved && waiting) {
            // The actor that would fill the box gave up: the others wait in vain, which the test allows.
            ends++;
        } else if (!moved) {
            ends++;
        }
    }

    /** A program without side effects but through its arguments. */
    @FunctionalInterface
    interface Actor {

        void act(SlotRing ring, Turn shared);
    }

    /** Shared state and what each actor has seen of it. */
    private static final class Point {

        final long[] words;
        final long[] memory;
        final long[] boxes = new long[4];
        final List<List<Long>> logs;
        final boolean[] done;

        Point(int slots, int actors) {
            this(new long[slots], new long[2 * slots], new ArrayList<>(), new boolean[actors]);
            for (int i = 0; i < actors; i++) {
                logs.add(List.of());
            }
        }

        private Point(long[] words, long[] memory, List<List<Long>> logs, boolean[] done) {
            this.words = words;
            this.memory = memory;
            this.logs = logs;
            this.done = done;
        }

        Point copy() {
            Point copy = new Point(words.clone(), memory.clone(), new ArrayList<>(logs), done.clone());
            System.arraycopy(boxes, 0, copy.boxes, 0, boxes.length);
            return copy;
        }

        String key() {
            return Arrays.toString(words)
                    + Arrays.toString(memory)
                    + Arrays.toString(boxes)
                    + logs
                    + Arrays.toString(done);
        }
    }

    /** One access of one actor. */
    final class Turn implements SlotRing.Cells {

        private final Point point;
        private final int actor;
        private int answered;
        private boolean used;

        Turn(Point point, int actor) {
            this.point = point;
            this.actor = actor;
        }

        private long access(java.util.function.LongSupplier action) {
            List<Long> log = point.logs.get(actor);
            if (answered < log.size()) {
                return log.get(answered++);
            }
            if (used) {
                throw new Stopped(false);
            }
            used = true;
            long answer = action.getAsLong();
            List<Long> longer = new ArrayList<>(log);
            longer.add(answer);
            point.logs.set(actor, List.copyOf(longer));
            answered++;
            return answer;
        }

        @Override
        public int size() {
            return slots;
        }

        @Override
        public long get(int slot) {
            return access(() -> point.words[slot]);
        }

        @Override
        public boolean compareAndSet(int slot, long expected, long next) {
            return access(() -> {
                        if (point.words[slot] != expected && !brokenCompareAndSet) {
                            return 0;
                        }
                        point.words[slot] = next;
                        return 1;
                    })
                    == 1;
        }

        /** Writes one half of a slot's memory. */
        void write(int slot, int half, long value) {
            access(() -> {
                point.memory[2 * slot + half] = value;
                return 0;
            });
        }

        /** Reads one half of a slot's memory. */
        long read(int slot, int half) {
            return access(() -> point.memory[2 * slot + half]);
        }

        void hand(int box, SlotTicket ticket) {
            access(() -> {
                point.boxes[box] =
                        1L << 62 | (long) ticket.slot() << 40 | (long) ticket.block() << 20 | ticket.generation();
                return 0;
            });
        }

        /** Waits until a ticket lies in the box. */
        SlotTicket take(int box) {
            long value = access(() -> {
                if (point.boxes[box] == 0) {
                    throw new Stopped(true);
                }
                return point.boxes[box];
            });
            return new SlotTicket((int) (value >> 40) & 0xff, (int) (value >> 20) & 0xfffff, (int) value & 0xfffff);
        }
    }

    private static final class Stopped extends RuntimeException {

        private static final long serialVersionUID = 1L;

        final boolean waits;

        Stopped(boolean waits) {
            super(null, null, false, false);
            this.waits = waits;
        }
    }
}
