package dev.prefetch.spring;

import dev.prefetch.api.Generation;
import dev.prefetch.api.GenerationListener;
import dev.prefetch.api.GenerationResult;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.inference.QueueFullException;
import io.micrometer.observation.Observation;
import io.micrometer.observation.ObservationRegistry;
import io.micrometer.observation.contextpropagation.ObservationThreadLocalAccessor;
import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.model.MessageAggregator;
import org.springframework.ai.chat.observation.ChatModelObservationContext;
import org.springframework.ai.chat.observation.ChatModelObservationConvention;
import org.springframework.ai.chat.observation.ChatModelObservationDocumentation;
import org.springframework.ai.chat.observation.DefaultChatModelObservationConvention;
import org.springframework.ai.chat.prompt.ChatOptions;
import org.springframework.ai.chat.prompt.Prompt;
import reactor.core.publisher.Flux;
import reactor.core.publisher.FluxSink;
import reactor.core.scheduler.Schedulers;
import reactor.util.context.ContextView;

/**
 * A chat model that runs inside this process, on a {@link PrefetchEngine}. Thread-safe; it does not own the engine.
 *
 * <p>Options of a request win over {@link #getOptions()} one by one, whatever class they have. Stopping early frees the
 * engine: cancelling a stream, and interrupting a thread that waits in {@link #call(Prompt)}, end the computation
 * within one token.
 *
 * <p>Tool calls are read from the syntax that the model's chat template shows. They come back as tool calls of the
 * message, each once and whole; in a stream, in its last element. This class never executes one: {@code ChatClient}
 * does. What is not a well-formed call of an offered tool stays text. Reasoning is taken out of the content and put into
 * the message's metadata under {@value #THINKING}: in the parts of a stream what is new, in the last one all of it.
 *
 * <p>The last element of a stream has no text; it carries the finish reason ({@code stop}, {@code tool_calls},
 * {@code length} or {@code cancelled}), the tool calls, the usage and the timings.
 */
public final class PrefetchChatModel implements ChatModel {

    /** Name of this provider in observations. */
    public static final String PROVIDER = "prefetch";

    /** Key of the metadata, of messages and of generations, that holds the model's reasoning. */
    public static final String THINKING = "thinking";

    private static final String TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk";

    private static final Logger LOG = LoggerFactory.getLogger(PrefetchChatModel.class);

    private static final ChatModelObservationConvention DEFAULT_CONVENTION =
            new DefaultChatModelObservationConvention();

    private final PrefetchEngine engine;
    private final PrefetchChatOptions givenOptions;
    private final ObservationRegistry observationRegistry;
    private final @Nullable ChatModelObservationConvention observationConvention;
    private final GenerationRecorder recorder;
    private final GenerationGuard guard;
    private final GenerationLimits limits;
    private final @Nullable ChatFallback fallback;
    private final AtomicBoolean toldOfUnknownSyntax = new AtomicBoolean();
    private volatile @Nullable Loaded loaded;

    private PrefetchChatModel(Builder builder) {
        this.engine = builder.engine;
        this.givenOptions = builder.options;
        this.observationRegistry = builder.observationRegistry;
        this.observationConvention = builder.observationConvention;
        this.recorder = builder.recorder;
        this.guard = builder.guard;
        this.limits = builder.limits;
        this.fallback = builder.fallback;
        LoadingEngine.whenLoaded(engine, ready -> loaded());
    }

    /**
     * What is known of the model once it is loaded.
     *
     * @param modelName its name
     * @param options options of requests that set none themselves, with the model's name in them
     * @param syntax how it writes tool calls and reasoning
     * @param requests makes the engine's requests
     */
    private record Loaded(String modelName, PrefetchChatOptions options, OutputSyntax syntax, RequestMapper requests) {}

    /** Waits for the engine where it is still being loaded. */
    private Loaded loaded() {
        Loaded known = loaded;
        if (known == null) {
            String modelName = engine.info().modelName();
            OutputSyntax syntax = OutputSyntax.of(engine.chatTemplate().orElse(null));
            PrefetchChatOptions options = givenOptions.getModel() != null
                    ? givenOptions
                    : givenOptions.mutate().model(modelName).build();
            known = new Loaded(modelName, options, syntax, new RequestMapper(engine, syntax));
            loaded = known;
        }
        return known;
    }

