package dev.prefetch.api;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufTensor;
import dev.prefetch.inference.BatchLoop;
import dev.prefetch.inference.DeadlineExceededException;
import dev.prefetch.inference.SequenceRequest;
import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.model.UnsupportedModelException;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.CostProbe;
import dev.prefetch.prefetch.LoadListener;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.prefetch.StreamingOptions;
import dev.prefetch.prefetch.StreamingWeights;
import dev.prefetch.storage.BlockReader;
import dev.prefetch.storage.SplitReader;
import dev.prefetch.tokenizer.Tokenizer;
import dev.prefetch.tokenizer.Tokenizers;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The engine: wires the rooms together and translates between the public types and theirs. */
final class LocalEngine implements PrefetchEngine {

    private static final Logger LOG = LoggerFactory.getLogger(LocalEngine.class);

    private final EngineInfo info;
    private final Tokenizer tokenizer;
    private final PromptEncoder encoder;
    private final StreamingWeights weights;
    private final BatchLoop loop;
    private final Resources resources;
    private final GrammarConstraints constraints;
    private final Embedder embedder;
    private final BatchLoop.Limits limits;
    private final AtomicBoolean closed = new AtomicBoolean();
    private final AtomicLong generations = new AtomicLong();
    private final AtomicLong failures = new AtomicLong();
    private volatile EngineStatus.@Nullable Fault lastFault;

    private LocalEngine(
            EngineInfo info,
            Tokenizer tokenizer,
            PromptEncoder encoder,
            StreamingWeights weights,
            BatchLoop loop,
            BatchLoop.Limits limits,
            Resources resources) {
        this.info = info;
        this.tokenizer = tokenizer;
        this.encoder = encoder;
        this.weights = weights;
        this.loop = loop;
        this.limits = limits;
        this.constraints = new GrammarConstraints(tokenizer);
        this.embedder = new Embedder(encoder, loop, info, this::failed);
        this.resources = resources;
    }

    static PrefetchEngine open(EngineOptions options, LoadListener listener) {
        long start = System.nanoTime();
        Resources resources = new Resources();
        try {
            return open(options, listener, resources, start);
        } catch (RuntimeException | Error e) {
            resources.close();
            throw e;
        }
    }

    private static LocalEngine open(EngineOptions options, LoadListener listener, Resources resources, long start) {
        Model model = Model.read(resources.add(GgufFile.open(options.model())), options);
        GgufFile file = model.file();
        Tokenizer tokenizer = Tokenizers.from(file.metadata());
        if (tokenizer.vocabularySize() > model.config().vocabularySize()) {
            throw new UnsupportedModelException(file.path() + ": the tokenizer has " + tokenizer.vocabularySize()
                    + " tokens but tensor token_embd.weight only "
                    + model.config().vocabularySize() + " rows");
        }
        PromptEncoder encoder = new PromptEncoder(file.metadata(), tokenizer);

        BackendProvider provider = Backends.choose(options.backend());
        int threads = threads(options);
        Device device = resources.add(provider.open(new DeviceOptions(threads)));
        requireSupportedTypes(file, model.graph(), device);

        warnOfLongContext(options, model.config());
        MemoryPlanner.Division memory = model.divide(options, () -> measure(model, device));
        StreamingWeights weights = resources.add(StreamingWeights.open(
                memory.weights(),
                device,
                SplitReader.open(file.parts()),
                file.parts(),
                StreamingOptions.DEFAULT
                        .withTraceSweeps(options.memory().traceSweeps())
                        .withTune(options.memory().lookAheadBlocks() == MemoryOptions.CHOOSE),
                listener));
        BatchLoop.Limits limits = new BatchLoop.Limits(
                model.contextLength(options),
                memory.ubatch(),
                ubatchBesideDecode(options.serving(), memory),
                options.maxConcurrency(),
                memory.kvBytes(),
                promptCacheBytes(options.serving(), memory.kvBytes()),
                options.serving().queueLimit(),
                options.serving().speculation());
        BatchLoop loop =
                resources.add(new BatchLoop(device, model.config(), model.graph(), weights, tokenizer, limits));

        EngineInfo info = info(model, device, limits, threads, System.nanoTime() - start);
        if (encoder.templateProblem() != null) {
            LOG.warn("Chat prompts will be refused: {}", encoder.templateProblem());
        }
        LOG.debug("Opened {}", info);
        return new LocalEngine(info, tokenizer, encoder, weights, loop, limits, resources);
    }

    static Plan plan(EngineOptions options) {
        try (GgufFile file = GgufFile.open(options.model())) {
            Model model = Model.read(file, options);
            return model.divide(options, () -> measure(model, options)).weights();
        }
    }

    private static CostModel measure(Model model, EngineOptions options) {
        try (Device device = Backends.choose(options.backend()).open(new DeviceOptions(threads(options)))) {
            requireSupportedTypes(model.file(), model.graph(), device);
            return measure(model, device);
        }
    }

    private static CostModel measure(Model model, Device device) {
        try (BlockReader reader = SplitReader.open(model.file().parts())) {
            return CostProbe.measure(model.graph().blocks(), device, reader, StreamingOptions.DEFAULT);
        }
    }

