package dev.prefetch.api;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.Devices;
import dev.prefetch.backend.Tier;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufTensor;
import dev.prefetch.inference.BatchLoop;
import dev.prefetch.inference.SequenceRequest;
import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.model.UnsupportedModelException;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.CostProbe;
import dev.prefetch.prefetch.LinkProbe;
import dev.prefetch.prefetch.LinkReport;
import dev.prefetch.prefetch.LoadListener;
import dev.prefetch.prefetch.MeasuredCosts;
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
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The engine: wires the rooms together and translates between the public types and theirs. */
final class LocalEngine implements PrefetchEngine {

    /** Bytes of one copy to a device: large enough to reach nearly the link's full speed. */
    static final int DEVICE_CHUNK_BYTES = 8 << 20;

    /** Readers that fill staging buffers: more than a disk needs, since copying takes a core each. */
    private static final int MOST_DEVICE_READERS = 8;

    /** What hiding transfers must promise for it to be called worth while. */
    private static final double WORTH_WHILE = 1.1;

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
        Device device = resources.add(
                provider.open(new DeviceOptions(threads, options.accelerator().ordinal())));
        Devices devices = device.tier() == Tier.HOST
                ? Devices.of(device)
                : new Devices(device, resources.add(Backends.host().open(new DeviceOptions(threads))));
        requireSupportedTypes(file, model.graph(), device);

        warnOfLongContext(options, model.config());
        Preparation preparation = Preparation.of(model, devices, options);
        MemoryPlanner.Division memory = preparation.memory();
        boolean choosesLookAhead = options.memory().lookAheadBlocks() == MemoryOptions.CHOOSE;
        StreamingWeights weights = resources.add(StreamingWeights.open(
                memory.weights(),
                devices,
                SplitReader.open(file.parts()),
                file.parts(),
                streaming(devices, options)
                        .withTraceSweeps(options.memory().traceSweeps())
                        .withTune(choosesLookAhead),
                listener));
        BatchLoop.Limits limits = new BatchLoop.Limits(
                model.contextLength(options), memory.ubatch(), options.maxConcurrency(), memory.kvPages());
        BatchLoop loop =
                resources.add(new BatchLoop(devices, model.config(), model.graph(), weights, tokenizer, limits));

        EngineInfo info = info(model, device, preparation, limits, threads, System.nanoTime() - start);
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
            Model model = Model.read(resources.add(GgufFile.open(options.model())), options);
            BackendProvider provider = Backends.choose(options.backend());
            int threads = threads(options);
            Device device = resources.add(provider.open(
                    new DeviceOptions(threads, options.accelerator().ordinal())));
            requireSupportedTypes(model.file(), model.graph(), device);
            Devices devices = device.tier() == Tier.HOST
                    ? Devices.of(device)
                    : new Devices(device, resources.add(Backends.host().open(new DeviceOptions(threads))));
            return Preparation.of(model, devices, options).memory().weights();
        } finally {
            resources.close();
        }
    }

    private static StreamingOptions streaming(Devices devices, EngineOptions options) {
        if (!devices.accelerated()) {
            return StreamingOptions.DEFAULT;
        }
        int readers = Math.clamp(
                Runtime.getRuntime().availableProcessors() / 2,
                StreamingOptions.DEFAULT_READER_THREADS,
                MOST_DEVICE_READERS);
        return StreamingOptions.DEFAULT
                .withChunkBytes(DEVICE_CHUNK_BYTES)
                .withReaderThreads(readers)
                .withPageLock(options.accelerator().pageLock());
    }

    /**
     * What was found out about the devices before weights are loaded.
     *
     * @param memory the division of the memory
     * @param link what was measured of the link; null where the host computes alone
     */
    private record Preparation(
            MemoryPlanner.Division memory, @Nullable LinkReport link) {

        static Preparation of(Model model, Devices devices, EngineOptions options) {
            if (!devices.accelerated()) {
                return new Preparation(model.divide(options, null, () -> measure(model, devices, options, null)), null);
            }
            LinkReport link = LinkProbe.measure(devices.primary());
            Preparation preparation = new Preparation(
                    model.divide(options, devices.primary(), () -> measure(model, devices, options, link)), link);
            preparation.slowPath().ifPresent(path -> LOG.warn("{} ({})", path.what(), path.remedy()));
            return preparation;
        }

        /** That hiding transfers gains next to nothing on this link, if so: one of the two takes nearly all the time. */
        Optional<Device.SlowPath> slowPath() {
            Plan plan = memory.weights();
            if (link == null
                    || plan.allResident()
                    || gain(plan.decode()) >= WORTH_WHILE
                    || gain(plan.prefill()) >= WORTH_WHILE) {
                return Optional.empty();
            }
            return Optional.of(new Device.SlowPath(
                    String.format(
                            Locale.ROOT,
                            "prefetching gains at most %.0f %% on this link of %.1f GB/s: a sweep computes %.1f ms and"
                                    + " transfers %.1f ms for a token, %.1f ms and %.1f ms for a prompt",
                            100 * (Math.max(gain(plan.decode()), gain(plan.prefill())) - 1),
                            link.bytesPerSecond() / 1e9,
                            plan.decode().computeSeconds() * 1e3,
                            plan.decode().transferSeconds() * 1e3,
                            plan.prefill().computeSeconds() * 1e3,
                            plan.prefill().transferSeconds() * 1e3),
                    "use a model with fewer bits per weight, more device memory, or longer prompts per sweep"
                            + " (spring.ai.prefetch.ubatch)"));
        }

        private static double gain(Plan.Forecast forecast) {
            double longer = Math.max(forecast.computeSeconds(), forecast.transferSeconds());
            return longer == 0 ? 1 : (forecast.computeSeconds() + forecast.transferSeconds()) / longer;
        }
    }

    private static MeasuredCosts measure(
            Model model, Devices devices, EngineOptions options, @Nullable LinkReport link) {
        try (BlockReader reader = SplitReader.open(model.file().parts())) {
            StreamingOptions streaming = streaming(devices, options);
            return link == null
                    ? new MeasuredCosts(
                            CostProbe.measure(model.graph().blocks(), devices.primary(), reader, streaming), null)
                    : CostProbe.measure(model.graph().blocks(), devices, reader, streaming, link);
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

    private static EngineInfo info(
            Model model, Device device, Preparation preparation, BatchLoop.Limits limits, int threads, long loadNanos) {
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
                Stream.concat(device.slowPaths().stream(), preparation.slowPath().stream())
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

        MemoryPlanner.Division divide(
                EngineOptions options, @Nullable Device accelerator, Supplier<MeasuredCosts> measure) {
            return MemoryPlanner.divide(options, config, graph, contextLength(options), accelerator, measure);
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
