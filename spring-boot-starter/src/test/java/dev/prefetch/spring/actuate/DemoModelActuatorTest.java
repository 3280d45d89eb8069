package dev.prefetch.spring.actuate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.MemoryOptions;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.spring.PrefetchChatModel;
import dev.prefetch.spring.PrefetchChatOptions;
import dev.prefetch.spring.PrefetchEngines;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.boot.actuate.endpoint.InvalidEndpointRequestException;
import org.springframework.boot.actuate.info.Info;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** What the operators' surfaces say of a real engine, with weights that stream and with weights that stay. */
@Timeout(120)
class DemoModelActuatorTest {

    private static final Path MODEL =
            Path.of("..", "sample-app", "src", "main", "resources", "demo-model", "tiny-demo-chat-Q8_0.gguf");

    private static PrefetchEngine streaming(int lookAhead) {
        return PrefetchEngine.open(EngineOptions.of(MODEL)
                .withContextLength(256)
                .withMemory(MemoryOptions.AUTO
                        .withWeights(MemoryAmount.parse("60%"))
                        .withLookAheadBlocks(lookAhead)
                        .withTraceSweeps(4)));
    }

    private static JsonNode json(Object value) {
        JsonMapper mapper = JsonMapper.builder().build();
        return mapper.readTree(mapper.writeValueAsString(value));
    }

    private static int answer(PrefetchEngine engine, PrefetchMetrics metrics) {
        PrefetchChatModel model = PrefetchChatModel.builder(engine)
                .options(PrefetchChatOptions.builder().temperature(0.0).build())
                .recorder(metrics)
                .build();
        return model.call(new Prompt("What is GGUF?")).getMetadata().getUsage().getCompletionTokens();
    }

    @Test
    void metersAgreeWithTheEngineAndTheAnswer() {
        MeterRegistry registry = new SimpleMeterRegistry();
        try (PrefetchEngine engine = streaming(1)) {
            PrefetchMetrics metrics = new PrefetchMetrics(PrefetchEngines.of(engine));
            metrics.bindTo(registry);
            int tokens = answer(engine, metrics);

            assertThat(registry.get("prefetch.tokens")
                            .tag("type", "generated")
                            .counter()
                            .count())
                    .isEqualTo(tokens);
            assertThat(registry.get("prefetch.generations")
                            .tag("outcome", "stop")
                            .counter()
                            .count())
                    .isEqualTo(1);
            assertThat(registry.get("gen_ai.client.operation.time_to_first_chunk")
                            .tag("gen_ai.system", "prefetch")
                            .timer()
                            .count())
                    .isEqualTo(1);
            assertThat(registry.get("prefetch.sweeps").functionCounter().count())
                    .isEqualTo(engine.statistics().sweeps())
                    .isGreaterThanOrEqualTo(tokens);
            assertThat(registry.get("prefetch.bytes")
                            .tag("tier", "host")
                            .functionCounter()
                            .count())
                    .isEqualTo(engine.statistics().hostBytes());
            // The link may read ahead at any time, so this one only grows.
            assertThat(registry.get("prefetch.bytes")
                            .tag("tier", "disk")
                            .functionCounter()
                            .count())
                    .isGreaterThan(0);
            assertThat(registry.get("prefetch.look.ahead").gauge().value()).isEqualTo(1);
            assertThat(registry.getMeters())
                    .allSatisfy(meter -> assertThat(meter.getId().getTags().toString())
                            .contains(engine.info().modelName()));
        }
    }

    @Test
    void theEndpointShowsEngineBlocksAndTrace() {
        try (PrefetchEngine engine = streaming(1)) {
            PrefetchEndpoint endpoint = new PrefetchEndpoint(PrefetchEngines.of(engine));
            answer(engine, new PrefetchMetrics(PrefetchEngines.of(engine)));

            JsonNode all = json(endpoint.engine());
            assertThat(all.at("/model/architecture").asString()).isEqualTo("qwen3");
            assertThat(all.at("/load/state").asString()).isEqualTo("READY");
            assertThat(all.at("/load/generations").asInt()).isEqualTo(1);
            assertThat(all.at("/plan/streamed/blocks").asInt())
                    .isEqualTo((int) engine.plan().count(dev.prefetch.prefetch.Plan.Residency.STREAMED))
                    .isPositive();
            assertThat(all.at("/statistics/sweeps").asInt()).isPositive();
            JsonNode plan = JsonMapper.shared().readTree(Objects.requireNonNull(endpoint.part("plan")));
            assertThat(plan.get("blocks").size())
                    .isEqualTo(engine.plan().entries().size());
            JsonNode trace = JsonMapper.shared().readTree(Objects.requireNonNull(endpoint.part("trace")));
            assertThat(trace.get("traceEvents").size()).isPositive();
            assertThat(endpoint.part("nothing")).isNull();
        }
    }