    /** A builder for a model on an engine, which the caller closes. */
    public static Builder builder(PrefetchEngine engine) {
        return new Builder(engine);
    }

    /** Options of requests that set none themselves; without the model's name while the engine is being loaded. */
    @Override
    public PrefetchChatOptions getOptions() {
        return LoadingEngine.isLoaded(engine) ? loaded().options() : givenOptions;
    }

    /**
     * Answers a prompt. Waits while the engine is being loaded, unless there is a fallback for that.
     *
     * @throws IllegalArgumentException for media, a model other than the loaded one, an option out of its range, or an
     *     output schema or grammar that cannot be enforced (for a schema a
     *     {@link dev.prefetch.grammar.UnsupportedSchemaException} that names the keyword)
     * @throws dev.prefetch.api.ContextLengthExceededException when the prompt leaves no room for an answer
     * @throws dev.prefetch.template.TemplateException when the model's chat template refuses the conversation
     * @throws dev.prefetch.inference.QueueFullException when as many generations wait as may
     * @throws dev.prefetch.inference.DeadlineExceededException when it takes longer than the option timeout allows
     * @throws GenerationTimeoutException when it takes longer than the limits allow
     * @throws IllegalStateException when the engine is closed, or the waiting thread is interrupted
     */
    @Override
    public ChatResponse call(Prompt prompt) {
        if (fallback == null) {
            return callEngine(prompt);
        }
        RuntimeException failure = null;
        ChatFallback.Reason reason = absence();
        if (reason == null) {
            try {
                return callEngine(prompt);
            } catch (RuntimeException e) {
                failure = e;
                reason = reason(e);
            }
        }
        ChatModel other = fallback.model().get();
        Prompt translated = reason == null ? null : fallback.translate(prompt, other);
        if (translated != null && reason != null) {
            fellBack(reason, failure);
            return other.call(translated);
        }
        if (failure != null) {
            throw failure;
        }
        return callEngine(prompt);
    }

    private ChatResponse callEngine(Prompt prompt) {
        Request complete = complete(prompt);
        ChatModelObservationContext context = observationContext(complete.prompt(), false);
        Observation observation = observation(context);
        ChatResponse response = observation.observe(() -> {
            ChatResponse answer = guard.call(() -> answer(complete));
            noteFirstChunk(observation, answer);
            context.setResponse(answer);
            return answer;
        });
        return Objects.requireNonNull(response, "response");
    }

    /** Like {@link #call(Prompt)}, part by part; what that throws, the stream ends with. Each subscription asks anew. */
    @Override
    public Flux<ChatResponse> stream(Prompt prompt) {
        return fallback == null ? streamEngine(prompt) : Flux.defer(() -> streamOrFallBack(prompt, fallback));
    }

    private Flux<ChatResponse> streamOrFallBack(Prompt prompt, ChatFallback alternative) {
        Flux<ChatResponse> own = streamEngine(prompt);
        ChatFallback.Reason absent = absence();
        if (absent != null) {
            return fallBack(prompt, alternative, absent, null, own);
        }
        AtomicBoolean begun = new AtomicBoolean();
        return own.doOnNext(chunk -> begun.set(true)).onErrorResume(failure -> {
            // What was shown cannot be taken back, so another model must not begin anew.
            ChatFallback.Reason reason = begun.get() ? null : reason(failure);
            return reason == null
                    ? Flux.error(failure)
                    : fallBack(prompt, alternative, reason, failure, Flux.error(failure));
        });
    }

    private Flux<ChatResponse> fallBack(
            Prompt prompt,
            ChatFallback alternative,
            ChatFallback.Reason reason,
            @Nullable Throwable failure,
            Flux<ChatResponse> otherwise) {
        ChatModel other = alternative.model().get();
        Prompt translated = alternative.translate(prompt, other);
        if (translated == null) {
            return otherwise;
        }
        fellBack(reason, failure);
        return other.stream(translated);
    }

