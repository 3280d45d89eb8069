package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.ContextLengthExceededException;
import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.GenerationListener;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.grammar.UnsupportedSchemaException;
import dev.prefetch.inference.DeadlineExceededException;
import dev.prefetch.inference.QueueFullException;
import dev.prefetch.prefetch.WeightUnavailableException;
import dev.prefetch.testing.TestAccelerator;
import io.github.resilience4j.circuitbreaker.CallNotPermittedException;
import java.io.IOException;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.ai.chat.client.ChatClient;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.embedding.EmbeddingModel;
import org.springframework.ai.tool.annotation.Tool;
import org.springframework.beans.factory.config.BeanPostProcessor;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Configuration;

/**
 * Everything at once for a while, with weights that stream: answers, streams, cancellations, interrupted callers, tools, forms,
 * vectors, bad requests, a full queue, deadlines, and faults in the middle of answers; once more with a disk and a device that
 * fail all the time beside that. Every request ends, every failure is one of those that were asked for, and the process holds at
 * every look what it held at the first. {@code -Dprefetch.load.seconds=1800} runs each for half an hour.
 */
class MixedLoadTest {

    private static final Logger LOG = LoggerFactory.getLogger(MixedLoadTest.class);

    private static final Path MODEL =
            Path.of("..", "sample-app", "src", "main", "resources", "demo-model", "tiny-demo-chat-Q8_0.gguf");

    private static final int CLIENTS = 12;
    private static final long SEED = 20261126;
    private static final int FAULT_EVERY = 15;
    private static final Duration LONGEST_REQUEST = Duration.ofSeconds(120);

    /** What a collection and a compilation more or less make up; a leak of the smallest thing per request is far more. */
    private static final long SLACK_BYTES = 48L << 20;

    /** An application with nothing but the starter. */
    @Configuration(proxyBeanMethods = false)
    @EnableAutoConfiguration
    static class Application {}

    /** Thrown in the middle of an answer. */
    private static final class InjectedFault extends RuntimeException {
        private static final long serialVersionUID = 1L;

        InjectedFault() {
            super("an injected fault");
        }
    }

    /** A tool of the kind the model was trained with. */
    static final class Orders {
        @Tool(description = "Find an order")
        public String trackOrder(String number) {
            return "Order " + number + " is pending";
        }
    }

    /** What is read from a text. */
    record Film(String title, int year) {}

    private final Map<String, LongAdder> outcomes = new ConcurrentHashMap<>();
    private final List<Throwable> unexpected = new CopyOnWriteArrayList<>();
    private final AtomicInteger thirdTexts = new AtomicInteger();
    private volatile boolean injecting = true;

    private static Duration duration() {
        return Duration.ofSeconds(Long.getLong("prefetch.load.seconds", 20));
    }

    /**
     * An engine whose listeners fail at their third text: every so-manieth of those that get there. Most generations do not,
     * since they are refused, cancelled or out of time, and how many depends on the machine.
     */
    private PrefetchEngine faulty(PrefetchEngine engine) {
        InvocationHandler handler = (proxy, method, arguments) -> {
            Object[] given = arguments;
            if (injecting && method.getName().equals("generate") && arguments.length == 2) {
                given = new Object[] {arguments[0], failing((GenerationListener) arguments[1])};
            }
            try {
                return method.invoke(engine, given);
            } catch (InvocationTargetException e) {
                throw e.getCause();
            }
        };
        return (PrefetchEngine)
                Proxy.newProxyInstance(getClass().getClassLoader(), new Class<?>[] {PrefetchEngine.class}, handler);
    }

    private GenerationListener failing(GenerationListener listener) {
        return new GenerationListener() {
            private int texts;

            @Override
            public void onText(String text) {
                if (++texts == 3 && thirdTexts.incrementAndGet() % FAULT_EVERY == 0) {
                    throw new InjectedFault();
                }
                listener.onText(text);
            }

            @Override
            public void onComplete(dev.prefetch.api.GenerationResult result) {
                listener.onComplete(result);
            }

            @Override
            public void onFailure(RuntimeException failure) {
                listener.onFailure(failure);
            }
        };
    }

