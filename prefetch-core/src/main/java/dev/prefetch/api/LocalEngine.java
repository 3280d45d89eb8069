package dev.prefetch.api;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.Device.SlowPath;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.backend.Tier;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufPart;
import dev.prefetch.gguf.GgufTensor;
import dev.prefetch.inference.BatchLimits;
import dev.prefetch.inference.BatchLoad;
import dev.prefetch.inference.BatchLoop;
import dev.prefetch.inference.DeadlineExceededException;
import dev.prefetch.inference.PromptCacheFile;
import dev.prefetch.inference.SequenceRequest;
import dev.prefetch.inference.Speculation;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.UnsupportedModelException;
import dev.prefetch.prefetch.LoadListener;
import dev.prefetch.prefetch.MeasuredCosts;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.tokenizer.Tokenizer;
import dev.prefetch.tokenizer.Tokenizers;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The engine: wires the rooms together and translates between the public types and theirs. */
final class LocalEngine implements PrefetchEngine {

    /** Shares of a device's memory that are planned with, one after the other, while it does not give what it said. */
    private static final double[] SHARES_TRIED = {1, 0.85, 0.7, 0.5};

    /** A prompt of more tokens is worth its transfers. */
    private static final int MOST_SHORT_PROMPT = 64;

    private static final Logger LOG = LoggerFactory.getLogger(LocalEngine.class);

    private volatile EngineInfo info;
    private final Tokenizer tokenizer;
    private final PromptEncoder encoder;
    private final Workplaces places;
    private final BatchLoop loop;
    private final Resources resources;
    private final GrammarConstraints constraints;
    private final Embedder embedder;
    private final BatchLimits limits;
    private final AtomicBoolean closed = new AtomicBoolean();
    private final AtomicLong generations = new AtomicLong();
    private final AtomicLong failures = new AtomicLong();
    private volatile EngineStatus.@Nullable Fault lastFault;

    private LocalEngine(
            EngineInfo info,
            Tokenizer tokenizer,
            PromptEncoder encoder,
            Workplaces places,
            BatchLoop loop,
            BatchLimits limits,
            Resources resources) {
        this.info = info;
        this.tokenizer = tokenizer;
        this.encoder = encoder;
        this.places = places;
        this.loop = loop;
        this.limits = limits;
        this.constraints = new GrammarConstraints(tokenizer);
        this.embedder = new Embedder(encoder, loop, limits, info, this::failed);
        this.resources = resources;
    }

    static PrefetchEngine open(EngineOptions options, LoadListener listener) {
        long start = System.nanoTime();
        for (int attempt = 0; ; attempt++) {
            Resources resources = new Resources();
            AtomicBoolean accelerated = new AtomicBoolean();
            try {
                AcceleratorOptions accelerator = options.accelerator().smaller(SHARES_TRIED[attempt]);
                return open(options.withAccelerator(accelerator), listener, resources, accelerated, start);
            } catch (OutOfDeviceMemoryException e) {
                resources.close();
                if (!accelerated.get() || attempt == SHARES_TRIED.length - 1) {
                    throw e;
                }
                LOG.warn(
                        "The device has less memory than it said; the plan is made anew with {} % of that: {}",
                        Math.round(100 * SHARES_TRIED[attempt + 1]), e.getMessage());
            } catch (RuntimeException | Error e) {
                resources.close();
                throw e;
            }
        }
    }

