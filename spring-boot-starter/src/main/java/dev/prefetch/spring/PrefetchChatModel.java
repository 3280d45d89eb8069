package dev.prefetch.spring;

import dev.prefetch.api.Generation;
import dev.prefetch.api.GenerationListener;
import dev.prefetch.api.GenerationResult;
import dev.prefetch.api.PrefetchEngine;
import io.micrometer.observation.Observation;
import io.micrometer.observation.ObservationRegistry;
import io.micrometer.observation.contextpropagation.ObservationThreadLocalAccessor;
import java.util.Objects;
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

    private static final Logger LOG = LoggerFactory.getLogger(PrefetchChatModel.class);

    private static final ChatModelObservationConvention DEFAULT_CONVENTION =
            new DefaultChatModelObservationConvention();

    private final PrefetchEngine engine;
    private final String modelName;
    private final PrefetchChatOptions options;
    private final OutputSyntax syntax;
    private final RequestMapper requests;
    private final ObservationRegistry observationRegistry;
    private final @Nullable ChatModelObservationConvention observationConvention;
    private final GenerationRecorder recorder;
    private final GenerationGuard guard;
    private final AtomicBoolean toldOfUnknownSyntax = new AtomicBoolean();

    private PrefetchChatModel(Builder builder) {
        this.engine = builder.engine;
        this.modelName = engine.info().modelName();
        PrefetchChatOptions given = builder.options;
        this.options = given.getModel() != null
                ? given
                : given.mutate().model(modelName).build();
        this.syntax = OutputSyntax.of(engine.chatTemplate().orElse(null));
        this.requests = new RequestMapper(engine, syntax);
        this.observationRegistry = builder.observationRegistry;
        this.observationConvention = builder.observationConvention;
        this.recorder = builder.recorder;
        this.guard = builder.guard;
    }

    /** A builder for a model on an engine, which the caller closes. */
    public static Builder builder(PrefetchEngine engine) {
        return new Builder(engine);
    }

    /** Options of requests that set none themselves. */
    @Override
    public PrefetchChatOptions getOptions() {
        return options;
    }

    /**
     * Answers a prompt.
     *
     * @throws IllegalArgumentException for media, a model other than the loaded one, an option out of its range, or an
     *     output schema or grammar that cannot be enforced (for a schema a
     *     {@link dev.prefetch.grammar.UnsupportedSchemaException} that names the keyword)
     * @throws dev.prefetch.api.ContextLengthExceededException when the prompt leaves no room for an answer
     * @throws dev.prefetch.template.TemplateException when the model's chat template refuses the conversation
     * @throws IllegalStateException when the engine is closed, or the waiting thread is interrupted
     */
    @Override
    public ChatResponse call(Prompt prompt) {
        Request complete = complete(prompt);
        ChatModelObservationContext context = observationContext(complete.prompt(), false);
        ChatResponse response = observation(context).observe(() -> {
            ChatResponse answer = guard.call(() -> answer(complete));
            context.setResponse(answer);
            return answer;
        });
        return Objects.requireNonNull(response, "response");
    }

    /** Like {@link #call(Prompt)}, part by part; what that throws, the stream ends with. Each subscription asks anew. */
    @Override
    public Flux<ChatResponse> stream(Prompt prompt) {
        return Flux.deferContextual(subscriber -> {
            Request complete = complete(prompt);
            ChatModelObservationContext context = observationContext(complete.prompt(), true);
            Observation observation =
                    observation(context).parentObservation(parentOf(subscriber)).start();
            Flux<ChatResponse> answer = guard.stream(Flux.<ChatResponse>create(
                            sink -> generate(complete, sink), FluxSink.OverflowStrategy.BUFFER))
                    // The engine's thread serves all requests: what subscribers do must never run on it.
                    .publishOn(Schedulers.boundedElastic())
                    .doOnError(observation::error)
                    .doFinally(signal -> observation.stop())
                    .contextWrite(values -> values.put(ObservationThreadLocalAccessor.KEY, observation));
            return new MessageAggregator().aggregate(answer, context::setResponse);
        });
    }

    private ChatResponse answer(Request complete) {
        RequestMapper.Mapped request = map(complete);
        GenerationResult result = await(engine.generate(request.generation(), new Recording()));
        OutputParser output = output(request);
        output.accept(result.text());
        output.finish();
        return responses(request).whole(result, output);
    }

    private void generate(Request complete, FluxSink<ChatResponse> sink) {
        RequestMapper.Mapped request = map(complete);
        ResponseMapper responses = responses(request);
        OutputParser output = output(request);
        Generation generation = engine.generate(request.generation(), new GenerationListener() {
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

    private static GenerationResult await(Generation generation) {
        try {
            return generation.await();
        } catch (InterruptedException e) {
            generation.cancel();
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while waiting for the answer, which was cancelled", e);
        }
    }

    private Request complete(Prompt prompt) {
        ChatOptions given = prompt.getOptions();
        PrefetchChatOptions complete =
                given == null ? options : PrefetchChatOptions.from(given).withDefaults(options);
        return new Request(new Prompt(prompt.getInstructions(), complete), complete);
    }

    private RequestMapper.Mapped map(Request complete) {
        RequestMapper.Mapped mapped = requests.map(complete.prompt().getInstructions(), complete.options());
        if (syntax.tools() == null && !mapped.tools().isEmpty() && toldOfUnknownSyntax.compareAndSet(false, true)) {
            LOG.warn(
                    "The chat template of {} shows no tool-call syntax that is known here: calls come back as text."
                            + " Use a model with a supported one; the documentation lists them",
                    modelName);
        }
        return mapped;
    }

    private OutputParser output(RequestMapper.Mapped request) {
        return new OutputParser(syntax, request.tools(), request.insideThinking(), request.keepThinking());
    }

    private ResponseMapper responses(RequestMapper.Mapped request) {
        return new ResponseMapper(modelName, request.generation().sampling().seed(), request.callIds());
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

    private static @Nullable Observation parentOf(ContextView subscriber) {
        return subscriber.<@Nullable Observation>getOrDefault(ObservationThreadLocalAccessor.KEY, null);
    }

    /** Tells the recorder how a generation ended, and nobody else: its caller waits for the result. */
    private final class Recording implements GenerationListener {

        @Override
        public void onComplete(GenerationResult result) {
            recorder.completed(result);
        }

        @Override
        public void onFailure(RuntimeException failure) {
            recorder.failed(failure);
        }
    }

    /**
     * @param prompt what is asked, with {@code options} in it
     * @param options complete options
     */
    private record Request(Prompt prompt, PrefetchChatOptions options) {}

    /** Builds a {@link PrefetchChatModel}. Not thread-safe. */
    public static final class Builder {

        private final PrefetchEngine engine;
        private PrefetchChatOptions options = PrefetchChatOptions.builder().build();
        private ObservationRegistry observationRegistry = ObservationRegistry.NOOP;
        private @Nullable ChatModelObservationConvention observationConvention;
        private GenerationRecorder recorder = GenerationRecorder.NONE;
        private GenerationGuard guard = GenerationGuard.NONE;

        private Builder(PrefetchEngine engine) {
            this.engine = Objects.requireNonNull(engine, "engine");
        }

        /** Options of requests that set none themselves. */
        public Builder options(PrefetchChatOptions value) {
            this.options = Objects.requireNonNull(value, "options");
            return this;
        }

        /** Where observations go; without it there are none. */
        public Builder observationRegistry(ObservationRegistry value) {
            this.observationRegistry = Objects.requireNonNull(value, "observationRegistry");
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

        /** What stands in front of every generation and may refuse it. */
        public Builder guard(GenerationGuard value) {
            this.guard = Objects.requireNonNull(value, "guard");
            return this;
        }

        public PrefetchChatModel build() {
            return new PrefetchChatModel(this);
        }
    }
}