    private static long promptCacheBytes(ServingOptions serving, long kvBytes) {
        return serving.promptCache() == null
                ? kvBytes
                : Math.min(kvBytes, serving.promptCache().of(kvBytes));
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

    private static void requireSupportedTypes(GgufFile file, ModelGraph graph, Device device) {
        Set<GgmlType> supported = device.weightTypes();
        for (WeightBlock block : graph.blocks()) {
            for (BlockTensor tensor : block.tensors()) {
                if (!supported.contains(tensor.type())) {
                    throw new UnsupportedModelException(file.path() + ": tensor " + tensor.name() + " has type "
                            + tensor.type() + ", which backend " + device.backend()
                            + " does not support; supported are "
                            + supported.stream().sorted().toList());
                }
            }
        }
    }

    private static EngineInfo info(Model model, Device device, BatchLoop.Limits limits, int threads, long loadNanos) {
        GgufFile file = model.file();
        ModelConfig config = model.config();
        return new EngineInfo(
                config.name(),
                file.path(),
                file.byteSize(),
                config.architecture().id(),
                file.tensors().stream().mapToLong(GgufTensor::elements).sum(),
                ModelConfig.dominantType(file).name(),
                config.layers(),
                config.vocabularySize(),
                config.dim(),
                Embedder.poolingOf(file.metadata().intOr(config.architecture().id() + ".pooling_type", 0)),
                limits.contextLength(),
                config.trainedContextLength(),
                device.backend(),
                device.description(),
                threads,
                loadNanos,
                device.slowPaths());
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
        return encoder.render(prompt).text();
    }

    @Override
    public List<Integer> encode(Prompt prompt) {
        return Arrays.stream(encoder.encode(prompt)).boxed().toList();
    }

    @Override
    public Generation generate(GenerationRequest request, GenerationListener listener) {
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
        for (int token : tokens) {
            if (token < 0 || token >= info.vocabularySize()) {
                throw new IllegalArgumentException(
                        "token " + token + " is outside the vocabulary of " + info.vocabularySize());
            }
        }
        return loop.logits(tokens, stepByStep);
    }

    @Override
    public Plan plan() {
        return weights.plan();
    }

    @Override
    public EngineStatus status() {
        BatchLoop.Load load = loop.load();
        EngineStatus.State state = switch (load.state()) {
            case OPEN -> EngineStatus.State.READY;
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
                weights.lookAheadBlocks(),
                generations.get(),
                failures.get(),
                lastFault,
                counters(load.totals()));
    }

    private static EngineStatus.Counters counters(BatchLoop.Totals totals) {
        return new EngineStatus.Counters(
                totals.promptTokens(),
                totals.cachedPromptTokens(),
                totals.answerTokens(),
                totals.draftedTokens(),
                totals.acceptedTokens(),
                totals.embeddedTexts(),
                totals.refused(),
                totals.expired());
    }

    @Override
    public void setLookAheadBlocks(int blocks) {
        weights.setLookAheadBlocks(blocks);
    }

    @Override
    public void chooseLookAhead() {
        weights.tuneLookAhead();
    }

    @Override
    public boolean choosesLookAhead() {
        return weights.tunesLookAhead();
    }

    @Override
    public PrefetchStatistics statistics() {
        return weights.statistics();
    }

    @Override
    public PrefetchStatistics statistics(Regime regime) {
        return weights.statistics(regime);
    }

    @Override
    public String chromeTrace() {
        return weights.chromeTrace();
    }

    @Override
    public void close() {
        loop.requireOtherThread("close the engine");
        if (closed.compareAndSet(false, true)) {
            resources.close();
        }
    }

    /** A file read far enough to plan with it. */
    private record Model(GgufFile file, ModelConfig config, ModelGraph graph) {

        static Model read(GgufFile file, EngineOptions options) {
            int context = options.contextLength() > 0 ? options.contextLength() : EngineOptions.DEFAULT_CONTEXT_LENGTH;
            ModelConfig config = ModelConfig.read(file, context);
            return new Model(file, config, ModelGraph.of(file, config));
        }

        int contextLength(EngineOptions options) {
            return options.contextLength() > 0
                    ? options.contextLength()
                    : Math.min(config.trainedContextLength(), EngineOptions.DEFAULT_CONTEXT_LENGTH);
        }

        MemoryPlanner.Division divide(EngineOptions options, Supplier<CostModel> measure) {
            return MemoryPlanner.divide(options, config, graph, contextLength(options), measure);
        }
    }

    /** What was opened, closed in reverse order. */
    private static final class Resources {

        private final Deque<AutoCloseable> opened = new ArrayDeque<>();

        <T extends AutoCloseable> T add(T resource) {
            opened.push(resource);
            return resource;
        }

        void close() {
            while (!opened.isEmpty()) {
                AutoCloseable resource = opened.pop();
                try {
                    resource.close();
                } catch (Exception e) {
                    LOG.warn("Closing {} failed", resource.getClass().getSimpleName(), e);
                }
            }
        }
    }
}