    /** One kind of request. */
    private interface Action {
        void run(SplittableRandom random) throws Exception;
    }

    private record Kind(String name, Action action, List<Class<? extends Throwable>> failures) {}

    private static Kind kind(String name, Action action, List<Class<? extends Throwable>> failures) {
        return new Kind(name, action, failures);
    }

    /** The same kinds of another engine, which may fail otherwise too. */
    private static List<Kind> of(String engine, List<Kind> kinds, List<Class<? extends Throwable>> failures) {
        return kinds.stream()
                .map(kind -> new Kind(
                        engine + " " + kind.name(),
                        kind.action(),
                        Stream.concat(kind.failures().stream(), failures.stream())
                                .toList()))
                .toList();
    }

    private List<Kind> kinds(ChatClient chat, PrefetchChatModel model, EmbeddingModel embeddings) {
        return List.of(
                kind(
                        "answer",
                        random -> answered(chat.prompt("What is GGUF?").call().content()),
                        List.of()),
                kind("stream", random -> stream(chat, Integer.MAX_VALUE), List.of()),
                kind("cancelled stream", random -> stream(chat, 1 + random.nextInt(6)), List.of()),
                kind("interrupted call", random -> interrupted(chat, random), List.of(IllegalStateException.class)),
                kind(
                        "tool",
                        random -> answered(chat.prompt("Any news on order 73459?")
                                .tools(new Orders())
                                .call()
                                .content()),
                        List.of()),
                kind(
                        "form",
                        random -> assertThat(
                                        chat.prompt("Please extract the film from the following text. The movie The"
                                                        + " Silent Canyon was released in 1975.")
                                                .call()
                                                .entity(Film.class, spec -> spec.useProviderStructuredOutput()))
                                .isEqualTo(new Film("The Silent Canyon", 1975)),
                        List.of()),
                kind(
                        "vector",
                        random -> assertThat(embeddings.embed("word ".repeat(1 + random.nextInt(60))))
                                .hasSize(embeddings.dimensions()),
                        List.of()),
                kind(
                        "too long",
                        random -> chat.prompt("word ".repeat(3000)).call().content(),
                        List.of(ContextLengthExceededException.class)),
                kind(
                        "bad schema",
                        random -> model.call(new Prompt(
                                "hi",
                                PrefetchChatOptions.builder()
                                        .outputSchema("{\"type\":\"string\",\"pattern\":\"a+\"}")
                                        .build())),
                        List.of(UnsupportedSchemaException.class)),
                kind(
                        "bad option",
                        random -> model.call(new Prompt(
                                "hi", PrefetchChatOptions.builder().maxTokens(0).build())),
                        List.of(IllegalArgumentException.class)),
                kind(
                        "deadline",
                        random -> model.call(new Prompt(
                                "Could you write me a story about a parrot called Lucia.",
                                PrefetchChatOptions.builder()
                                        .timeout(Duration.ofMillis(1 + random.nextInt(40)))
                                        .build())),
                        List.of(DeadlineExceededException.class)));
    }

    private static void answered(String text) {
        assertThat(text).isNotBlank();
    }

    private static void stream(ChatClient chat, int parts) {
        List<String> shown =
                Objects.requireNonNull(chat.prompt("Could you write me a story about a parrot called Lucia.").stream()
                        .content()
                        .take(parts)
                        .collectList()
                        .block(LONGEST_REQUEST));
        assertThat(shown).isNotEmpty();
    }

    private static void interrupted(ChatClient chat, SplittableRandom random) throws InterruptedException {
        List<Throwable> failure = new CopyOnWriteArrayList<>();
        Thread caller = Thread.ofVirtual().start(() -> {
            try {
                chat.prompt("Could you write me a story about a parrot called Lucia.")
                        .call()
                        .content();
            } catch (RuntimeException e) {
                failure.add(e);
            }
        });
        Thread.sleep(random.nextInt(30));
        caller.interrupt();
        assertThat(caller.join(LONGEST_REQUEST)).isTrue();
        if (!failure.isEmpty()) {
            throw (RuntimeException) failure.getFirst();
        }
    }