    /** Why there is nothing to ask, if so, as far as the fallback is for that. */
    private ChatFallback.@Nullable Reason absence() {
        return switch (engine.status().state()) {
            case READY, DEGRADED -> null;
            case LOADING, CLOSED, FAILED -> only(ChatFallback.Reason.DOWN);
        };
    }

    private ChatFallback.@Nullable Reason reason(Throwable failure) {
        if (failure instanceof QueueFullException) {
            return only(ChatFallback.Reason.SATURATED);
        }
        ChatFallback.Reason refusal = guard.refusal(failure);
        if (refusal != null) {
            return only(refusal);
        }
        return EngineFaults.isInfrastructure(failure) ? only(ChatFallback.Reason.DOWN) : absence();
    }

    private ChatFallback.@Nullable Reason only(ChatFallback.Reason reason) {
        return fallback != null && fallback.on().contains(reason) ? reason : null;
    }

    private void fellBack(ChatFallback.Reason reason, @Nullable Throwable failure) {
        LOG.info(
                "Asking the fallback model: {}",
                failure == null ? engine.status().state() : failure.toString());
        recorder.fellBack(reason);
    }

    private Flux<ChatResponse> streamEngine(Prompt prompt) {
        Flux<ChatResponse> answer = streamLoaded(prompt);
        return Flux.defer(() -> LoadingEngine.isLoaded(engine)
                ? answer
                // Waiting must not block the subscriber's thread, which may be an event loop.
                : answer.subscribeOn(Schedulers.boundedElastic()));
    }

    private Flux<ChatResponse> streamLoaded(Prompt prompt) {
        return Flux.deferContextual(subscriber -> {
            Request complete = complete(prompt);
            ChatModelObservationContext context = observationContext(complete.prompt(), true);
            Observation observation =
                    observation(context).parentObservation(parentOf(subscriber)).start();
            Flux<ChatResponse> answer = guard.stream(Flux.<ChatResponse>create(
                            sink -> generate(complete, sink), FluxSink.OverflowStrategy.BUFFER))
                    // The engine's thread serves all requests: what subscribers do must never run on it.
                    .publishOn(Schedulers.boundedElastic())
                    .doOnNext(chunk -> noteFirstChunk(observation, chunk))
                    .doOnError(observation::error)
                    .doFinally(signal -> observation.stop())
                    .contextWrite(values -> values.put(ObservationThreadLocalAccessor.KEY, observation));
            return new MessageAggregator().aggregate(answer, context::setResponse);
        });
    }

    private ChatResponse answer(Request complete) {
        RequestMapper.Mapped request = map(complete);
        CompletableFuture<GenerationResult> end = new CompletableFuture<>();
        Generation generation = start(request, new GenerationListener() {
            @Override
            public void onComplete(GenerationResult result) {
                recorder.completed(result);
                end.complete(result);
            }

            @Override
            public void onFailure(RuntimeException failure) {
                recorder.failed(failure);
                end.completeExceptionally(failure);
            }
        });
        GenerationResult result = await(end, generation);
        OutputParser output = output(request);
        output.accept(result.text());
        output.finish();
        return responses(request).whole(result, output);
    }

    private Generation start(RequestMapper.Mapped request, GenerationListener listener) {
        GenerationWatch watch = new GenerationWatch(listener, limits);
        try {
            Generation generation = engine.generate(request.generation(), watch);
            watch.watch(generation);
            return generation;
        } catch (RuntimeException e) {
            watch.abandon();
            throw e;
        }
    }

    private void generate(Request complete, FluxSink<ChatResponse> sink) {
        RequestMapper.Mapped request = map(complete);
        ResponseMapper responses = responses(request);
        OutputParser output = output(request);
        Generation generation = start(request, new GenerationListener() {
            @Override
            public void onText(String text) {
                next(output.accept(text));
            }

            @Override
            public void onComplete(GenerationResult result) {
                recorder.completed(result);
                next(output.finish());
                sink.next(responses.last(result, output));
                sink.complete();
            }

            private void next(OutputParser.Part part) {
                if (!part.isEmpty()) {
                    sink.next(responses.chunk(part));
                }
            }

            @Override
            public void onFailure(RuntimeException failure) {
                recorder.failed(failure);
                sink.error(failure);
            }
        });
        sink.onCancel(generation::cancel);
    }

