package dev.prefetch.inference;

import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.tokenizer.TokenDecoder;
import dev.prefetch.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** A prompt that is continued: a {@link Sequence} with one more token per sweep, once its prompt is computed. */
final class GeneratingSequence extends Sequence {

    private static final int[] NO_TOKENS = {};

    private final SequenceRequest request;
    private final Tokenizer tokenizer;
    private final TokenDecoder decoder;
    private final StopDetector stops;
    private final Sampler sampler;
    private final List<Integer> generated = new ArrayList<>();
    private final StringBuilder text = new StringBuilder();
    private final Supplier<PrefetchStatistics> statistics;
    private final boolean shortPrompt;

    private PrefetchStatistics before = PrefetchStatistics.NONE;
    private @Nullable DraftSource drafts;
    private int[] draft = NO_TOKENS;
    /** What is thought to come next, drafted or not; -1 for nothing. */
    private int guess = -1;
    /** Rows of the draft that were right so far in this sweep. */
    private int verified;

    private boolean offDraft;
    private long started;
    private long prefillDone;
    private long firstToken;

    /**
     * @param shortPrompt whether the prompt is computed by decode kernels, which for few tokens is faster where its
     *     weights would have to be moved. It follows from the request alone, never from what else there is to do
     */
    GeneratingSequence(
            SequenceRequest request,
            Tokenizer tokenizer,
            int contextLength,
            boolean shortPrompt,
            Supplier<PrefetchStatistics> statistics) {
        super(
                request.prompt(),
                shortPrompt ? 0 : request.prompt().length,
                capacity(request, contextLength),
                request.timeoutNanos());
        this.request = request;
        this.statistics = statistics;
        this.shortPrompt = shortPrompt;
        this.tokenizer = tokenizer;
        // Markers such as <tool_call> are control tokens in many vocabularies, and part of what the model says.
        this.decoder = tokenizer.newDecoder(true);
        this.stops = new StopDetector(request.stopSequences());
        this.sampler = new Sampler(request.sampling(), tokenizer.vocabularySize());
        for (int token : request.prompt()) {
            sampler.seePrompt(token);
        }
    }

    private static int capacity(SequenceRequest request, int contextLength) {
        long wanted = request.maxTokens() == 0 ? contextLength : (long) request.prompt().length + request.maxTokens();
        return (int) Math.min(wanted, contextLength);
    }

    @Override
    void start(KvCache promised) {
        super.start(promised);
        if (started == 0) {
            before = statistics.get();
            started = System.nanoTime();
        }
    }

    @Override
    int[] known() {
        return generated.isEmpty() ? prompt() : Arrays.copyOf(tokens(), length() + generated.size() - 1);
    }

    @Override
    void forget() {
        draft = NO_TOKENS;
        guess = -1;
    }

    @Override
    boolean promiseNext() {
        return prefilling() || started().promise(position() + 1);
    }

    @Override
    void reserve(int room) {
        if (prefilling()) {
            super.reserve(room);
        } else {
            started().ensure(position(), position() + 1 + draft.length);
        }
    }

    /** Position of the last generated token, which is computed next. */
    private int position() {
        return length() + generated.size() - 1;
    }

    @Override
    int addTo(Batch batch, int room) {
        verified = 0;
        offDraft = false;
        if (prefilling()) {
            return super.addTo(batch, room);
        }
        int[] run = new int[1 + draft.length];
        run[0] = generated.getLast();
        System.arraycopy(draft, 0, run, 1, draft.length);
        batch.addDecode(started(), run, position());
        return run.length;
    }