    private void attempt(Kind kind, SplittableRandom random) {
        String outcome;
        try {
            kind.action().run(random);
            outcome = kind.name() + ": done";
        } catch (Exception | AssertionError failure) {
            boolean expected = failure instanceof QueueFullException
                    || failure instanceof InjectedFault
                    || kind.failures().stream().anyMatch(type -> type.isInstance(failure));
            outcome = kind.name() + ": " + failure.getClass().getSimpleName();
            if (!expected || failure.getMessage() == null) {
                unexpected.add(failure);
            }
        }
        outcomes.computeIfAbsent(outcome, name -> new LongAdder()).increment();
    }

    private void load(List<Kind> kinds, Duration time, long seed) throws InterruptedException {
        AtomicBoolean over = new AtomicBoolean();
        List<Thread> clients = new ArrayList<>();
        for (int i = 0; i < CLIENTS; i++) {
            SplittableRandom random = new SplittableRandom(seed + i);
            clients.add(Thread.ofVirtual().start(() -> {
                while (!over.get()) {
                    attempt(kinds.get(random.nextInt(kinds.size())), random);
                }
            }));
        }
        Thread.sleep(time);
        over.set(true);
        for (Thread client : clients) {
            assertThat(client.join(LONGEST_REQUEST)).as("no request is stuck").isTrue();
        }
    }

    private static ProcessResources resources(PrefetchEngine... engines) throws IOException {
        for (PrefetchEngine engine : engines) {
            // What was cancelled ends at the next token, and a device that failed comes back with a request.
            Awaitility.await().atMost(LONGEST_REQUEST).until(() -> {
                EngineStatus status = engine.status();
                if (status.state() == EngineStatus.State.DEGRADED) {
                    engine.generate(GenerationRequest.greedy(new dev.prefetch.api.Prompt.Text("What is GGUF?")));
                }
                return status.running() + status.waiting() == 0 && status.state() == EngineStatus.State.READY;
            });
        }
        return ProcessResources.now(".gguf");
    }

    private static void assertFlat(ProcessResources before, ProcessResources after) {
        assertThat(after.mappings()).isEqualTo(before.mappings());
        assertThat(after.files()).isLessThanOrEqualTo(before.files() + 2);
        assertThat(after.threads()).isLessThanOrEqualTo(before.threads() + 4);
        assertThat(after.heapBytes() - before.heapBytes()).isLessThan(SLACK_BYTES);
        assertThat(after.nativeBytes() - before.nativeBytes()).isLessThan(SLACK_BYTES);
    }

    private SpringApplicationBuilder application(String... properties) {
        BeanPostProcessor faults = new BeanPostProcessor() {
            @Override
            public Object postProcessAfterInitialization(Object bean, String name) {
                return bean instanceof PrefetchEngine engine ? faulty(engine) : bean;
            }
        };
        return new SpringApplicationBuilder(Application.class)
                .web(WebApplicationType.NONE)
                .properties(
                        "spring.main.banner-mode=off",
                        "logging.level.root=WARN",
                        // They log every refusal and every fault that this test provokes.
                        "logging.level.dev.prefetch.inference=OFF",
                        "logging.level.dev.prefetch.api=OFF",
                        "logging.level.dev.prefetch.prefetch=OFF",
                        "logging.level.org.springframework.ai=OFF",
                        "logging.level.reactor=OFF")
                .properties(properties)
                .initializers(fresh -> fresh.getBeanFactory().addBeanPostProcessor(faults));
    }

