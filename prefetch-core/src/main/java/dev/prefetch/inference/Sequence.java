package dev.prefetch.inference;

import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.tokenizer.TokenDecoder;
import dev.prefetch.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * One request on its way through the batch loop: waiting, prefilling, generating, ended. Everything but
 * {@link #cancel()} belongs to the compute thread.
 */
final class Sequence {

    private final SequenceRequest request;
    private final Tokenizer tokenizer;
    private final TokenDecoder decoder;
    private final StopDetector stops;
    private final Sampler sampler;
    private final int capacity;
    private final List<Integer> generated = new ArrayList<>();
    private final StringBuilder text = new StringBuilder();
    private final Supplier<PrefetchStatistics> statistics;
    private final long submitted = System.nanoTime();
    private volatile boolean cancelled;

    private @Nullable KvCache cache;
    private boolean told;
    private int prefilled;
    private PrefetchStatistics before = PrefetchStatistics.NONE;
    private long started;
    private long prefillDone;
    private long firstToken;

    Sequence(SequenceRequest request, Tokenizer tokenizer, int contextLength, Supplier<PrefetchStatistics> statistics) {
        this.request = request;
        this.statistics = statistics;
        this.tokenizer = tokenizer;
        // Markers such as <tool_call> are control tokens in many vocabularies, and part of what the model says.
        this.decoder = tokenizer.newDecoder(true);
        this.stops = new StopDetector(request.stopSequences());
        this.sampler = new Sampler(request.sampling(), tokenizer.vocabularySize());
        long wanted = request.maxTokens() == 0 ? contextLength : (long) request.prompt().length + request.maxTokens();
        this.capacity = (int) Math.min(wanted, contextLength);
        for (int token : request.prompt()) {
            sampler.seePrompt(token);
        }
    }

    /** Asks for the end; may be called by any thread. */
    void cancel() {
        cancelled = true;
    }

    boolean cancelled() {
        return cancelled;
    }

    /** Positions this sequence may come to hold. */
    int capacity() {
        return capacity;
    }

    void start(KvCache promised) {
        cache = promised;
        before = statistics.get();
        started = System.nanoTime();
    }

    boolean generating() {
        return prefilled == request.prompt().length;
    }

    /**
     * Sees to the memory that {@link #addTo} with the same room needs.
     *
     * @throws dev.prefetch.backend.OutOfDeviceMemoryException when it cannot be had
     */
    void reserve(int room) {
        started().ensure(generating() ? position() + 1 : prefilled + nextRows(room));
    }

    private int nextRows(int room) {
        return Math.min(room, request.prompt().length - prefilled);
    }

    /** Position of the last generated token, which is computed next. */
    private int position() {
        return request.prompt().length + generated.size() - 1;
    }

    /** Adds this sequence's next rows to a batch; returns how many. */
    int addTo(Batch batch, int room) {
        KvCache memory = started();
        if (generating()) {
            int position = position();
            batch.addDecode(memory, generated.getLast(), position);
            return 1;
        }
        int count = nextRows(room);
        boolean last = prefilled + count == request.prompt().length;
        batch.addPrefill(memory, request.prompt(), prefilled, count, last ? Batch.Outputs.LAST : Batch.Outputs.NONE);
        return count;
    }

    /** Notes that the rows added were computed. */
    void computed(int rows) {
        if (!generating()) {
            prefilled += rows;
        }
    }

    /** Chooses the next token from its logits and emits its text; returns why the sequence ended, or null. */
    @Nullable
    StopCause take(float[] logits) {
        TokenConstraint constraint = request.constraint();
        if (constraint != null) {
            constraint.mask(logits);
        }
        int token = sampler.choose(logits);
        if (constraint != null) {
            constraint.accept(token);
        }
        long now = System.nanoTime();
        if (generated.isEmpty()) {
            prefillDone = now;
            firstToken = now;
        }
        generated.add(token);
        sampler.seeGenerated(token);
        boolean end = tokenizer.endOfGenerationTokens().contains(token);
        if (end && !request.ignoreEndTokens()) {
            return StopCause.END_TOKEN;
        }
        if (!end) {
            emit(stops.accept(decoder.next(token)));
        }
        if (stops.stopped()) {
            return StopCause.STOP_SEQUENCE;
        }
        if (request.maxTokens() > 0 && generated.size() >= request.maxTokens()) {
            return StopCause.MAX_TOKENS;
        }
        return request.prompt().length + generated.size() >= capacity ? StopCause.CONTEXT_FULL : null;
    }

    private void emit(String piece) {
        if (!piece.isEmpty()) {
            text.append(piece);
            request.listener().onText(piece);
        }
    }

    /** Releases the memory and tells the listener the end; {@link #told()} says whether it came to that. */
    void end(StopCause cause) {
        release();
        String rest = stops.accept(decoder.flush());
        emit(rest + stops.flush());
        long now = System.nanoTime();
        told = true;
        request.listener()
                .onEnd(new SequenceListener.End(
                        text.toString(),
                        List.copyOf(generated),
                        cause,
                        (started == 0 ? now : started) - submitted,
                        prefillDone == 0 ? 0 : prefillDone - started,
                        firstToken == 0 ? 0 : firstToken - submitted,
                        firstToken == 0 ? 0 : now - firstToken,
                        started == 0
                                ? PrefetchStatistics.NONE
                                : statistics.get().since(before)));
    }

    /** Releases the memory and tells the listener the failure. */
    void fail(RuntimeException failure) {
        release();
        told = true;
        request.listener().onFailure(failure);
    }

    /** Whether the listener has been told the end or a failure. */
    boolean told() {
        return told;
    }

    private void release() {
        if (cache != null) {
            cache.close();
        }
    }

    private KvCache started() {
        if (cache == null) {
            throw new IllegalStateException("sequence has not been started");
        }
        return cache;
    }
}