    private static LocalEngine open(
            EngineOptions given, LoadListener listener, Resources resources, AtomicBoolean accelerated, long start) {
        Model model = Model.read(resources.add(GgufFile.open(given.model())), given, resources);
        EngineOptions options = model.fitted(given);
        GgufFile file = model.file();
        Tokenizer tokenizer = Tokenizers.from(file.metadata());
        if (tokenizer.vocabularySize() > model.config().vocabularySize()) {
            throw new UnsupportedModelException(file.path() + ": the tokenizer has " + tokenizer.vocabularySize()
                    + " tokens but tensor token_embd.weight only "
                    + model.config().vocabularySize() + " rows");
        }
        PromptEncoder encoder = new PromptEncoder(file.metadata(), tokenizer);

        int threads = threads(options);
        DeviceSet devices = resources.add(DeviceSet.open(model, options, threads));
        Device device = devices.devices().primary();
        accelerated.set(devices.devices().accelerated());
        devices.requireSupport(model, options.kvCacheType());
        warnOfLongContext(options, model.config());
        Preparation preparation = Preparation.of(model, devices.devices(), options);
        MemoryPlanner.Division memory = preparation.memory();
        Workplaces places = resources.add(Workplaces.open(model, options, threads, devices, memory, listener));
        BatchLimits limits = new BatchLimits(
                model.contextLength(options),
                memory.ubatch(),
                ubatchBesideDecode(options.serving(), memory),
                options.maxConcurrency(),
                options.kvCacheType().format(),
                memory.kvBytes(),
                promptCacheBytes(options.serving(), memory.kvBytes()),
                options.serving().queueLimit(),
                options.serving().speculation(),
                shortPrompt(memory.weights()));
        BatchLoop loop = resources.add(new BatchLoop(
                places.workplace(),
                places.failover(),
                model.config(),
                model.graph(),
                tokenizer,
                limits,
                promptCacheFile(options, model, limits, resources)));

        EngineInfo info = info(model, options, device, preparation, limits, threads, System.nanoTime() - start);
        if (model.config().encoder()) {
            LOG.info("{} is an encoder: it makes vectors of texts and refuses to continue them", info.modelName());
        } else if (encoder.templateProblem() != null) {
            LOG.warn("Chat prompts will be refused: {}", encoder.templateProblem());
        }
        linearAttentionPaths(model, options).forEach(path -> LOG.info("{} ({})", path.what(), path.remedy()));
        LOG.debug("Opened {}", info);
        return new LocalEngine(info, tokenizer, encoder, places, loop, limits, resources);
    }

    static Plan plan(EngineOptions given) {
        Resources resources = new Resources();
        try {
            Model model = Model.read(resources.add(GgufFile.open(given.model())), given, resources);
            EngineOptions options = model.fitted(given);
            BackendProvider provider = Backends.choose(options.backend(), model);
            if (provider.tier() == Tier.HOST) {
                return model.divide(options, null, () -> measure(model, provider, options))
                        .weights();
            }
            DeviceSet devices = resources.add(DeviceSet.open(provider, options, threads(options)));
            devices.requireSupport(model, options.kvCacheType());
            return Preparation.of(model, devices.devices(), options).memory().weights();
        } finally {
            resources.close();
        }
    }

    /** Only where it is worth measuring does a plan for the host need its device. */
    private static MeasuredCosts measure(Model model, BackendProvider provider, EngineOptions options) {
        try (DeviceSet devices = DeviceSet.open(provider, options, threads(options))) {
            devices.requireSupport(model, options.kvCacheType());
            return Preparation.measure(model, devices.devices(), options, null);
        }
    }

    private static long promptCacheBytes(ServingOptions serving, long kvBytes) {
        return serving.promptCache() == null
                ? kvBytes
                : Math.min(kvBytes, serving.promptCache().of(kvBytes));
    }

    private static @Nullable PromptCacheFile promptCacheFile(
            EngineOptions options, Model model, BatchLimits limits, Resources resources) {
        Path file = options.serving().promptCacheFile();
        if (file == null || limits.promptCacheBytes() == 0) {
            return null;
        }
        ModelIdentity identity = resources.add(new ModelIdentity(
                model.file().parts().stream().map(GgufPart::path).toList(),
                options.lora(),
                file.resolveSibling(file.getFileName() + ".digests")));
        return new PromptCacheFile(file, identity, model.config().vocabularySize());
    }

