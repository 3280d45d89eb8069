package dev.prefetch.api;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufTensor;
import dev.prefetch.inference.BatchLoop;
import dev.prefetch.inference.SequenceRequest;
import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.LoraAdapter;
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
import java.util.ArrayList;
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
    private final BatchLoop.Limits limits;
    private final long kvPageBytes;
    private final boolean choosesLookAhead;
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
            long kvPageBytes,
            boolean choosesLookAhead,
            Resources resources) {
        this.info = info;
        this.tokenizer = tokenizer;
        this.encoder = encoder;
        this.weights = weights;
        this.loop = loop;
        this.limits = limits;
        this.constraints = new GrammarConstraints(tokenizer);
        this.kvPageBytes = kvPageBytes;
        this.choosesLookAhead = choosesLookAhead;
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
        Model model = Model.read(resources.add(GgufFile.open(options.model())), options, resources);
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
        requireSupportedTypes(model.adapters(), device);

        warnOfLongContext(options, model.config());
        MemoryPlanner.Division memory = model.divide(options, () -> measure(model, device));
        boolean choosesLookAhead = options.memory().lookAheadBlocks() == MemoryOptions.CHOOSE;
        StreamingWeights weights = resources.add(StreamingWeights.open(
                memory.weights(),
                device,
                SplitReader.open(file.parts()),
                file.parts(),
                StreamingOptions.DEFAULT
                        .withTraceSweeps(options.memory().traceSweeps())
                        .withTune(choosesLookAhead),
                listener));
        BatchLoop.Limits limits = new BatchLoop.Limits(
                model.contextLength(options), memory.ubatch(), options.maxConcurrency(), memory.kvPages());
        BatchLoop loop = resources.add(
                new BatchLoop(device, model.config(), model.graph(), weights, model.adapters(), tokenizer, limits));

        EngineInfo info = info(model, device, limits, threads, System.nanoTime() - start);
        if (encoder.templateProblem() != null) {
            LOG.warn("Chat prompts will be refused: {}", encoder.templateProblem());
        }
        LOG.debug("Opened {}", info);
        return new LocalEngine(
                info,
                tokenizer,
                encoder,
                weights,
                loop,
                limits,
                BatchLoop.kvPageBytes(model.config()),
                choosesLookAhead,
                resources);
    }

    static Plan plan(EngineOptions options) {
        Resources resources = new Resources();
        try {
            Model model = Model.read(resources.add(GgufFile.open(options.model())), options, resources);
            return model.divide(options, () -> measure(model, options)).weights();
        } finally {
            resources.close();
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

    private static void requireSupportedTypes(List<LoraAdapter> adapters, Device device) {
        for (LoraAdapter adapter : adapters) {
            adapter.types()
                    .filter(type -> !device.weightTypes().contains(type))
                    .findFirst()
                    .ifPresent(type -> {
                        throw new UnsupportedModelException(adapter.file().path() + ": backend " + device.backend()
                                + " does not support its type " + type);
                    });
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
                generation)));
        generations.incrementAndGet();
        return generation;
    }

    private void failed(RuntimeException failure) {
        failures.incrementAndGet();
        lastFault = new EngineStatus.Fault(Instant.now(), String.valueOf(failure.getMessage()));
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
                load.kvPagesPromised() * kvPageBytes,
                limits.kvPages() * kvPageBytes,
                weights.lookAheadBlocks(),
                generations.get(),
                failures.get(),
                lastFault);
    }

    @Override
    public void setLookAheadBlocks(int blocks) {
        if (choosesLookAhead && !plan().allResident()) {
            throw new IllegalStateException(
                    "the engine chooses the look-ahead itself and would change it again: open it"
                            + " with a number of look-ahead blocks to choose it from outside");
        }
        weights.setLookAheadBlocks(blocks);
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
    private record Model(GgufFile file, ModelConfig config, ModelGraph graph, List<LoraAdapter> adapters) {

        /** @param resources take the adapters' files */
        static Model read(GgufFile file, EngineOptions options, Resources resources) {
            int context = options.contextLength() > 0 ? options.contextLength() : EngineOptions.DEFAULT_CONTEXT_LENGTH;
            ModelConfig config = ModelConfig.read(file, context);
            ModelGraph graph = ModelGraph.of(file, config);
            List<LoraAdapter> adapters = new ArrayList<>();
            for (LoraSource source : options.lora()) {
                GgufFile adapter = resources.add(GgufFile.open(source.path()));
                adapters.add(LoraAdapter.read(adapter, file, config, graph, source.scale()));
            }
            return new Model(file, config, graph, adapters);
        }

        int contextLength(EngineOptions options) {
            return options.contextLength() > 0
                    ? options.contextLength()
                    : Math.min(config.trainedContextLength(), EngineOptions.DEFAULT_CONTEXT_LENGTH);
        }

        MemoryPlanner.Division divide(EngineOptions options, Supplier<CostModel> measure) {
            return MemoryPlanner.divide(options, config, graph, adapters, contextLength(options), measure);
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