    @Test
    void everythingAtOnceLeavesNothingBehind() throws Exception {
        Assumptions.assumeTrue(ProcessResources.isSupported(), "needs /proc");
        Duration time = duration();
        try (ConfigurableApplicationContext context = application(
                        "spring.ai.prefetch.model=" + MODEL,
                        "spring.ai.prefetch.memory.weights=70%",
                        "spring.ai.prefetch.max-concurrency=4",
                        "spring.ai.prefetch.queue-limit=6",
                        "spring.ai.prefetch.chat.temperature=0")
                .run()) {
            PrefetchEngine engine = context.getBean(PrefetchEngine.class);
            ChatClient chat = context.getBean(ChatClient.Builder.class).build();
            List<Kind> kinds =
                    kinds(chat, context.getBean(PrefetchChatModel.class), context.getBean(EmbeddingModel.class));

            // A third of the time for what the JVM takes once: classes, compiled code, threads of pools.
            load(kinds, time.dividedBy(3), SEED);
            ProcessResources before = resources(engine);
            load(kinds, time.dividedBy(3).multipliedBy(2), SEED + CLIENTS);
            ProcessResources after = resources(engine);
            LOG.warn("Seed {}, {} s: before {}; after {}", SEED, time.toSeconds(), before, after);
            // The compiler takes 50 MB for some kernels, once, and when it gets to them is not said. A leak goes on.
            if (after.nativeBytes() - before.nativeBytes() >= SLACK_BYTES) {
                before = after;
                load(kinds, time.dividedBy(3).multipliedBy(2), SEED + 2 * CLIENTS);
                after = resources(engine);
                LOG.warn("Once more: after {}", after);
            }

            LOG.warn("{}", new TreeMap<>(outcomes));
            assertThat(unexpected).isEmpty();
            assertThat(engine.status().kvBytesInUse()).isZero();
            assertThat(outcomes.keySet())
                    .contains("answer: done", "stream: done", "cancelled stream: done", "tool: done", "form: done")
                    .contains("too long: ContextLengthExceededException", "bad schema: UnsupportedSchemaException")
                    .anyMatch(outcome -> outcome.endsWith("InjectedFault"))
                    .anyMatch(outcome -> outcome.endsWith("DeadlineExceededException"));
            assertFlat(before, after);
        }
    }

    /**
     * Lets all reads of a file fail now and then: for so long that trying again helps, or for longer. A reader believes no bytes
     * of a file that changed since it was opened, and time of change is a thing that can be put right again.
     */
    private static void failReads(Path file, FileTime right, SplittableRandom random) throws IOException {
        Files.setLastModifiedTime(file, FileTime.fromMillis(right.toMillis() + 1000));
        try {
            LockSupport.parkNanos((random.nextInt(4) == 0 ? 150 : 5) * 1_000_000L);
        } finally {
            Files.setLastModifiedTime(file, right);
        }
    }

    /** Makes trouble while something else goes on. */
    private static void whileFailing(Path file, FileTime right, long seed, Work work) throws Exception {
        AtomicBoolean over = new AtomicBoolean();
        List<Throwable> failures = new CopyOnWriteArrayList<>();
        Thread trouble = Thread.ofPlatform().start(() -> {
            SplittableRandom random = new SplittableRandom(seed);
            try {
                while (!over.get()) {
                    LockSupport.parkNanos(random.nextInt(600) * 1_000_000L);
                    failReads(file, right, random);
                    TestAccelerator.FAILS_AT.compareAndSet(0, 1 + random.nextInt(5000));
                }
            } catch (IOException | RuntimeException e) {
                failures.add(e);
            }
        });
        try {
            work.run();
        } finally {
            over.set(true);
            trouble.join();
            TestAccelerator.FAILS_AT.set(0);
        }
        assertThat(failures).isEmpty();
    }

    /** What goes on. */
    private interface Work {
        void run() throws Exception;
    }

