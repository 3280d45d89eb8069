package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.Devices;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.inference.BatchLimits;
import dev.prefetch.inference.BatchLoop;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.inference.SequenceListener;
import dev.prefetch.inference.SequenceRequest;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.PlanRequest;
import dev.prefetch.prefetch.Planner;
import dev.prefetch.prefetch.StreamingOptions;
import dev.prefetch.prefetch.StreamingWeights;
import dev.prefetch.prefetch.WeightUnavailableException;
import dev.prefetch.storage.BlockReader;
import dev.prefetch.storage.SplitReader;
import dev.prefetch.storage.StorageException;
import dev.prefetch.testing.DemoModel;
import dev.prefetch.testing.MeteredBackend;
import dev.prefetch.testing.TestAccelerator;
import dev.prefetch.tokenizer.Tokenizer;
import dev.prefetch.tokenizer.Tokenizers;
import java.io.EOFException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Many at the same time while the disk or the device fails again and again: whoever gets an answer gets the one it gets alone,
 * everybody else an error that says what failed, nobody waits for ever, and afterwards all is as before. {@code
 * -Dprefetch.load.seconds=300} has each run for that long.
 */
@Timeout(7200)
class FaultLoadTest {

    private static final Logger LOG = LoggerFactory.getLogger(FaultLoadTest.class);

    private static final long SEED = 20261126;
    private static final int CLIENTS = 8;
    private static final int TOKENS = 24;
    private static final Duration LONGEST_REQUEST = Duration.ofSeconds(120);
    private static final List<String> PROMPTS =
            List.of("What is GGUF?", "Who are you?", "Please count from 3 up to 9.", "Tell me a story about a parrot.");

    private final ConcurrentHashMap<String, LongAdder> outcomes = new ConcurrentHashMap<>();
    private final List<Object> wrong = new CopyOnWriteArrayList<>();

    private static long seconds() {
        return Long.getLong("prefetch.load.seconds", 4);
    }

    private void count(String outcome) {
        outcomes.computeIfAbsent(outcome, name -> new LongAdder()).increment();
    }

    /** One request of a client. */
    private interface Request {
        void run(int prompt, SplittableRandom random) throws Exception;
    }

