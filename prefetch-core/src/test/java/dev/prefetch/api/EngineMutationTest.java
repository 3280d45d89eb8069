package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.fail;

import com.sun.management.ThreadMXBean;
import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.testing.DemoModel;
import dev.prefetch.testing.GgufMutator;
import dev.prefetch.testing.MeteredBackend;
import dev.prefetch.testing.RandomAdapter;
import dev.prefetch.testing.RandomEncoder;
import dev.prefetch.testing.RandomModel;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A thousand damaged models of all architectures and weight formats, and LoRA adapters, given to the engine: each is opened,
 * and then answers, or makes a vector, or fails the request, or is refused with a {@link GgufFormatException} that names the file. Nothing else
 * is thrown, and the memory asked for stays in proportion to the file.
 */
class EngineMutationTest {

    private static final Logger LOG = LoggerFactory.getLogger(EngineMutationTest.class);
    private static final int MUTATIONS = Integer.getInteger("prefetch.test.mutations", 1000);
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

    @Test
    void opensOrRefusesEveryMutation(@TempDir Path folder) throws Exception {
        long seed = Long.getLong("prefetch.test.seed", System.nanoTime());
        LOG.info("Engine mutations: seed {} (repeat with -Dprefetch.test.seed)", seed);
        RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(seed);
        List<Base> bases = bases(folder);
        for (Base base : bases) {
            Path file = Files.write(folder.resolve("base.gguf"), base.mutator().bytes());
            assertThat(open(base, file, base.mutator().name())).isTrue();
        }
        int refused = 0;
        for (int i = 0; i < MUTATIONS; i++) {
            Base given = bases.get(i % bases.size());
            GgufMutator base = given.mutator();
            StringBuilder story = new StringBuilder("seed " + seed + ", mutation " + i + " of " + base.name() + ":");
            // Hyper-parameters are few among the bytes of a head, and what the engine makes of them is the point here.
            byte[] mutated = random.nextBoolean() ? base.contradict(random, story) : base.damage(random, story);
            Path file = Files.write(folder.resolve("mutated.gguf"), mutated);
            long heapBefore = THREADS.getCurrentThreadAllocatedBytes();
            long deviceBefore = MeteredBackend.allocatedBytes();
            boolean opened = open(given, file, story.toString());
            // Parsed head and vocabulary; a damaged length may take tensor data for text, so the whole file counts.
            assertThat(THREADS.getCurrentThreadAllocatedBytes() - heapBefore)
                    .as("heap, %s", story)
                    .isLessThan(64L * base.headBytes() + 8L * mutated.length + given.besides() + (16 << 20));
            // Activations of a few rows and a page of KV cache: no wider than the tensors, of which a byte holds five
            // weights at most.
            assertThat(MeteredBackend.allocatedBytes() - deviceBefore)
                    .as("device memory, %s", story)
                    .isLessThan(32L * mutated.length + given.besides() + (16 << 20));
            refused += opened ? 0 : 1;
        }
        LOG.info("Engine mutations: {} of {} refused", refused, MUTATIONS);
        // Flips in texts and weights go unnoticed, contradictions do not.
        assertThat(refused).as("seed %d", seed).isBetween(MUTATIONS / 4, MUTATIONS - 1);
    }

    /**
     * What is damaged: a model, or an adapter.
     *
     * @param model the sound model that an adapter is for, or null
     */
    private record Base(GgufMutator mutator, @Nullable Path model) {

        /** Most bytes that are asked for on behalf of what is sound. */
        long besides() {
            return model == null ? 0 : 32 * model.toFile().length();
        }
    }

    private static List<Base> bases(Path folder) throws IOException {
        List<Path> models = new ArrayList<>();
        models.add(DemoModel.file());
        for (String family : RandomModel.families()) {
            models.add(RandomModel.mixed(family));
        }
        RandomEncoder.families().stream().map(RandomEncoder::mixed).forEach(models::add);
        for (String name : RandomModel.names()) {
            if (name.matches("llama-[IT]Q.*|gpt-oss-MXFP4")) {
                models.add(RandomModel.file(name));
            }
        }
        List<Base> bases = new ArrayList<>();
        for (Path model : models) {
            bases.add(new Base(GgufMutator.of(model), null));
        }
        for (String name : List.of("llama-F32", "qwen3moe-F32", "deepseek2-F32")) {
            Path model = RandomModel.file(name);
            Path adapter = new RandomAdapter(model, tensor -> !tensor.matches(".*(bias|norm\\.weight)"), 6, 1)
                    .write(folder.resolve(name + "-adapter.gguf"));
            bases.add(new Base(GgufMutator.of(adapter), model));
        }
        return bases;
    }

    /** Whether the file opened; false when it was refused as it should be. */
    private static boolean open(Base base, Path file, String story) throws InterruptedException {
        EngineOptions options = EngineOptions.of(base.model() == null ? file : base.model())
                .withBackend(MeteredBackend.ID)
                .withThreads(1)
                .withContextLength(64)
                .withMaxConcurrency(1)
                .withUbatch(8);
        if (base.model() != null) {
            options = options.withLora(List.of(new LoraSource(file, 1)));
        }
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            if (engine.info().generates()) {
                generate(engine, story);
            } else {
                embed(engine, story);
            }
            return true;
        } catch (GgufFormatException e) {
            assertThat(e.getMessage()).as(story).startsWith(file + ": ");
            return false;
        } catch (RuntimeException | Error e) {
            return fail(story, e);
        }
    }

    private static void embed(PrefetchEngine engine, String story) throws InterruptedException {
        try {
            float[] vector =
                    engine.embed(List.of("w17 w5 x w259 w17")).vectors().getFirst();
            assertThat(vector).as(story).hasSize(engine.info().embeddingDimensions());
        } catch (ContextLengthExceededException e) {
            assertThat(engine.info().contextLength()).as(story).isLessThan(7);
        } catch (IllegalArgumentException e) {
            assertThat(e).as(story).hasMessageContaining("no tokens");
        } catch (IllegalStateException e) {
            assertThat(e.getMessage())
                    .as(story)
                    .satisfiesAnyOf(
                            message -> assertThat(message).contains("not a number"),
                            message -> assertThat(message).contains("pooling_type"));
        }
    }

    private static void generate(PrefetchEngine engine, String story) throws InterruptedException {
        AtomicReference<RuntimeException> failure = new AtomicReference<>();
        GenerationRequest request =
                new GenerationRequest(new Prompt.Tokens(List.of(0)), SamplingOptions.GREEDY, 2, List.of());
        Generation generation = engine.generate(request, new GenerationListener() {
            @Override
            public void onFailure(RuntimeException e) {
                failure.set(e);
            }
        });
        try {
            assertThat(generation.await().completionTokens()).as(story).isBetween(1, 2);
        } catch (IllegalStateException e) {
            // Damaged weights compute to what is no number; the request says so and the engine lives.
            assertThat(e).as(story).isSameAs(failure.get()).hasMessageContaining("not a number");
        }
    }
}