    @Test
    void everythingAtOnceWithADiskAndADeviceThatFailLeavesNothingBehind(@TempDir Path folder) throws Exception {
        Assumptions.assumeTrue(ProcessResources.isSupported(), "needs /proc");
        Duration time = duration();
        Path file = Files.copy(MODEL, folder.resolve("streamed.gguf"));
        FileTime right = FileTime.fromMillis(1_700_000_000_000L);
        Files.setLastModifiedTime(file, right);
        List<String> properties = new ArrayList<>(List.of(
                "spring.ai.prefetch.primary=disk",
                "spring.ai.prefetch.models.disk.model=" + file,
                "spring.ai.prefetch.models.device.model=" + MODEL,
                "spring.ai.prefetch.models.device.backend=" + TestAccelerator.ID,
                "spring.ai.prefetch.models.device.cuda.retry-after=20ms",
                // One that stays open for long would keep all requests from the disk.
                "resilience4j.circuitbreaker.instances.prefetch-disk.wait-duration-in-open-state=200ms"));
        for (String name : List.of("disk", "device")) {
            String model = "spring.ai.prefetch.models." + name;
            properties.add(model + ".memory.weights=70%");
            properties.add(model + ".max-concurrency=4");
            properties.add(model + ".queue-limit=4");
            properties.add(model + ".chat.temperature=0");
            properties.add(model + ".serves=chat,embedding");
        }
        try (ConfigurableApplicationContext context =
                application(properties.toArray(String[]::new)).run()) {
            PrefetchEngine disk = context.getBean("diskEngine", PrefetchEngine.class);
            PrefetchEngine device = context.getBean("deviceEngine", PrefetchEngine.class);
            PrefetchChatModel diskChat = context.getBean("diskChatModel", PrefetchChatModel.class);
            PrefetchChatModel deviceChat = context.getBean("deviceChatModel", PrefetchChatModel.class);
            List<Kind> kinds = new ArrayList<>();
            kinds.addAll(of(
                    "disk",
                    kinds(
                            ChatClient.create(diskChat),
                            diskChat,
                            context.getBean("diskEmbeddingModel", EmbeddingModel.class)),
                    List.of(WeightUnavailableException.class, CallNotPermittedException.class)));
            kinds.addAll(of(
                    "device",
                    kinds(
                            ChatClient.create(deviceChat),
                            deviceChat,
                            context.getBean("deviceEmbeddingModel", EmbeddingModel.class)),
                    List.of()));
            injecting = false;
            String answer = diskChat.call("What is GGUF?");
            assertThat(deviceChat.call("What is GGUF?")).isEqualTo(answer);
            injecting = true;

            whileFailing(file, right, SEED, () -> load(kinds, time.dividedBy(4), SEED));
            ProcessResources before = resources(disk, device);
            List<ProcessResources> looks = new ArrayList<>();
            for (int i = 1; i <= 3; i++) {
                long seed = SEED + (long) i * CLIENTS;
                whileFailing(file, right, seed, () -> load(kinds, time.dividedBy(4), seed));
                looks.add(resources(disk, device));
            }

            LOG.warn("Seed {}, {} s: before {}; after {}", SEED, time.toSeconds(), before, looks);
            LOG.warn("{}", new TreeMap<>(outcomes));
            assertThat(unexpected).isEmpty();
            assertThat(outcomes.keySet())
                    .contains("disk answer: done", "disk tool: done", "disk form: done", "disk vector: done")
                    .contains("device answer: done", "device tool: done", "device form: done", "device vector: done")
                    .contains("disk too long: ContextLengthExceededException")
                    .contains("device too long: ContextLengthExceededException")
                    .anyMatch(outcome -> outcome.startsWith("disk") && outcome.endsWith("WeightUnavailableException"))
                    .anyMatch(outcome -> outcome.endsWith("InjectedFault"));
            assertThat(device.status().lastFault()).as("the device did fail").isNotNull();
            assertThat(disk.statistics().retries()).isPositive();
            looks.forEach(look -> assertFlat(before, look));
            assertThat(TestAccelerator.OPEN).hasValue(1);
            for (PrefetchEngine engine : List.of(disk, device)) {
                assertThat(engine.status().kvBytesInUse()).isZero();
            }
            injecting = false;
            assertThat(deviceChat.call("What is GGUF?")).isEqualTo(answer);
            // The circuit breaker may still be open.
            Awaitility.await()
                    .ignoreExceptionsInstanceOf(CallNotPermittedException.class)
                    .untilAsserted(
                            () -> assertThat(diskChat.call("What is GGUF?")).isEqualTo(answer));
        }
        assertThat(TestAccelerator.OPEN).hasValue(0);
    }
}