    /** Rows computed while the weights are on their way cost those that generate nothing. */
    private static int ubatchBesideDecode(ServingOptions serving, MemoryPlanner.Division memory) {
        Plan.Forecast prefill = memory.weights().prefill();
        double free = prefill.computeSeconds() <= 0
                ? 0
                : memory.ubatch() * prefill.transferSeconds() / prefill.computeSeconds();
        int chosen = serving.ubatchBesideDecode() > 0
                ? serving.ubatchBesideDecode()
                : (int) Math.max(ServingOptions.LEAST_UBATCH_BESIDE_DECODE, Math.min(free, Integer.MAX_VALUE));
        return Math.min(memory.ubatch(), chosen);
    }

    /**
     * Prompts of so few tokens are computed where decoding is: moving weights to the device for them would take longer
     * than computing token by token with what the host has.
     */
    private static int shortPrompt(Plan plan) {
        if (plan.entries().stream().noneMatch(Plan.Entry::decodesOnHost)) {
            return 0;
        }
        double tokens =
                plan.prefill().sweepSeconds() / Math.max(1e-9, plan.decode().sweepSeconds());
        return (int) Math.min(MOST_SHORT_PROMPT, tokens);
    }

    private static int threads(EngineOptions options) {
        return options.threads() > 0 ? options.threads() : Runtime.getRuntime().availableProcessors();
    }

    private static void warnOfLongContext(EngineOptions options, ModelConfig config) {
        if (options.contextLength() > config.trainedContextLength()) {
            LOG.warn(
                    "Context length {} is beyond the {} tokens the model was trained for: expect poor answers",
                    options.contextLength(),
                    config.trainedContextLength());
        }
    }

    /** What is off for a model with layers of linear attention and was not turned off by the options. */
    private static List<SlowPath> linearAttentionPaths(Model model, EngineOptions options) {
        List<SlowPath> paths = new ArrayList<>();
        if (model.config().delta() != null && options.serving().speculation() != Speculation.OFF) {
            paths.add(new SlowPath(
                    "the state of the model's layers of linear attention cannot be taken back to where a guess was"
                            + " right: no tokens are guessed",
                    "speculation=off says that this is known"));
        }
        if (model.config().delta() != null && options.serving().promptCacheFile() != null) {
            paths.add(new SlowPath(
                    "a prompt cache file holds no states of layers of linear attention: it is neither read nor written,"
                            + " and the prompt cache begins empty",
                    "leave prompt-cache-file out"));
        }
        return paths;
    }

    private static EngineInfo info(
            Model model,
            EngineOptions options,
            Device device,
            Preparation preparation,
            BatchLimits limits,
            int threads,
            long loadNanos) {
        GgufFile file = model.file();
        ModelConfig config = model.config();
        return new EngineInfo(
                config.name(),
                file.path(),
                file.byteSize(),
                config.architecture().id(),
                !config.encoder(),
                file.tensors().stream().mapToLong(GgufTensor::elements).sum(),
                ModelConfig.dominantType(file).name(),
                config.layers(),
                config.vocabularySize(),
                config.dim(),
                Embedder.poolingOf(file.metadata().intOr(config.architecture().id() + ".pooling_type", 0)),
                limits.contextLength(),
                config.trainedContextLength(),
                options.kvCacheType(),
                device.backend(),
                device.description(),
                threads,
                loadNanos,
                0,
                Stream.of(
                                device.slowPaths(),
                                preparation.slowPath().stream().toList(),
                                linearAttentionPaths(model, options))
                        .flatMap(List::stream)
                        .toList(),
                preparation.link());
    }

    @Override
    public EngineInfo info() {
        return info;
    }

    @Override
    public Tokenizer tokenizer() {
        return tokenizer;
    }

    @Override
    public Optional<String> chatTemplate() {
        return encoder.templateSource();
    }

    @Override
    public String render(Prompt.Chat prompt) {
        requireGenerating();
        return encoder.render(prompt).text();
    }

    @Override
    public List<Integer> encode(Prompt prompt) {
        return Arrays.stream(encoder.encode(prompt)).boxed().toList();
    }

