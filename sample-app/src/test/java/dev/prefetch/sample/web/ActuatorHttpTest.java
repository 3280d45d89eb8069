package dev.prefetch.sample.web;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.sample.SampleApplication;
import java.net.http.HttpResponse;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.springframework.boot.test.context.SpringBootTest;
import org.springframework.boot.test.context.SpringBootTest.WebEnvironment;
import org.springframework.boot.test.web.server.LocalServerPort;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** What operators get over HTTP, with weights that stream. */
@SpringBootTest(
        classes = SampleApplication.class,
        webEnvironment = WebEnvironment.RANDOM_PORT,
        properties = {
            "spring.ai.prefetch.memory.weights=60%",
            "spring.ai.prefetch.look-ahead=1",
            "spring.ai.prefetch.trace-sweeps=4"
        })
class ActuatorHttpTest {

    private final ChatHttpClient client;

    ActuatorHttpTest(@LocalServerPort int port) {
        this.client = new ChatHttpClient(port);
    }

    @AfterEach
    void close() {
        client.close();
    }

    private static String field(JsonNode node, String pointer) {
        return node.at(pointer).asString();
    }

    @Test
    void showsHealthInformationAndMeters() throws Exception {
        client.ask(client.startConversation(), "What is GGUF?");

        JsonNode health = client.get("actuator/health").at("/components/prefetch");
        assertThat(field(health, "/status")).isEqualTo("UP");
        assertThat(field(health, "/details/plan")).contains("stream through");
        assertThat(field(health, "/details/backend/id")).isEqualTo("cpu");
        assertThat(field(client.get("actuator/info"), "/prefetch/model/architecture"))
                .isEqualTo("qwen3");
        JsonNode tokens = client.get("actuator/metrics/prefetch.tokens");
        assertThat(tokens.at("/measurements/0/value").asDouble()).isPositive();
        assertThat(client.get("actuator/metrics/gen_ai.client.operation.time_to_first_chunk")
                        .at("/measurements/0/value")
                        .asDouble())
                .isPositive();
    }

    @Test
    void showsThePlanTheStatisticsAndTheTrace() throws Exception {
        client.ask(client.startConversation(), "What is GGUF?");

        JsonNode engine = client.get("actuator/prefetch");
        assertThat(engine.at("/statistics/diskBytes").asLong()).isPositive();
        assertThat(engine.at("/plan/streamed/blocks").asInt()).isPositive();
        assertThat(client.get("actuator/prefetch/plan").get("blocks").size()).isGreaterThan(8);
        assertThat(client.get("actuator/prefetch/trace").get("traceEvents").size())
                .isPositive();
    }

    @Test
    void changesTheLookAhead() throws Exception {
        HttpResponse<String> changed = client.post("actuator/prefetch", Map.of("lookAheadBlocks", 0));
        assertThat(changed.statusCode()).isEqualTo(200);
        assertThat(JsonMapper.shared()
                        .readTree(changed.body())
                        .get("lookAheadBlocks")
                        .asInt())
                .isZero();

        assertThat(client.post("actuator/prefetch", Map.of("lookAheadBlocks", 1000))
                        .statusCode())
                .isEqualTo(400);
        assertThat(client.get("actuator/prefetch").at("/load/lookAheadBlocks").asInt())
                .isZero();
    }
}
