package dev.prefetch.inference;

import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.tokenizer.TokenDecoder;
import dev.prefetch.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** A prompt that is continued: a {@link Sequence} with one more token per sweep, once its prompt is computed. */
final class GeneratingSequence extends Sequence {

    private final SequenceRequest request;
    private final Tokenizer tokenizer;
    private final TokenDecoder decoder;
    private final StopDetector stops;
    private final Sampler sampler;
    private final List<Integer> generated = new ArrayList<>();
    private final StringBuilder text = new StringBuilder();
    private final Supplier<PrefetchStatistics> statistics;

    private PrefetchStatistics before = PrefetchStatistics.NONE;
    private long started;
    private long prefillDone;
    private long firstToken;

    GeneratingSequence(
            SequenceRequest request, Tokenizer tokenizer, int contextLength, Supplier<PrefetchStatistics> statistics) {
        super(request.prompt(), capacity(request, contextLength));
        this.request = request;
        this.statistics = statistics;
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
        before = statistics.get();
        started = System.nanoTime();
    }

    @Override
    void reserve(int room) {
        if (prefilling()) {
            super.reserve(room);
        } else {
            started().ensure(position() + 1);
        }
    }

    /** Position of the last generated token, which is computed next. */
    private int position() {
        return length() + generated.size() - 1;
    }

    @Override
    int addTo(Batch batch, int room) {
        if (prefilling()) {
            return super.addTo(batch, room);
        }
        batch.addDecode(started(), generated.getLast(), position());
        return 1;
    }

    @Override
    Batch.Outputs outputs() {
        return Batch.Outputs.LAST;
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
        return length() + generated.size() >= capacity() ? StopCause.CONTEXT_FULL : null;
    }

    private void emit(String piece) {
        if (!piece.isEmpty()) {
            text.append(piece);
            request.listener().onText(piece);
        }
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