    private void load(Request request) throws InterruptedException {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds());
        List<Thread> clients = new ArrayList<>();
        for (int i = 0; i < CLIENTS; i++) {
            SplittableRandom random = new SplittableRandom(SEED + i);
            clients.add(Thread.ofVirtual().start(() -> {
                while (System.nanoTime() < end) {
                    try {
                        request.run(random.nextInt(PROMPTS.size()), random);
                    } catch (Exception | AssertionError e) {
                        wrong.add(e);
                    }
                }
            }));
        }
        for (Thread client : clients) {
            assertThat(client.join(Duration.ofSeconds(seconds()).plus(LONGEST_REQUEST)))
                    .as("no request is stuck")
                    .isTrue();
        }
    }

    @AfterEach
    void report() {
        LOG.warn("Seed {}, {} s: {}", SEED, seconds(), outcomes);
        TestAccelerator.FAILS_AT.set(0);
    }

    /** A file whose reads fail, or end early, when they are told to. */
    private static final class FaultyReader implements BlockReader {

        private final BlockReader reader;
        private final Path file;
        private final SplittableRandom random = new SplittableRandom(SEED);
        private volatile boolean faulty;
        /** All reads until then, {@link System#nanoTime()}. */
        private long outageUntil = System.nanoTime();

        FaultyReader(BlockReader reader, Path file) {
            this.reader = reader;
            this.file = file;
        }

        @Override
        public int alignment() {
            return reader.alignment();
        }

        @Override
        public long fileSize() {
            return reader.fileSize();
        }

        @Override
        public String description() {
            return reader.description();
        }

        /** One read in fifty fails, half of those after a part of the bytes; one in two thousand begins 10 ms without any. */
        private synchronized int fault() {
            int dice = random.nextInt(2000);
            if (dice == 0) {
                outageUntil = System.nanoTime() + 10_000_000;
            }
            return System.nanoTime() - outageUntil < 0 || dice < 20 ? 1 : dice < 40 ? 2 : 0;
        }

        @Override
        public void read(long offset, MemorySegment target) {
            int fault = faulty ? fault() : 0;
            if (fault == 2 && target.byteSize() > alignment()) {
                reader.read(offset, target.asSlice(0, alignment()));
                throw new StorageException(file, offset, "a short read", new EOFException("injected"));
            }
            if (fault != 0) {
                throw new StorageException(file, offset, "an input/output error", new EOFException("injected"));
            }
            reader.read(offset, target);
        }

        @Override
        public void close() {
            reader.close();
        }
    }

    private static final class Ended implements SequenceListener {

        private final CompletableFuture<End> end = new CompletableFuture<>();

        @Override
        public void onText(String text) {}

        @Override
        public void onEnd(End value) {
            end.complete(value);
        }

        @Override
        public void onFailure(RuntimeException failure) {
            end.completeExceptionally(failure);
        }
    }

    private static Ended submit(BatchLoop loop, int[] prompt) {
        Ended ended = new Ended();
        loop.submit(new SequenceRequest(prompt, TOKENS, SamplingOptions.GREEDY, List.of(), true, ended));
        return ended;
    }

    @Test
    void aDiskThatFailsCostsTheRequestsThatNeededIt() throws Exception {
        try (GgufFile file = GgufFile.open(DemoModel.file());
                Device device = MeteredBackend.cpu().open(new DeviceOptions(2))) {
            ModelConfig config = ModelConfig.read(file);
            ModelGraph graph = ModelGraph.of(file, config);
            Tokenizer tokenizer = Tokenizers.from(file.metadata());
            FaultyReader reader = new FaultyReader(SplitReader.open(file.parts()), file.path());
            long kvBytes = BatchLoop.kvBytes(config, GgmlType.F32, 256, 64);
            BatchLimits limits = new BatchLimits(256, 64, 4, 4 * kvBytes).withPromptCacheBytes(4 * kvBytes);
            try (StreamingWeights weights = StreamingWeights.open(
                            Planner.plan(PlanRequest.of(graph.blocks(), Planner.modelBytes(graph.blocks()) * 7 / 10)),
                            Devices.of(device),
                            reader,
                            file.parts(),
                            StreamingOptions.DEFAULT.withAttempts(2, Duration.ofNanos(50_000)),
                            (done, total) -> {});
                    BatchLoop loop = new BatchLoop(Devices.of(device), config, graph, weights, tokenizer, limits)) {
                List<int[]> prompts = PROMPTS.stream().map(tokenizer::encode).toList();
                List<List<Integer>> alone = prompts.stream()
                        .map(prompt -> submit(loop, prompt).end.join().tokens())
                        .toList();
                reader.faulty = true;
                load((prompt, random) -> {
                    Ended ended = submit(loop, prompts.get(prompt));
                    try {
                        List<Integer> tokens = ended.end
                                .get(LONGEST_REQUEST.toSeconds(), TimeUnit.SECONDS)
                                .tokens();
                        count("answered");
                        if (!tokens.equals(alone.get(prompt))) {
                            wrong.add(tokens);
                        }
                    } catch (ExecutionException e) {
                        count(e.getCause().getClass().getSimpleName());
                        if (!(e.getCause() instanceof WeightUnavailableException)) {
                            wrong.add(e.getCause());
                        }
                    }
                });
                reader.faulty = false;

                assertThat(wrong).isEmpty();
                assertThat(outcomes.keySet()).containsExactlyInAnyOrder("answered", "WeightUnavailableException");
                assertThat(weights.statistics().retries()).isPositive();
                for (int i = 0; i < prompts.size(); i++) {
                    assertThat(submit(loop, prompts.get(i)).end.join().tokens()).isEqualTo(alone.get(i));
                }
                Awaitility.await()
                        .until(() -> loop.load().running() == 0 && loop.load().kvBytesInUse() == 0);
            }
        }
    }

    @Test
    void aDeviceThatFailsCostsNobodyAnAnswer() throws Exception {
        EngineOptions options = EngineOptions.of(DemoModel.file())
                .withThreads(2)
                .withMaxConcurrency(4)
                .withUbatch(64)
                .withBackend(TestAccelerator.ID)
                .withMemory(MemoryOptions.AUTO
                        .withWeights(MemoryAmount.parse("80%"))
                        .withCosts(new CostModel(1e12, 8e9, 60e9, 0.6, false)))
                .withAccelerator(AcceleratorOptions.AUTO.withRetryAfter(Duration.ofMillis(20)));
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            List<List<Integer>> alone = new ArrayList<>();
            for (String prompt : PROMPTS) {
                alone.add(engine.generate(request(prompt)).tokens());
            }
            load((prompt, random) -> {
                if (random.nextInt(12) == 0) {
                    TestAccelerator.FAILS_AT.compareAndSet(0, 1 + random.nextInt(2000));
                    count("device told to fail");
                }
                Generation generation = engine.generate(request(PROMPTS.get(prompt)), GenerationListener.NONE);
                boolean cancelled = random.nextInt(8) == 0;
                if (cancelled) {
                    generation.cancel();
                }
                GenerationResult result = generation.await();
                count(result.finishReason().toString());
                if (!cancelled && !result.tokens().equals(alone.get(prompt))) {
                    wrong.add(result);
                }
            });
            TestAccelerator.FAILS_AT.set(0);

            assertThat(wrong).isEmpty();
            assertThat(engine.status().lastFault()).as("the device did fail").isNotNull();
            Awaitility.await().atMost(Duration.ofSeconds(60)).untilAsserted(() -> {
                for (int i = 0; i < PROMPTS.size(); i++) {
                    assertThat(engine.generate(request(PROMPTS.get(i))).tokens())
                            .isEqualTo(alone.get(i));
                }
                assertThat(engine.status().state()).isEqualTo(EngineStatus.State.READY);
            });
            Awaitility.await().until(() -> engine.status().running() == 0);
        }
        assertThat(TestAccelerator.OPEN).hasValue(0);
    }

    private static GenerationRequest request(String prompt) {
        return new GenerationRequest(new Prompt.Text(prompt), SamplingOptions.GREEDY, TOKENS, List.of(), true);
    }
}