    /**
     * Guesses the tokens behind the next one, to be verified in the next sweep.
     *
     * @param speculation whether and when
     * @param cost what rows cost
     * @param sequences sequences that generate
     * @param room most tokens
     */
    void draft(Speculation speculation, DraftCost cost, int sequences, int room) {
        draft = NO_TOKENS;
        guess = -1;
        if (speculation == Speculation.OFF) {
            return;
        }
        int left = Math.min(room, capacity() - position() - 2);
        DraftSource source = drafts();
        int[] proposed = left < 1 ? NO_TOKENS : source.propose(Math.min(left, DraftCost.MOST));
        if (proposed.length == 0) {
            return;
        }
        guess = proposed[0];
        int count = speculation == Speculation.ON
                ? proposed.length
                : Math.min(proposed.length, cost.worthwhile(sequences, source.hitRate()));
        if (!started().promise(position() + 1 + count)) {
            // Nobody gives way for a guess.
            count = Math.min(count, started().promisedTokens() - position() - 1);
        }
        draft = Arrays.copyOf(proposed, count);
    }

    private DraftSource drafts() {
        if (drafts == null) {
            drafts = new DraftSource(tokens());
        }
        return drafts;
    }

    /** Tokens guessed for this sweep. */
    int drafted() {
        return draft.length;
    }

    /** How many of those were right. */
    int accepted() {
        return verified;
    }

    /** Whether the next row is the sequence's next token: every guess before it was right. */
    boolean wantsRow() {
        return !offDraft;
    }

    /** Only what prefill kernels computed is the same for whoever comes next. */
    @Override
    boolean keepsPrompt() {
        return !shortPrompt;
    }

    /** Prompt and answer. */
    int[] tokens() {
        int[] tokens = Arrays.copyOf(prompt(), length() + generated.size());
        for (int i = 0; i < generated.size(); i++) {
            tokens[length() + i] = generated.get(i);
        }
        return tokens;
    }

    @Override
    Batch.Outputs outputs() {
        // When it begins again the token that follows is known already.
        return generated.isEmpty() ? Batch.Outputs.LAST : Batch.Outputs.NONE;
    }

    /** Chooses the next token from its logits and emits its text; returns why the sequence ended, or null. */
    @Nullable
    StopCause take(float[] logits) {
        TokenConstraint constraint = request.constraint();
        if (constraint != null) {
            constraint.mask(logits);
        }
        return take(sampler.choose(logits));
    }

    /** Whether {@link #takeBest} will do instead of {@link #take(float[])}. */
    boolean takesBest() {
        return request.constraint() == null && sampler.takesBest();
    }

    /** Takes the most likely token, the lowest of equal ones; returns why the sequence ended, or null. */
    @Nullable
    StopCause takeBest(int token, float logit) {
        Sampler.requireNumber(token, logit);
        return take(token);
    }

    private @Nullable StopCause take(int token) {
        TokenConstraint constraint = request.constraint();
        if (constraint != null) {
            constraint.accept(token);
        }
        long now = System.nanoTime();
        if (generated.isEmpty()) {
            prefillDone = now;
            firstToken = now;
        }
        verify(token);
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
        return length() + generated.size() >= capacity() ? StopCause.CONTEXT_FULL : null;
    }

    /** Compares the token chosen with what was guessed in its place. */
    private void verify(int token) {
        int expected = verified < draft.length ? draft[verified] : verified == 0 ? guess : -1;
        if (drafts != null) {
            if (expected >= 0) {
                drafts.learn(token == expected);
            }
            drafts.add(token);
        }
        if (verified < draft.length && token == expected) {
            verified++;
        } else {
            offDraft = true;
        }
    }

    private void emit(String piece) {
        if (!piece.isEmpty()) {
            text.append(piece);
            request.listener().onText(piece);
        }
    }

    @Override
    String progress() {
        return generated.isEmpty() ? super.progress() : generated.size() + " tokens were generated";
    }

    @Override
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
                        cachedTokens(),
                        (started == 0 ? now : started) - submitted,
                        prefillDone == 0 ? 0 : prefillDone - started,
                        firstToken == 0 ? 0 : firstToken - submitted,
                        firstToken == 0 ? 0 : now - firstToken,
                        started == 0
                                ? PrefetchStatistics.NONE
                                : statistics.get().since(before)));
    }

    @Override
    void fail(RuntimeException failure) {
        release();
        told = true;
        request.listener().onFailure(failure);
    }
}
