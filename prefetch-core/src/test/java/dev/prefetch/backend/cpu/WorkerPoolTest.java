package dev.prefetch.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class WorkerPoolTest {

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 8})
    void runsEveryItemOnceInRegionsOfAllSizes(int threads) {
        SplittableRandom random = new SplittableRandom(threads);
        try (WorkerPool pool = new WorkerPool(threads, "test")) {
            for (int region = 0; region < 3000; region++) {
                int items = random.nextInt(40);
                int chunk = 1 + random.nextInt(6);
                AtomicIntegerArray runs = new AtomicIntegerArray(items);
                pool.run(items, chunk, (from, to, worker) -> {
                    assertThat(worker).isBetween(0, threads - 1);
                    for (int i = from; i < to; i++) {
                        runs.incrementAndGet(i);
                    }
                });
                for (int i = 0; i < items; i++) {
                    assertThat(runs.get(i))
                            .as("item %d of region %d", i, region)
                            .isEqualTo(1);
                }
            }
        }
    }

    @Test
    void plainWritesOfWorkersAreVisibleToTheCaller() {
        int[] values = new int[1000];
        try (WorkerPool pool = new WorkerPool(4, "test")) {
            for (int region = 1; region <= 1000; region++) {
                int added = region;
                pool.run(values.length, 7, (from, to, worker) -> {
                    for (int i = from; i < to; i++) {
                        values[i] += added;
                    }
                });
            }
        }
        assertThat(values).containsOnly(500_500);
    }

    @Test
    @Timeout(60)
    void othersTakeTheChunksOfAThreadThatIsHeldUp() {
        int chunks = 100;
        CountDownLatch others = new CountDownLatch(chunks - 1);
        AtomicBoolean held = new AtomicBoolean();
        AtomicInteger taken = new AtomicInteger();
        try (WorkerPool pool = new WorkerPool(3, "test")) {
            pool.run(chunks, 1, (from, to, worker) -> {
                if (held.compareAndSet(false, true)) {
                    awaitUninterruptibly(others);
                } else {
                    others.countDown();
                }
                taken.incrementAndGet();
            });
        }
        assertThat(taken).hasValue(chunks);
    }

    /** More threads than processors, so that many come when their region is over and the next is being written. */
    @Test
    void nothingOfARegionRunsAfterItsEnd() {
        SplittableRandom random = new SplittableRandom(5);
        AtomicInteger current = new AtomicInteger();
        AtomicInteger strays = new AtomicInteger();
        try (WorkerPool pool = new WorkerPool(9, "test")) {
            for (int i = 1; i <= 20_000; i++) {
                int region = i;
                int items = 2 + random.nextInt(60);
                int chunk = 1 + random.nextInt(4);
                int pauses = random.nextInt(20);
                AtomicInteger sum = new AtomicInteger();
                current.set(region);
                pool.run(items, chunk, (from, to, worker) -> {
                    if (current.get() != region || from < 0 || from >= to || to > items) {
                        strays.incrementAndGet();
                    }
                    for (int p = 0; p < pauses; p++) {
                        Thread.onSpinWait();
                    }
                    if (from % 16 == 0) {
                        Thread.yield();
                    }
                    if (current.get() != region) {
                        strays.incrementAndGet();
                    }
                    sum.addAndGet(to - from);
                });
                assertThat(sum).as("items of region %d", region).hasValue(items);
            }
        }
        assertThat(strays).hasValue(0);
    }

    @Test
    void theCallerIsOneOfTheThreads() throws InterruptedException {
        Set<Thread> seen = ConcurrentHashMap.newKeySet();
        CountDownLatch all = new CountDownLatch(3);
        try (WorkerPool pool = new WorkerPool(3, "named")) {
            pool.run(3, 1, (from, to, worker) -> {
                seen.add(Thread.currentThread());
                all.countDown();
                awaitUninterruptibly(all);
            });
        }
        assertThat(seen).hasSize(3).contains(Thread.currentThread());
        assertThat(seen.stream().map(Thread::getName)).contains("named-1", "named-2");
        assertThat(seen.stream().filter(t -> t != Thread.currentThread())).allMatch(Thread::isDaemon);
    }

    private static void awaitUninterruptibly(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    @Test
    void aFailureReachesTheCallerAndThePoolGoesOn() {
        try (WorkerPool pool = new WorkerPool(3, "test")) {
            for (int failing = 0; failing < 300; failing++) {
                int bad = failing % 100;
                assertThatThrownBy(() -> pool.run(100, 1, (from, to, worker) -> {
                            if (from == bad) {
                                throw new IllegalArgumentException("item " + bad);
                            }
                        }))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessage("item " + bad);
                AtomicInteger items = new AtomicInteger();
                pool.run(100, 3, (from, to, worker) -> items.addAndGet(to - from));
                assertThat(items).hasValue(100);
            }
        }
    }

    @Test
    void refusesASecondCallerAndUseAfterClose() {
        WorkerPool pool = new WorkerPool(2, "test");
        assertThatThrownBy(() -> pool.run(1, 1, (from, to, worker) -> pool.run(1, 1, (f, t, w) -> {})))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("two threads");
        pool.close();
        pool.close();
        assertThatThrownBy(() -> pool.run(1, 1, (from, to, worker) -> {}))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("closed");
    }

    @Test
    void closingEndsTheThreads() {
        Set<Thread> workers = ConcurrentHashMap.newKeySet();
        try (WorkerPool pool = new WorkerPool(4, "ending")) {
            pool.run(1000, 1, (from, to, worker) -> workers.add(Thread.currentThread()));
            workers.addAll(threadsNamed("ending-"));
            assertThat(workers).hasSizeGreaterThanOrEqualTo(3);
        }
        assertThat(threadsNamed("ending-")).isEmpty();
    }

    @Test
    void anIdlePoolParksItsThreads() {
        try (WorkerPool pool = new WorkerPool(3, "idle")) {
            pool.run(100, 1, (from, to, worker) -> {});
            await().untilAsserted(() -> assertThat(threadsNamed("idle-"))
                    .hasSize(2)
                    .allMatch(thread -> thread.getState() == Thread.State.WAITING));
        }
    }

    private static Set<Thread> threadsNamed(String prefix) {
        Set<Thread> threads = ConcurrentHashMap.newKeySet();
        Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> thread.getName().startsWith(prefix))
                .forEach(threads::add);
        return threads;
    }
}