    @Test
    void theLookAheadChangesAtRunTime() {
        try (PrefetchEngine engine = streaming(1)) {
            PrefetchEndpoint endpoint = new PrefetchEndpoint(PrefetchEngines.of(engine));
            int slots = engine.plan().slots();
            assertThat(endpoint.changeLookAhead("0", null)).containsEntry("lookAheadBlocks", 0);

            answer(engine, new PrefetchMetrics(PrefetchEngines.of(engine)));

            assertThat(engine.status().lookAheadBlocks()).isZero();
            assertThatThrownBy(() -> endpoint.changeLookAhead(Integer.toString(slots), null))
                    .isInstanceOf(InvalidEndpointRequestException.class);
            assertThatThrownBy(() -> endpoint.changeLookAhead("many", null))
                    .isInstanceOf(InvalidEndpointRequestException.class)
                    .hasMessageContaining("'auto' or a number");
            assertThat(engine.status().lookAheadBlocks()).isZero();
        }
    }

    /** A number stays until 'auto' is asked for: the tuner, which would leave 0 at its first sweep, is paused. */
    @Test
    void aNumberPausesTheTunerAndAutoResumesIt() {
        try (PrefetchEngine engine = streaming(MemoryOptions.CHOOSE)) {
            PrefetchEndpoint endpoint = new PrefetchEndpoint(PrefetchEngines.of(engine));
            assertThat(json(endpoint.engine()).at("/load/lookAheadChosen").asString())
                    .isEqualTo("auto");

            assertThat(endpoint.changeLookAhead("0", null)).containsEntry("lookAheadChosen", "fixed");
            assertThat(answer(engine, new PrefetchMetrics(PrefetchEngines.of(engine))))
                    .isGreaterThan(16);
            assertThat(engine.status().lookAheadBlocks()).isZero();

            assertThat(endpoint.changeLookAhead("auto", null))
                    .containsEntry("lookAheadBlocks", 0)
                    .containsEntry("lookAheadChosen", "auto");
            answer(engine, new PrefetchMetrics(PrefetchEngines.of(engine)));
            // The tuner leaves 0 at its first sweep and never comes back.
            assertThat(engine.status().lookAheadBlocks()).isPositive();
        }
    }

    @Test
    void informationNamesModelAndBackend() {
        try (PrefetchEngine engine = PrefetchEngine.open(EngineOptions.of(MODEL))) {
            Info.Builder builder = new Info.Builder();
            new PrefetchInfoContributor(PrefetchEngines.of(engine)).contribute(builder);

            JsonNode info = json(builder.build().getDetails());
            assertThat(info.at("/prefetch/model/quantization").asString()).isEqualTo("Q8_0");
            assertThat(info.at("/prefetch/backend/id").asString()).isEqualTo("cpu");
        }
    }

    @Test
    void theStatusFollowsTheEngine() {
        PrefetchEngine engine = PrefetchEngine.open(EngineOptions.of(MODEL));
        EngineStatus idle = engine.status();
        assertThat(idle.state()).isEqualTo(EngineStatus.State.READY);
        assertThat(List.of(idle.running(), idle.waiting())).containsOnly(0);
        assertThat(idle.kvBytesInUse()).isZero();
        assertThat(idle.kvBytesCapacity()).isPositive();

        engine.close();

        assertThat(engine.status().state()).isEqualTo(EngineStatus.State.CLOSED);
        assertThat(Objects.requireNonNull(new PrefetchHealthIndicator(engine).health())
                        .getStatus()
                        .getCode())
                .isEqualTo("OUT_OF_SERVICE");
    }
}
