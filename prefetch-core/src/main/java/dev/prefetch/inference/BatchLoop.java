package dev.prefetch.inference;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.DeviceFailedException;
import dev.prefetch.backend.Devices;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.backend.Threads;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.model.LoraAdapter;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.WeightSource;
import dev.prefetch.tokenizer.Tokenizer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Runs all sequences of an engine on one compute thread.
 *
 * <p>How it works: requests wait in a queue. Between two sweeps the loop drops cancelled sequences and admits waiting ones
 * for which there is a place and KV cache. Each sweep carries one token of every generating sequence, with guesses of
 * the next ones where that pays, and as far as the ubatch has room prompt tokens of those that are not generating yet, each
 * an equal share. So sequences join and leave at token
 * boundaries, and all share each sweep's weights. Texts to embed are prompts that are not continued. A failing sweep fails the sequences it carried, nothing else; a failing
 * listener, or KV cache that cannot be had, fails its own sequence.
 *
 * <p>Shared state is the queue, guarded by {@link #lock}, and what {@link #load()} shows, which only the compute thread
 * writes; everything else belongs to the compute thread.
 */
public final class BatchLoop implements AutoCloseable {

    private static final Logger LOG = LoggerFactory.getLogger(BatchLoop.class);

    /** Texts to embed at the same time, so that many short ones leave others a share of a sweep. */
    private static final int MOST_TEXTS = 32;

    private final ModelConfig config;
    private final ModelGraph graph;
    private final Failover failover;
    private final Tokenizer tokenizer;
    private final Limits limits;
    private final Batch batch;
    private final int vocabularySize;
    private final Thread thread;
    private final @Nullable PromptCacheFile promptCacheFile;

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private final ArrayDeque<Sequence> waiting = new ArrayDeque<>();
    private final ArrayDeque<EmbeddingSequence> waitingTexts = new ArrayDeque<>();
    private final ArrayDeque<LogitsTask> logitsTasks = new ArrayDeque<>();
    private volatile boolean closed;
    private volatile boolean closeAsked;
    private volatile int running;
    private volatile int generating;
    private volatile long kvBytesInUse;
    private volatile long kvBytesCached;
    private final LongAdder promptTokens = new LongAdder();
    private final LongAdder cachedPromptTokens = new LongAdder();
    private final LongAdder answerTokens = new LongAdder();
    private final LongAdder draftedTokens = new LongAdder();
    private final LongAdder acceptedTokens = new LongAdder();
    private final LongAdder embeddedTexts = new LongAdder();
    private final LongAdder refused = new LongAdder();
    private final LongAdder expired = new LongAdder();

    private final List<Sequence> active = new ArrayList<>();
    private final Map<Sequence, StopCause> ended = new LinkedHashMap<>();
    private final Map<Sequence, RuntimeException> failures = new LinkedHashMap<>();
    private volatile Machine machine;
    /** What happened at places that were left. */
    private volatile PrefetchStatistics before = PrefetchStatistics.NONE;

    private final DraftCost draftCost = new DraftCost();

    /**
     * @param contextLength most positions of a sequence
     * @param ubatch most prompt tokens per sweep
     * @param ubatchBesideDecode most prompt tokens of a sweep that also decodes, so that a long prompt does not stall those
     *     that generate
     * @param maxConcurrency most sequences at the same time
     * @param kvType what keys and values are kept as
     * @param kvBytes bytes of KV cache for all sequences together, enough for one of full length: otherwise some would wait
     *     for ever
     * @param promptCacheBytes of them, what prompts of earlier sequences may take while nobody uses them; 0 keeps none
     * @param queueLimit most sequences that wait for a place
     * @param speculation whether and when tokens are guessed
     * @param shortPrompt most tokens of a prompt that is computed by decode kernels; 0 for none
     */
    public record Limits(
            int contextLength,
            int ubatch,
            int ubatchBesideDecode,
            int maxConcurrency,
            GgmlType kvType,
            long kvBytes,
            long promptCacheBytes,
            int queueLimit,
            Speculation speculation,
            int shortPrompt) {

        public Limits {
            if (contextLength < 1
                    || ubatch < 1
                    || ubatchBesideDecode < 1
                    || maxConcurrency < 1
                    || kvBytes < 1
                    || promptCacheBytes < 0
                    || queueLimit < 0
                    || shortPrompt < 0) {
                throw new IllegalArgumentException("limits out of range: contextLength " + contextLength + ", ubatch "
                        + ubatch + ", ubatchBesideDecode " + ubatchBesideDecode + ", maxConcurrency " + maxConcurrency
                        + ", kvBytes " + kvBytes + ", promptCacheBytes " + promptCacheBytes + ", queueLimit "
                        + queueLimit);
            }
        }

        /** Limits of a loop with f32 keys and values that keeps nothing, guesses nothing and lets everybody wait. */
        public Limits(int contextLength, int ubatch, int maxConcurrency, long kvBytes) {
            this(
                    contextLength,
                    ubatch,
                    ubatch,
                    maxConcurrency,
                    GgmlType.F32,
                    kvBytes,
                    0,
                    Integer.MAX_VALUE,
                    Speculation.OFF,
                    0);
        }

        public Limits withKvType(GgmlType value) {
            return new Limits(
                    contextLength,
                    ubatch,
                    ubatchBesideDecode,
                    maxConcurrency,
                    value,
                    kvBytes,
                    promptCacheBytes,
                    queueLimit,
                    speculation,
                    shortPrompt);
        }

        public Limits withUbatchBesideDecode(int value) {
            return new Limits(
                    contextLength,
                    ubatch,
                    value,
                    maxConcurrency,
                    kvType,
                    kvBytes,
                    promptCacheBytes,
                    queueLimit,
                    speculation,
                    shortPrompt);
        }

        public Limits withPromptCacheBytes(long value) {
            return new Limits(
                    contextLength,
                    ubatch,
                    ubatchBesideDecode,
                    maxConcurrency,
                    kvType,
                    kvBytes,
                    value,
                    queueLimit,
                    speculation,
                    shortPrompt);
        }

        public Limits withQueueLimit(int value) {
            return new Limits(
                    contextLength,
                    ubatch,
                    ubatchBesideDecode,
                    maxConcurrency,
                    kvType,
                    kvBytes,
                    promptCacheBytes,
                    value,
                    speculation,
                    shortPrompt);
        }

        public Limits withSpeculation(Speculation value) {
            return new Limits(
                    contextLength,
                    ubatch,
                    ubatchBesideDecode,
                    maxConcurrency,
                    kvType,
                    kvBytes,
                    promptCacheBytes,
                    queueLimit,
                    value,
                    shortPrompt);
        }

        public Limits withShortPrompt(int value) {
            return new Limits(
                    contextLength,
                    ubatch,
                    ubatchBesideDecode,
                    maxConcurrency,
                    kvType,
                    kvBytes,
                    promptCacheBytes,
                    queueLimit,
                    speculation,
                    value);
        }
    }

    /**
     * What the loop has to do at a moment.
     *
     * @param state whether it can do anything
     * @param running sequences that take part in sweeps
     * @param waiting sequences in the queue
     * @param kvBytesInUse bytes of KV cache promised to the running ones
     * @param kvBytesCached bytes of KV cache that keep earlier prompts and that nobody uses now
     * @param totals what was done so far
     */
    public record Load(State state, int running, int waiting, long kvBytesInUse, long kvBytesCached, Totals totals) {

        /** Whether a loop can do anything. */
        public enum State {
            /** It takes sequences. */
            OPEN,
            /** It was closed. */
            CLOSED,
            /** Its thread ended with an error; it takes nothing any more. */
            FAILED
        }
    }

    /**
     * What a loop has done; every number only grows.
     *
     * @param promptTokens tokens of the prompts of sequences that started
     * @param cachedPromptTokens of them, those that the prompt cache had
     * @param answerTokens tokens of answers computed as part of a prompt that may come next
     * @param draftedTokens tokens guessed and verified
     * @param acceptedTokens of them, those that were right
     * @param embeddedTexts texts whose vectors were computed
     * @param refused sequences refused because the queue was full
     * @param expired sequences that were not done in their time
     */
    public record Totals(
            long promptTokens,
            long cachedPromptTokens,
            long answerTokens,
            long draftedTokens,
            long acceptedTokens,
            long embeddedTexts,
            long refused,
            long expired) {}

    /** Bytes of the activations for sweeps of at most {@code rows} tokens. */
    public static long activationBytes(ModelConfig config, int rows) {
        return ForwardPass.activationBytes(config, rows);
    }

    /**
     * Bytes of KV cache of a sequence of that many positions.
     *
     * @param type what keys and values are kept as
     * @param ubatch most prompt tokens per sweep
     */
    public static long kvBytes(ModelConfig config, GgmlType type, int tokens, int ubatch) {
        return layout(config, type).sequenceBytes(tokens, mostRows(ubatch));
    }

    /** Bytes of the state of all layers of linear attention of a sequence; 0 where there are none. */
    public static long stateBytes(ModelConfig config, GgmlType type) {
        return layout(config, type).pageBytes(KvLayout.Span.STATE);
    }

    /** Most rows of one sequence in a sweep. */
    private static int mostRows(int ubatch) {
        return Math.max(ubatch, 1 + DraftCost.MOST);
    }

    private static KvLayout layout(ModelConfig config, GgmlType type) {
        if (config.encoder()) {
            // All layers use the same place one after the other; see ForwardPass.
            return new KvLayout(List.of(config.attention()), type);
        }
        List<AttentionShape> layers = config.layerConfigs().stream()
                .map(ModelConfig.LayerConfig::attention)
                .toList();
        return new KvLayout(layers, type, config.delta());
    }

    /** Bytes of LoRA adapters on one device, and of what they need for sweeps of at most {@code rows} tokens. */
    public static long adapterBytes(List<LoraAdapter> adapters, int rows) {
        return Adapters.byteSize(adapters, rows);
    }

    /** Bytes of the host's memory for such sweeps, beside a device with memory of its own. */
    public static long hostActivationBytes(ModelConfig config, int rows) {
        return ForwardPass.hostActivationBytes(config, rows);
    }

    public BatchLoop(
            Devices devices,
            ModelConfig config,
            ModelGraph graph,
            WeightSource weights,
            Tokenizer tokenizer,
            Limits limits) {
        this(new Workplace(devices, weights, List.of()), Failover.NONE, config, graph, tokenizer, limits, null);
    }

    /**
     * @param place where sweeps are computed
     * @param failover where instead when that fails
     * @param limits of a model with layers of linear attention no tokens are guessed, whatever they say, and of an encoder no
     *     prompts are kept either; it needs a ubatch of at least the context, since a text is computed as a whole
     * @param promptCacheFile where the prompt cache is from the last time, and for the next; null for nowhere. Not used for a
     *     model with layers of linear attention, whose states it does not hold
     */
    public BatchLoop(
            Workplace place,
            Failover failover,
            ModelConfig config,
            ModelGraph graph,
            Tokenizer tokenizer,
            Limits limits,
            @Nullable PromptCacheFile promptCacheFile) {
        this.failover = failover;
        this.config = config;
        this.graph = graph;
        this.tokenizer = tokenizer;
        Limits possible = config.encoder() ? limits.withPromptCacheBytes(0) : limits;
        // A state cannot be taken back to where a guess was right.
        boolean plain = config.delta() == null && !config.encoder();
        this.limits = plain ? possible : possible.withSpeculation(Speculation.OFF);
        if (config.encoder() && limits.ubatch() < limits.contextLength()) {
            throw new IllegalArgumentException(
                    "a text of " + limits.contextLength() + " tokens does not fit a ubatch of " + limits.ubatch());
        }
        this.vocabularySize = config.vocabularySize();
        this.batch = new Batch(limits.ubatch() + limits.maxConcurrency());
        long longest = kvBytes(config, limits.kvType(), limits.contextLength(), limits.ubatch());
        if (limits.kvBytes() < longest) {
            throw new IllegalArgumentException("a sequence of " + limits.contextLength() + " tokens needs " + longest
                    + " bytes of KV cache, but there are only " + limits.kvBytes());
        }
        this.promptCacheFile = plain ? promptCacheFile : null;
        this.machine = machine(place);
        if (this.promptCacheFile != null) {
            this.promptCacheFile.load(machine.kvPool);
        }
        this.thread = Thread.ofPlatform().name("prefetch-compute").daemon().unstarted(this::loop);
        thread.start();
    }

    private Machine machine(Workplace place) {
        return new Machine(
                place, config, graph, layout(config, limits.kvType()), mostRows(limits.ubatch()), batch, limits);
    }

    /** What moved so far, wherever sweeps were computed. */
    public PrefetchStatistics statistics() {
        return before.plus(machine.weights.statistics());
    }

    /**
     * Queues a sequence and returns at once; the returned action cancels it.
     *
     * @throws IllegalArgumentException when the prompt leaves no room for a token
     * @throws UnsupportedOperationException when the model is an encoder
     * @throws QueueFullException when as many wait as may
     * @throws IllegalStateException when the loop is closed
     */
    public Runnable submit(SequenceRequest request) {
        requireGenerating();
        if (request.prompt().length >= limits.contextLength()) {
            throw new IllegalArgumentException("a prompt of " + request.prompt().length
                    + " tokens leaves no room in a context of " + limits.contextLength());
        }
        GeneratingSequence sequence = new GeneratingSequence(
                request,
                tokenizer,
                limits.contextLength(),
                request.prompt().length <= limits.shortPrompt(),
                this::statistics);
        enqueue(() -> {
            // Those for whom there is a place leave the queue before the next sweep.
            int places = Math.max(0, limits.maxConcurrency() - generating);
            if (waiting.size() - places >= limits.queueLimit()) {
                refused.increment();
                throw new QueueFullException("generations", limits.queueLimit(), generating);
            }
            waiting.add(sequence);
        });
        return sequence::cancel;
    }

    /**
     * Queues texts whose vectors are wanted, all at once, and returns; the returned action cancels those that are left.
     * Texts share sweeps with each other and with what is generated.
     *
     * @throws IllegalArgumentException when a text is longer than the context
     * @throws IllegalStateException when the loop is closed
     */
    public Runnable submit(List<EmbeddingRequest> requests) {
        List<EmbeddingSequence> sequences = new ArrayList<>();
        for (EmbeddingRequest request : requests) {
            if (request.tokens().length > limits.contextLength()) {
                throw new IllegalArgumentException("a text of " + request.tokens().length
                        + " tokens does not fit a context of " + limits.contextLength());
            }
            sequences.add(new EmbeddingSequence(request));
        }
        enqueue(() -> waitingTexts.addAll(sequences));
        return () -> sequences.forEach(Sequence::cancel);
    }

    /**
     * Computes the logits after every token; {@code [tokens x vocabulary]}, row-major.
     *
     * @param stepByStep one token per sweep through the decode kernels, as generation does, instead of as a prompt
     * @throws IllegalArgumentException when there are none, more than the context holds, or more than an array holds the
     *     logits of
     * @throws UnsupportedOperationException when the model is an encoder
     * @throws IllegalStateException when the loop is closed, or the caller is the compute thread, which would wait for
     *     itself
     * @throws CancellationException when the loop is closed meanwhile
     */
    public float[] logits(int[] tokens, boolean stepByStep) throws InterruptedException {
        requireOtherThread("compute logits");
        requireGenerating();
        int most = Math.min(limits.contextLength(), Integer.MAX_VALUE / vocabularySize);
        if (tokens.length < 1 || tokens.length > most) {
            throw new IllegalArgumentException("logits need 1 to " + most + " tokens (context length "
                    + limits.contextLength() + ", vocabulary " + vocabularySize + ") but got " + tokens.length);
        }
        LogitsTask task = new LogitsTask(tokens.clone(), stepByStep, new CompletableFuture<>());
        enqueue(() -> logitsTasks.add(task));
        try {
            return task.result.get();
        } catch (InterruptedException e) {
            // Nobody waits for the result any more, so the rest of it is not computed.
            task.result.cancel(false);
            throw e;
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException failure) {
                throw failure;
            }
            throw new IllegalStateException("computing logits failed: " + e.getCause(), e.getCause());
        }
    }

    private void requireGenerating() {
        if (config.encoder()) {
            throw new UnsupportedOperationException("architecture '"
                    + config.architecture().id() + "' is an encoder: it makes vectors of texts and has no logits");
        }
    }

    private Totals totals() {
        return new Totals(
                promptTokens.sum(),
                cachedPromptTokens.sum(),
                answerTokens.sum(),
                draftedTokens.sum(),
                acceptedTokens.sum(),
                embeddedTexts.sum(),
                refused.sum(),
                expired.sum());
    }

    /** What there is to do now; for display, since it changes all the time. */
    public Load load() {
        lock.lock();
        try {
            Load.State state = !closed ? Load.State.OPEN : closeAsked ? Load.State.CLOSED : Load.State.FAILED;
            return new Load(
                    state, running, waiting.size() + waitingTexts.size(), kvBytesInUse, kvBytesCached, totals());
        } finally {
            lock.unlock();
        }
    }

    /**
     * Refuses what the compute thread, on which listeners run, cannot do without waiting for itself for ever.
     *
     * @throws IllegalStateException when the caller is the compute thread
     */
    public void requireOtherThread(String what) {
        if (Thread.currentThread() == thread) {
            throw new IllegalStateException(
                    "a listener cannot " + what + ", it runs on the engine's own thread: hand this to another thread");
        }
    }

    private void enqueue(Runnable add) {
        lock.lock();
        try {
            if (closed) {
                throw new IllegalStateException("the engine is closed");
            }
            add.run();
            changed.signal();
        } finally {
            lock.unlock();
        }
    }

    private void loop() {
        try {
            while (awaitWork()) {
                try {
                    step();
                } catch (DeviceFailedException e) {
                    goElsewhere(e);
                }
            }
        } catch (RuntimeException | Error e) {
            LOG.error("The compute thread failed; the engine is closed", e);
            throw e;
        } finally {
            cancelEverything();
        }
    }

    private void step() {
        comeBack();
        LogitsTask task = nextLogitsTask();
        if (task != null) {
            run(task);
        }
        endAbandoned();
        admit();
        showLoad();
        if (!active.isEmpty()) {
            sweep();
        } else if (!machine.answers.isEmpty() && !somethingWaits()) {
            answerTokens.add(machine.answers.sweep(() -> closed || somethingWaits()));
        }
        showLoad();
    }

    /** Goes on where the failover says, with everything that was running. */
    private void goElsewhere(DeviceFailedException failure) {
        leave();
        Workplace place = failover.after(failure);
        if (place == null) {
            throw new IllegalStateException("the device failed, and there is no other to go on with", failure);
        }
        moveTo(place);
    }

    private void leave() {
        before = statistics();
        try {
            machine.close();
        } catch (DeviceFailedException e) {
            LOG.debug("A failed device did not take its memory back", e);
        }
    }

    /** Comes back to a device that failed, once it can be used again. */
    private void comeBack() {
        Workplace place = failover.recovered();
        if (place != null) {
            leave();
            moveTo(place);
            failover.left();
        }
    }

    private void moveTo(Workplace place) {
        machine = machine(place);
        for (Sequence sequence : List.copyOf(active)) {
            int[] prefix = sequence.restart();
            try {
                KvCache cache = machine.kvPool.open(prefix, 0, sequence.capacity());
                if (cache == null) {
                    throw new IllegalStateException("there is no room for a sequence that had it before");
                }
                sequence.start(cache);
            } catch (RuntimeException e) {
                active.remove(sequence);
                fail(sequence, e);
            }
        }
        draftCost.forget();
    }

    private void showLoad() {
        running = active.size();
        generating = (int) generating();
        kvBytesInUse = machine.kvPool.bytesInUse();
        kvBytesCached = machine.kvPool.idleBytes();
    }

    /** Waits until there is something to do; false when the loop was closed. */
    private boolean awaitWork() {
        lock.lock();
        try {
            while (!closed && nothingToDo()) {
                changed.awaitUninterruptibly();
            }
            return !closed;
        } finally {
            lock.unlock();
        }
    }

    private boolean nothingToDo() {
        return active.isEmpty()
                && machine.answers.isEmpty()
                && waiting.isEmpty()
                && waitingTexts.isEmpty()
                && logitsTasks.isEmpty();
    }

    /** The next task for which there is KV cache now; running sequences end and make room. */
    private @Nullable LogitsTask nextLogitsTask() {
        lock.lock();
        try {
            return logitsTasks.isEmpty() || logitsTaskWaitsForRoom() ? null : logitsTasks.poll();
        } finally {
            lock.unlock();
        }
    }

    private boolean logitsTaskWaitsForRoom() {
        LogitsTask task = logitsTasks.peek();
        return task != null && !machine.kvPool.hasRoomFor(task.tokens.length);
    }

    /** Ends what was cancelled or is out of time. */
    private void endAbandoned() {
        List<Sequence> abandoned = new ArrayList<>();
        lock.lock();
        try {
            moveAbandoned(waiting.iterator(), abandoned);
            moveAbandoned(waitingTexts.iterator(), abandoned);
        } finally {
            lock.unlock();
        }
        moveAbandoned(active.iterator(), abandoned);
        for (Sequence sequence : abandoned) {
            if (sequence.cancelled()) {
                finish(sequence, StopCause.CANCELLED);
            } else {
                expired.increment();
                fail(sequence, sequence.deadlineExceeded());
            }
        }
    }

    private static void moveAbandoned(Iterator<? extends Sequence> from, List<Sequence> to) {
        while (from.hasNext()) {
            Sequence sequence = from.next();
            if (sequence.abandoned()) {
                from.remove();
                to.add(sequence);
            }
        }
    }

    private void admit() {
        lock.lock();
        try {
            // Were others let past one that waits for room, it might wait for ever.
            boolean room = !logitsTaskWaitsForRoom();
            ArrayDeque<? extends Sequence> queue = nextQueue();
            while (room && queue != null) {
                room = start(queue);
                queue = nextQueue();
            }
        } finally {
            lock.unlock();
        }
        failures.forEach(BatchLoop::fail);
        failures.clear();
    }

    /** The queue whose first may start and has waited longest; null when none may. */
    private @Nullable ArrayDeque<? extends Sequence> nextQueue() {
        Sequence generation = generating() < limits.maxConcurrency() ? waiting.peek() : null;
        EmbeddingSequence text = anotherText() ? waitingTexts.peek() : null;
        if (generation == null) {
            return text == null ? null : waitingTexts;
        }
        return text == null || generation.submitted - text.submitted <= 0 ? waiting : waitingTexts;
    }

    /** Starts the first of a queue if there is room for it. */
    private boolean start(ArrayDeque<? extends Sequence> queue) {
        Sequence sequence = queue.element();
        try {
            KvCache cache = machine.kvPool.open(sequence.prefix(), sequence.mostCachedTokens(), sequence.capacity());
            if (cache == null) {
                return false;
            }
            sequence.start(cache);
            active.add(sequence);
            if (sequence.keepsPrompt()) {
                promptTokens.add(sequence.length());
                cachedPromptTokens.add(sequence.cachedTokens());
            }
        } catch (DeviceFailedException e) {
            // It stays in the queue, for whatever goes on in the device's place.
            throw e;
        } catch (RuntimeException e) {
            // Memory that was promised and cannot be had, first of all; whatever else it is, it is this sequence's
            // alone.
            failures.put(sequence, e);
        }
        queue.remove();
        return true;
    }

    private long generating() {
        return active.stream().filter(GeneratingSequence.class::isInstance).count();
    }

    /** Whether a sweep has room for the rows of another text. */
    private boolean anotherText() {
        int rows = 0;
        int texts = 0;
        for (Sequence sequence : active) {
            if (sequence instanceof EmbeddingSequence) {
                rows += sequence.left();
                texts++;
            }
        }
        return rows < limits.ubatch() && texts < MOST_TEXTS;
    }

    private void sweep() {
        List<Sequence> carried = new ArrayList<>();
        List<GeneratingSequence> outputs = new ArrayList<>();
        List<EmbeddingSequence> hiddens = new ArrayList<>();
        int[] rows = new int[active.size()];
        try {
            batch.clear();
            List<GeneratingSequence> decoding = new ArrayList<>();
            List<Sequence> shortPrompts = new ArrayList<>();
            List<Sequence> prompts = new ArrayList<>();
            for (Sequence sequence : active) {
                if (!sequence.prefilling() && sequence instanceof GeneratingSequence generation) {
                    decoding.add(generation);
                } else if (sequence instanceof GeneratingSequence generation && generation.decodesPrompt()) {
                    shortPrompts.add(sequence);
                } else {
                    prompts.add(sequence);
                }
            }
            int draftRoom = prompts.isEmpty() && shortPrompts.isEmpty() ? limits.ubatch() : 0;
            for (GeneratingSequence sequence : decoding) {
                sequence.draft(limits.speculation(), draftCost, decoding.size(), draftRoom);
                draftRoom -= sequence.drafted();
                carry(sequence, 0, carried, outputs, hiddens, rows);
            }
            if (config.encoder()) {
                // Every position sees the whole text, so a text is in one sweep; in the order in which they came, or a
                // long one might wait for ever.
                wholeTexts(prompts, carried, outputs, hiddens, rows);
                prompts.clear();
            }
            // The shortest first, each with an equal share of what the ones before it left: no prompt waits for
            // another.
            prompts.sort(Comparator.comparingInt(Sequence::left));
            int room = batch.decodeRows() == 0 ? limits.ubatch() : limits.ubatchBesideDecode();
            for (Sequence sequence : shortPrompts) {
                room -= room > 0 ? carry(sequence, room, carried, outputs, hiddens, rows) : 0;
            }
            for (int i = 0; i < prompts.size() && room > 0; i++) {
                int share = Math.max(1, room / (prompts.size() - i));
                room -= carry(prompts.get(i), share, carried, outputs, hiddens, rows);
            }
            if (carried.isEmpty()) {
                return;
            }
            long before = System.nanoTime();
            boolean completed = machine.forward.run(
                    batch,
                    () -> closed || allAbandoned(carried),
                    new Taker(outputs),
                    (hidden, state) -> hiddens.get(hidden).takeHidden(state));
            if (completed) {
                if (batch.decodeRows() == batch.size() && shortPrompts.isEmpty()) {
                    draftCost.measured(batch.size(), System.nanoTime() - before);
                }
                for (GeneratingSequence sequence : decoding) {
                    draftedTokens.add(sequence.drafted());
                    acceptedTokens.add(sequence.accepted());
                }
                for (int i = 0; i < carried.size(); i++) {
                    computed(carried.get(i), rows[i]);
                }
            }
        } catch (DeviceFailedException e) {
            if (failover == Failover.NONE) {
                failAll(carried, e);
            } else {
                LOG.debug("{} sequences go on elsewhere", carried.size());
                throw e;
            }
        } catch (RuntimeException e) {
            failAll(carried, e);
        } catch (Error e) {
            failAll(carried, new IllegalStateException("computing failed: " + e, e));
        } finally {
            ended.forEach(BatchLoop::finish);
            ended.keySet().forEach(this::rememberAnswer);
            ended.clear();
        }
    }

    private void wholeTexts(
            List<Sequence> texts,
            List<Sequence> carried,
            List<GeneratingSequence> outputs,
            List<EmbeddingSequence> hiddens,
            int[] rows) {
        int room = limits.ubatch();
        for (Sequence text : texts) {
            if (text.left() <= room) {
                room -= carry(text, room, carried, outputs, hiddens, rows);
            }
        }
    }

    /** Asked for every layer. */
    private static boolean allAbandoned(List<Sequence> sequences) {
        for (int i = 0; i < sequences.size(); i++) {
            if (!sequences.get(i).abandoned()) {
                return false;
            }
        }
        return true;
    }

    private void rememberAnswer(Sequence sequence) {
        if (limits.promptCacheBytes() > 0 && sequence instanceof GeneratingSequence generation) {
            machine.answers.add(generation.tokens());
        }
    }

    /** Whether somebody waits for this thread. */
    private boolean somethingWaits() {
        lock.lock();
        try {
            return !waiting.isEmpty() || !waitingTexts.isEmpty() || !logitsTasks.isEmpty();
        } finally {
            lock.unlock();
        }
    }

    private int carry(
            Sequence sequence,
            int room,
            List<Sequence> carried,
            List<GeneratingSequence> outputs,
            List<EmbeddingSequence> hiddens,
            int[] rows) {
        try {
            sequence.reserve(room);
        } catch (OutOfDeviceMemoryException e) {
            active.remove(sequence);
            fail(sequence, e);
            return 0;
        }
        int outputsBefore = batch.outputs();
        int hiddensBefore = batch.hiddens();
        int count = sequence.addTo(batch, room);
        rows[carried.size()] = count;
        carried.add(sequence);
        if (sequence instanceof GeneratingSequence generation) {
            outputs.addAll(Collections.nCopies(batch.outputs() - outputsBefore, generation));
        }
        if (sequence instanceof EmbeddingSequence text) {
            hiddens.addAll(Collections.nCopies(batch.hiddens() - hiddensBefore, text));
        }
        return count;
    }

    private void computed(Sequence sequence, int rows) {
        sequence.computed(rows);
        if (sequence.hasEnded()) {
            active.remove(sequence);
            embeddedTexts.increment();
            ended.put(sequence, StopCause.MAX_TOKENS);
        }
    }

    /** Gives the sequences their next tokens. */
    private final class Taker implements ForwardPass.LogitsConsumer {

        private final List<GeneratingSequence> outputs;

        Taker(List<GeneratingSequence> outputs) {
            this.outputs = outputs;
        }

        @Override
        public void accept(int output, float[] logits) {
            take(outputs.get(output), sequence -> sequence.take(logits));
        }

        @Override
        public int bestOf(int output) {
            return outputs.get(output).takesBest() ? tokenizer.vocabularySize() : 0;
        }

        @Override
        public void acceptBest(int output, int token, float logit) {
            take(outputs.get(output), sequence -> sequence.takeBest(token, logit));
        }
    }

    private void take(GeneratingSequence sequence, Function<GeneratingSequence, @Nullable StopCause> step) {
        if (sequence.cancelled() || !sequence.wantsRow() || !active.contains(sequence)) {
            return;
        }
        try {
            StopCause cause = step.apply(sequence);
            if (cause != null) {
                active.remove(sequence);
                // Told once the sweep is over, so that its transfers are counted.
                ended.put(sequence, cause);
            }
        } catch (RuntimeException e) {
            active.remove(sequence);
            fail(sequence, e);
        } catch (Error e) {
            active.remove(sequence);
            fail(sequence, new IllegalStateException("a token could not be taken: " + e, e));
        }
    }

    private void failAll(List<Sequence> carried, RuntimeException failure) {
        LOG.warn("A sweep of {} sequences failed", carried.size(), failure);
        for (Sequence sequence : carried) {
            if (active.remove(sequence)) {
                fail(sequence, failure);
            }
        }
    }

    private static void finish(Sequence sequence, StopCause cause) {
        RuntimeException failure;
        try {
            sequence.end(cause);
            return;
        } catch (RuntimeException e) {
            failure = e;
        } catch (Error e) {
            failure = new IllegalStateException("a listener failed: " + e, e);
        }
        if (sequence.told) {
            LOG.warn("A listener failed when told of the end of its sequence", failure);
        } else {
            // It did not take the last piece of text; whoever waits for the end has to hear of one.
            fail(sequence, failure);
        }
    }

    private static void fail(Sequence sequence, RuntimeException failure) {
        try {
            sequence.fail(failure);
        } catch (RuntimeException | Error e) {
            LOG.warn("A listener failed when told of a failure", e);
        }
    }

    private void run(LogitsTask task) {
        try {
            compute(task);
        } catch (DeviceFailedException e) {
            if (failover == Failover.NONE) {
                task.result.completeExceptionally(e);
                return;
            }
            lock.lock();
            try {
                // To be computed again, elsewhere.
                logitsTasks.addFirst(task);
            } finally {
                lock.unlock();
            }
            throw e;
        }
    }

    private void compute(LogitsTask task) {
        int[] tokens = task.tokens;
        try (KvCache cache = machine.kvPool.open(tokens.length)) {
            float[] result = new float[tokens.length * vocabularySize];
            int step = task.stepByStep ? 1 : limits.ubatch();
            for (int from = 0; from < tokens.length; from += step) {
                int first = from;
                cache.ensure(first, Math.min(first + step, tokens.length));
                batch.clear();
                if (task.stepByStep) {
                    batch.addDecode(cache, tokens[first], first);
                } else {
                    int count = Math.min(step, tokens.length - first);
                    batch.addPrefill(cache, tokens, first, count, Batch.Outputs.ALL);
                }
                boolean completed = machine.forward.run(
                        batch,
                        () -> closed || task.result.isDone(),
                        (output, logits) ->
                                System.arraycopy(logits, 0, result, (first + output) * vocabularySize, vocabularySize));
                if (!completed) {
                    throw new CancellationException(
                            "the engine was closed, or the caller interrupted, while the logits" + " were computed");
                }
            }
            task.result.complete(result);
        } catch (DeviceFailedException e) {
            throw e;
        } catch (RuntimeException | Error e) {
            task.result.completeExceptionally(e);
        }
    }

    private void cancelEverything() {
        List<Sequence> left = new ArrayList<>(active);
        lock.lock();
        try {
            closed = true;
            left.addAll(waiting);
            left.addAll(waitingTexts);
            waiting.clear();
            waitingTexts.clear();
            logitsTasks.forEach(task -> task.result.completeExceptionally(
                    new CancellationException("the engine was closed before the logits were computed")));
            logitsTasks.clear();
        } finally {
            lock.unlock();
        }
        active.clear();
        left.forEach(sequence -> finish(sequence, StopCause.CANCELLED));
        showLoad();
    }

    /**
     * Cancels every sequence, waits for the compute thread, and releases the memory. Idempotent.
     *
     * @throws IllegalStateException when the caller is the compute thread
     */
    @Override
    public void close() {
        requireOtherThread("close the engine");
        lock.lock();
        try {
            if (closed && !thread.isAlive()) {
                return;
            }
            closeAsked |= !closed;
            closed = true;
            changed.signal();
        } finally {
            lock.unlock();
        }
        Threads.joinUninterruptibly(List.of(thread));
        if (promptCacheFile != null) {
            promptCacheFile.save(machine.kvPool);
        }
        machine.close();
    }

    /** Tokens whose logits are wanted, and where they go. */
    private record LogitsTask(int[] tokens, boolean stepByStep, CompletableFuture<float[]> result) {}
}
