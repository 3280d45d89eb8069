package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.api.FinishReason;
import io.micrometer.observation.Observation;
import io.micrometer.observation.contextpropagation.ObservationThreadLocalAccessor;
import io.micrometer.observation.tck.TestObservationRegistry;
import io.micrometer.observation.tck.TestObservationRegistryAssert;
import java.time.Duration;
import java.util.List;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.observation.DefaultChatModelObservationConvention;
import org.springframework.ai.chat.prompt.Prompt;
import reactor.core.Disposable;

@Timeout(30)
class PrefetchChatModelObservationTest {

    private static final Duration PATIENCE = Duration.ofSeconds(10);
    private static final String NAME = "gen_ai.client.operation";
    private static final Prompt PROMPT = new Prompt(
            "hi",
            PrefetchChatOptions.builder()
                    .temperature(0.5)
                    .maxTokens(10)
                    .stopSequences(List.of("END"))
                    .build());

    private final TestObservationRegistry registry = TestObservationRegistry.create();

    private PrefetchChatModel model(FakeEngine engine) {
        return PrefetchChatModel.builder(engine).observationRegistry(registry).build();
    }

    private TestObservationRegistryAssert assertRegistry() {
        return TestObservationRegistryAssert.assertThat(registry);
    }

    @Test
    void observesACall() {
        model(FakeEngine.answering("a", "b")).call(PROMPT);

        assertRegistry()
                .doesNotHaveAnyRemainingCurrentObservation()
                .hasObservationWithNameEqualTo(NAME)
                .that()
                .hasContextualNameEqualTo("chat Demo 1M")
                .hasLowCardinalityKeyValue("gen_ai.operation.name", "chat")
                .hasLowCardinalityKeyValue("gen_ai.system", "prefetch")
                .hasLowCardinalityKeyValue("gen_ai.request.model", "Demo 1M")
                .hasLowCardinalityKeyValue("gen_ai.response.model", "Demo 1M")
                .hasHighCardinalityKeyValue("gen_ai.request.temperature", "0.5")
                .hasHighCardinalityKeyValue("gen_ai.request.max_tokens", "10")
                .hasHighCardinalityKeyValue("gen_ai.request.stop_sequences", "[\"END\"]")
                .hasHighCardinalityKeyValue("gen_ai.response.finish_reasons", "[\"stop\"]")
                .hasHighCardinalityKeyValue("gen_ai.response.time_to_first_chunk", "0.025")
                .hasHighCardinalityKeyValue("gen_ai.usage.input_tokens", "7")
                .hasHighCardinalityKeyValue("gen_ai.usage.output_tokens", "2")
                .hasHighCardinalityKeyValue("gen_ai.usage.total_tokens", "9")
                .hasHighCardinalityKeyValueWithKey("gen_ai.response.id")
                .hasBeenStarted()
                .hasBeenStopped();
    }

    @Test
    void observesAStreamAsAWhole() {
        model(FakeEngine.answering("a", "b")).stream(PROMPT).blockLast(PATIENCE);

        Awaitility.await()
                .untilAsserted(() -> assertRegistry()
                        .hasNumberOfObservationsWithNameEqualTo(NAME, 1)
                        .hasObservationWithNameEqualTo(NAME)
                        .that()
                        .hasContextualNameEqualTo("chat Demo 1M")
                        .hasLowCardinalityKeyValue("gen_ai.response.model", "Demo 1M")
                        .hasHighCardinalityKeyValue("gen_ai.response.finish_reasons", "[\"stop\"]")
                        .hasHighCardinalityKeyValue("gen_ai.usage.total_tokens", "9")
                        .hasHighCardinalityKeyValue("gen_ai.response.time_to_first_chunk", "0.025")
                        .hasBeenStarted()
                        .hasBeenStopped());
    }

    @Test
    void aStreamsObservationHasTheSubscribersAsParent() {
        Observation parent = Observation.start("request", registry);
        model(FakeEngine.answering("a")).stream(PROMPT)
                .contextWrite(context -> context.put(ObservationThreadLocalAccessor.KEY, parent))
                .blockLast(PATIENCE);
        parent.stop();

        Awaitility.await()
                .untilAsserted(() -> assertRegistry()
                        .hasObservationWithNameEqualTo(NAME)
                        .that()
                        .hasParentObservationEqualTo(parent)
                        .hasBeenStopped());
    }

    @Test
    void observesTheFailureOfACall() {
        RuntimeException failure = new IllegalStateException("device lost");
        FakeEngine engine = FakeEngine.scripted(generation -> generation.fail(failure));

        assertThatThrownBy(() -> model(engine).call(PROMPT)).isSameAs(failure);
        assertRegistry()
                .hasObservationWithNameEqualTo(NAME)
                .that()
                .hasError(failure)
                .hasBeenStopped();
    }

    @Test
    void observesTheFailureOfAStream() {
        RuntimeException failure = new IllegalStateException("device lost");
        FakeEngine engine = FakeEngine.scripted(generation -> generation.fail(failure));

        assertThatThrownBy(() -> model(engine).stream(PROMPT).blockLast(PATIENCE))
                .isSameAs(failure);
        Awaitility.await()
                .untilAsserted(() -> assertRegistry()
                        .hasObservationWithNameEqualTo(NAME)
                        .that()
                        .hasError(failure)
                        .hasBeenStopped());
    }

    @Test
    void cancellingAStreamStopsItsObservation() {
        FakeEngine engine = FakeEngine.manual();
        Disposable subscription = model(engine).stream(PROMPT).subscribe();
        engine.last().text("a");
        subscription.dispose();

        Awaitility.await()
                .untilAsserted(() -> assertRegistry()
                        .hasObservationWithNameEqualTo(NAME)
                        .that()
                        .doesNotHaveError()
                        .hasBeenStopped());
    }

    @Test
    void usesTheConventionItWasGiven() {
        PrefetchChatModel model = PrefetchChatModel.builder(
                        FakeEngine.scripted(generation -> generation.complete(FinishReason.LENGTH)))
                .observationRegistry(registry)
                .observationConvention(new DefaultChatModelObservationConvention() {
                    @Override
                    public String getName() {
                        return "my.chat";
                    }
                })
                .build();
        model.call(PROMPT);

        assertRegistry()
                .hasObservationWithNameEqualTo("my.chat")
                .that()
                .hasHighCardinalityKeyValue("gen_ai.response.finish_reasons", "[\"length\"]");
    }
}