    private static GenerationResult await(CompletableFuture<GenerationResult> end, Generation generation) {
        try {
            return end.get();
        } catch (InterruptedException e) {
            generation.cancel();
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while waiting for the answer, which was cancelled", e);
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException failure) {
                throw failure;
            }
            throw new CompletionException(e.getCause());
        }
    }

    private Request complete(Prompt prompt) {
        ChatOptions given = prompt.getOptions();
        PrefetchChatOptions complete = given == null
                ? loaded().options()
                : PrefetchChatOptions.from(given).withDefaults(loaded().options());
        return new Request(new Prompt(prompt.getInstructions(), complete), complete);
    }

    private RequestMapper.Mapped map(Request complete) {
        RequestMapper.Mapped mapped = loaded().requests().map(complete.prompt().getInstructions(), complete.options());
        if (loaded().syntax().tools() == null
                && !mapped.tools().isEmpty()
                && toldOfUnknownSyntax.compareAndSet(false, true)) {
            LOG.warn(
                    "The chat template of {} shows no tool-call syntax that is known here: calls come back as text."
                            + " Use a model with a supported one; the documentation lists them",
                    loaded().modelName());
        }
        return mapped;
    }

    private OutputParser output(RequestMapper.Mapped request) {
        return new OutputParser(loaded().syntax(), request.tools(), request.insideThinking(), request.keepThinking());
    }

    private ResponseMapper responses(RequestMapper.Mapped request) {
        return new ResponseMapper(
                loaded().modelName(), request.generation().sampling().seed(), request.callIds());
    }

    private static ChatModelObservationContext observationContext(Prompt prompt, boolean streaming) {
        return ChatModelObservationContext.builder()
                .prompt(prompt)
                .provider(PROVIDER)
                .streaming(streaming)
                .build();
    }

    private Observation observation(ChatModelObservationContext context) {
        return ChatModelObservationDocumentation.CHAT_MODEL_OPERATION.observation(
                observationConvention, DEFAULT_CONVENTION, () -> context, observationRegistry);
    }

    /** Under the name that Spring AI is about to give it; known when the answer is complete. */
    private static void noteFirstChunk(Observation observation, ChatResponse response) {
        if (response.getMetadata().get(ResponseMapper.TIME_TO_FIRST_TOKEN) instanceof Duration time) {
            observation.highCardinalityKeyValue(TIME_TO_FIRST_CHUNK, Double.toString(time.toNanos() / 1e9));
        }
    }

    private static @Nullable Observation parentOf(ContextView subscriber) {
        return subscriber.<@Nullable Observation>getOrDefault(ObservationThreadLocalAccessor.KEY, null);
    }

    /**
     * @param prompt what is asked, with {@code options} in it
     * @param options complete options
     */
    private record Request(Prompt prompt, PrefetchChatOptions options) {}

    /** Builds a {@link PrefetchChatModel}. Not thread-safe. */
    public static final class Builder extends ModelBuilder<Builder> {

        private PrefetchChatOptions options = PrefetchChatOptions.builder().build();
        private @Nullable ChatModelObservationConvention observationConvention;
        private GenerationRecorder recorder = GenerationRecorder.NONE;
        private @Nullable ChatFallback fallback;

        private Builder(PrefetchEngine engine) {
            super(engine);
        }

        @Override
        Builder self() {
            return this;
        }

        /** Options of requests that set none themselves. */
        public Builder options(PrefetchChatOptions value) {
            this.options = Objects.requireNonNull(value, "options");
            return this;
        }

        /** How observations are named and tagged, instead of Spring AI's default. */
        public Builder observationConvention(@Nullable ChatModelObservationConvention value) {
            this.observationConvention = value;
            return this;
        }

        /** Who hears how generations end, for meters. */
        public Builder recorder(GenerationRecorder value) {
            this.recorder = Objects.requireNonNull(value, "recorder");
            return this;
        }

        /** Another chat model, which is asked when this one cannot answer. */
        public Builder fallback(@Nullable ChatFallback value) {
            this.fallback = value;
            return this;
        }

        public PrefetchChatModel build() {
            return new PrefetchChatModel(this);
        }
    }
}
