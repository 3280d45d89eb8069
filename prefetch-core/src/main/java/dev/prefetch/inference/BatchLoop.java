package dev.prefetch.inference;

import dev.prefetch.backend.DeviceFailedException;
import dev.prefetch.backend.Devices;
import dev.prefetch.backend.Threads;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.model.LoraAdapter;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.WeightSource;
import dev.prefetch.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Runs all sequences of an engine on one compute thread.
 *
 * <p>How it works: requests wait in a {@link RequestQueue}. Between two sweeps the loop drops cancelled sequences, and the
 * {@link Admission} starts waiting ones for which there is a place and KV cache, or sends some back for which there is no
 * more. Each sweep carries the {@link SweepRows}: one
 * token of every generating sequence, with guesses of the next ones where that pays, and prompt tokens of those that are not
 * generating yet. So sequences join and leave at token boundaries, and all share each sweep's weights. Texts to embed are
 * prompts that are not continued. A failing sweep fails the sequences it carried, nothing else; a failing listener, or KV cache
 * that cannot be had, fails its own sequence.
 *
 * <p>Any thread adds to the queue and reads what {@link #load()} shows; everything else belongs to the compute thread.
 */
public final class BatchLoop implements AutoCloseable {

    private static final Logger LOG = LoggerFactory.getLogger(BatchLoop.class);

    private final ModelConfig config;
    private final ModelGraph graph;
    private final Failover failover;
    private final Tokenizer tokenizer;
    private final BatchLimits limits;
    private final int vocabularySize;
    private final Thread thread;
    private final @Nullable PromptCacheFile promptCacheFile;

    private final BatchCounters counters = new BatchCounters();
    private final RequestQueue queue = new RequestQueue();
    private final Admission admission;
    private final DraftCost draftCost = new DraftCost();
    private final Batch batch;
    private final SweepRows rows;
    /** Sequences that end with this sweep: told once it is over, so that its transfers are counted. */
    private final Map<Sequence, StopCause> ended = new LinkedHashMap<>();

    private volatile Machine machine;
    /** What happened at places that were left. */
    private volatile PrefetchStatistics before = PrefetchStatistics.NONE;

    private volatile long kvBytesInUse;
    private volatile long kvBytesCached;

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
        return new KvLayout(
                config.layerConfigs().stream()
                        .map(ModelConfig.LayerConfig::attention)
                        .toList(),
                type,
                config.delta());
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
            BatchLimits limits) {
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
            BatchLimits limits,
            @Nullable PromptCacheFile promptCacheFile) {
        this.failover = failover;
        this.config = config;
        this.graph = graph;
        this.tokenizer = tokenizer;
        BatchLimits possible = config.encoder() ? limits.withPromptCacheBytes(0) : limits;
        // A state cannot be taken back to where a guess was right.
        boolean plain = config.delta() == null && !config.encoder();
        this.limits = plain ? possible : possible.withSpeculation(Speculation.OFF);
        if (config.encoder() && limits.ubatch() < limits.contextLength()) {
            throw new IllegalArgumentException(
                    "a text of " + limits.contextLength() + " tokens does not fit a ubatch of " + limits.ubatch());
        }
        this.vocabularySize = config.vocabularySize();
        long longest = kvBytes(config, limits.kvType(), limits.contextLength(), limits.ubatch());
        if (limits.kvBytes() < longest) {
            throw new IllegalArgumentException("a sequence of " + limits.contextLength() + " tokens needs " + longest
                    + " bytes of KV cache, but there are only " + limits.kvBytes());
        }
        this.batch = new Batch(limits.ubatch() + limits.maxConcurrency());
        this.rows = new SweepRows(batch, this.limits, config.encoder());
        this.admission = new Admission(queue, this.limits, counters);
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
        try {
            queue.add(sequence, limits.maxConcurrency(), limits.queueLimit());
        } catch (QueueFullException e) {
            counters.refused.increment();
            throw e;
        }
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
        queue.add(sequences);
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
        LogitsTask task = new LogitsTask(tokens, stepByStep);
        queue.add(task);
        return task.await();
    }

    private void requireGenerating() {
        if (config.encoder()) {
            throw new UnsupportedOperationException("architecture '"
                    + config.architecture().id() + "' is an encoder: it makes vectors of texts and has no logits");
        }
    }

    /** What there is to do now; for display, since it changes all the time. */
    public BatchLoad load() {
        return queue.load(kvBytesInUse, kvBytesCached, counters.totals());
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

    private void loop() {
        try {
            while (queue.await(this::idle)) {
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

    private boolean idle() {
        return admission.active().isEmpty() && machine.answers.isEmpty();
    }

    private void step() {
        comeBack();
        LogitsTask task = admission.nextTask(machine.kvPool);
        if (task != null) {
            compute(task);
        }
        admission.endAbandoned();
        admission.admit(machine.kvPool);
        showLoad();
        if (!admission.active().isEmpty()) {
            sweep();
        } else if (!machine.answers.isEmpty() && !queue.somethingWaits()) {
            counters.answerTokens.add(machine.answers.sweep(() -> queue.closed() || queue.somethingWaits()));
        }
        showLoad();
    }

    private void showLoad() {
        queue.running(admission.active().size(), admission.generating());
        kvBytesInUse = machine.kvPool.bytesInUse();
        kvBytesCached = machine.kvPool.idleBytes();
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
        admission.restart(machine.kvPool);
        draftCost.forget();
    }

    private void compute(LogitsTask task) {
        try {
            task.compute(machine, batch, limits.ubatch(), vocabularySize, queue::closed);
        } catch (DeviceFailedException e) {
            if (failover == Failover.NONE) {
                task.fail(e);
                return;
            }
            queue.putBack(task);
            throw e;
        }
    }

    private void sweep() {
        try {
            rows.clear();
            admission.makeRoom();
            rows.choose(admission, draftCost);
            if (rows.isEmpty()) {
                return;
            }
            long start = System.nanoTime();
            boolean completed = machine.forward.run(
                    batch,
                    () -> queue.closed() || rows.abandoned(),
                    new Taker(),
                    (hidden, state) -> rows.ofHidden(hidden).takeHidden(state));
            if (completed) {
                if (rows.onlyGenerates()) {
                    draftCost.measured(batch.size(), System.nanoTime() - start);
                }
                computed();
            }
        } catch (DeviceFailedException e) {
            if (failover == Failover.NONE) {
                failSweep(e);
            } else {
                LOG.debug("{} sequences go on elsewhere", rows.carried().size());
                throw e;
            }
        } catch (RuntimeException e) {
            failSweep(e);
        } catch (Error e) {
            failSweep(new IllegalStateException("computing failed: " + e, e));
        } finally {
            ended.forEach(Sequence::conclude);
            ended.keySet().forEach(this::rememberAnswer);
            ended.clear();
        }
    }

    /** Notes that the rows of a sweep were computed. */
    private void computed() {
        for (GeneratingSequence sequence : rows.decoding()) {
            counters.draftedTokens.add(sequence.drafted());
            counters.acceptedTokens.add(sequence.accepted());
        }
        for (int i = 0; i < rows.carried().size(); i++) {
            Sequence sequence = rows.carried().get(i);
            sequence.computed(rows.count(i));
            if (sequence.hasEnded()) {
                admission.remove(sequence);
                counters.embeddedTexts.increment();
                ended.put(sequence, StopCause.MAX_TOKENS);
            }
        }
    }

    private void rememberAnswer(Sequence sequence) {
        if (limits.promptCacheBytes() > 0 && sequence instanceof GeneratingSequence generation) {
            machine.answers.add(generation.tokens());
        }
    }

    private void failSweep(RuntimeException failure) {
        LOG.warn("A sweep of {} sequences failed", rows.carried().size(), failure);
        rows.carried().forEach(sequence -> admission.fail(sequence, failure));
    }

    /** Gives the sequences their next tokens. */
    private final class Taker implements ForwardPass.LogitsConsumer {

        @Override
        public void accept(int output, float[] logits) {
            take(rows.ofOutput(output), sequence -> sequence.take(logits));
        }

        @Override
        public int bestOf(int output) {
            return rows.ofOutput(output).takesBest() ? tokenizer.vocabularySize() : 0;
        }

        @Override
        public void acceptBest(int output, int token, float logit) {
            take(rows.ofOutput(output), sequence -> sequence.takeBest(token, logit));
        }

        private void take(GeneratingSequence sequence, Function<GeneratingSequence, @Nullable StopCause> step) {
            if (sequence.cancelled()
                    || !sequence.wantsRow()
                    || !admission.active().contains(sequence)) {
                return;
            }
            try {
                StopCause cause = step.apply(sequence);
                if (cause != null) {
                    admission.remove(sequence);
                    ended.put(sequence, cause);
                }
            } catch (RuntimeException e) {
                admission.fail(sequence, e);
            } catch (Error e) {
                admission.fail(sequence, new IllegalStateException("a token could not be taken: " + e, e));
            }
        }
    }

    private void cancelEverything() {
        List<Sequence> left = new ArrayList<>(admission.removeAll());
        left.addAll(queue.closeAndDrain(
                new CancellationException("the engine was closed before the logits were computed")));
        left.forEach(sequence -> sequence.conclude(StopCause.CANCELLED));
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
        if (queue.closed() && !thread.isAlive()) {
            return;
        }
        queue.askToClose();
        Threads.joinUninterruptibly(List.of(thread));
        if (promptCacheFile != null) {
            promptCacheFile.save(machine.kvPool);
        }
        machine.close();
    }
}