    @Override
    public Generation generate(GenerationRequest request, GenerationListener listener) {
        requireGenerating();
        int[] prompt = encoder.encode(request.prompt());
        if (prompt.length == 0) {
            throw new IllegalArgumentException("the prompt is empty");
        }
        if (prompt.length >= info.contextLength()) {
            throw new ContextLengthExceededException(prompt.length, info.contextLength());
        }
        LocalGeneration generation = new LocalGeneration(prompt.length, listener, this::failed);
        generation.onCancel(loop.submit(new SequenceRequest(
                prompt,
                request.maxTokens(),
                request.sampling(),
                request.stopSequences(),
                request.ignoreEndTokens(),
                request.grammar() == null ? null : constraints.of(request.grammar()),
                request.timeout() == null ? 0 : Math.max(1, request.timeout().toNanos()),
                generation)));
        generations.incrementAndGet();
        return generation;
    }

    private void requireGenerating() {
        if (!info.generates()) {
            throw new UnsupportedOperationException(info.modelFile() + ": architecture '" + info.architecture()
                    + "' is an encoder: it makes vectors of texts and cannot continue them. Set spring.ai.prefetch.model"
                    + " to a model that generates, and give this one to embeddings alone"
                    + " (spring.ai.model.chat=none, or spring.ai.prefetch.models.NAME.serves=embedding)");
        }
    }

    private static EngineStatus.@Nullable Fault latest(
            EngineStatus.@Nullable Fault one, EngineStatus.@Nullable Fault other) {
        return other == null || one != null && one.at().isAfter(other.at()) ? one : other;
    }

    private void failed(RuntimeException failure) {
        if (failure instanceof DeadlineExceededException) {
            // The request's own limit, and no fault of the engine; it is counted where it happens.
            return;
        }
        failures.incrementAndGet();
        lastFault = new EngineStatus.Fault(Instant.now(), String.valueOf(failure.getMessage()));
    }

    @Override
    public EmbeddingResult embed(List<String> texts, EmbeddingOptions options) throws InterruptedException {
        return embedder.embed(texts, options);
    }

    @Override
    public float[] logits(int[] tokens, boolean stepByStep) throws InterruptedException {
        requireGenerating();
        for (int token : tokens) {
            if (token < 0 || token >= info.vocabularySize()) {
                throw new IllegalArgumentException(
                        "token " + token + " is outside the vocabulary of " + info.vocabularySize());
            }
        }
        return loop.logits(tokens, stepByStep);
    }

    @Override
    public Duration warmUp(Duration limit) throws InterruptedException {
        Duration taken = PrefetchEngine.super.warmUp(limit);
        info = info.withWarmUpNanos(taken.toNanos());
        return taken;
    }

    @Override
    public Plan plan() {
        return places.weights().plan();
    }

    @Override
    public EngineStatus status() {
        BatchLoad load = loop.load();
        EngineStatus.State state = switch (load.state()) {
            case OPEN -> places.degraded() ? EngineStatus.State.DEGRADED : EngineStatus.State.READY;
            case CLOSED -> EngineStatus.State.CLOSED;
            case FAILED -> EngineStatus.State.FAILED;
        };
        return new EngineStatus(
                state,
                load.running(),
                load.waiting(),
                limits.maxConcurrency(),
                load.kvBytesInUse(),
                load.kvBytesCached(),
                limits.kvBytes(),
                places.weights().lookAheadBlocks(),
                generations.get(),
                failures.get(),
                latest(lastFault, places.deviceFault()),
                load.totals().plus(embedder.refused(), embedder.expired()));
    }

    @Override
    public void setLookAheadBlocks(int blocks) {
        places.weights().setLookAheadBlocks(blocks);
    }

    @Override
    public void chooseLookAhead() {
        places.weights().tuneLookAhead();
    }

    @Override
    public boolean choosesLookAhead() {
        return places.weights().tunesLookAhead();
    }

    @Override
    public PrefetchStatistics statistics() {
        return loop.statistics();
    }

    @Override
    public PrefetchStatistics statistics(Regime regime) {
        return places.statistics(regime);
    }

    @Override
    public String chromeTrace() {
        return places.weights().chromeTrace();
    }

    @Override
    public void close() {
        loop.requireOtherThread("close the engine");
        if (closed.compareAndSet(false, true)) {
            resources.close();
        }
    }
}
