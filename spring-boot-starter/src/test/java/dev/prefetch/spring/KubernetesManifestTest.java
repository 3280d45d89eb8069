package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import dev.prefetch.spring.actuate.PrefetchMetrics;
import io.micrometer.prometheusmetrics.PrometheusConfig;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.yaml.snakeyaml.Yaml;

/**
 * The example for Kubernetes: every document is what Kubernetes' own specification allows (as its Java client checks it, fields
 * that it does not know included), and what it names exists.
 */
class KubernetesManifestTest {

    private static final Path MANIFESTS = Path.of("..", "docs", "kubernetes", "prefetch.yaml");

    /** Throws for a field that is not part of the resource or lacks one that is required. */
    private interface Check {
        void validate(JsonElement document) throws ReflectiveOperationException;
    }

    private static final Map<String, String> CLASSES = Map.of(
            "v1/ConfigMap", "V1ConfigMap",
            "v1/PersistentVolumeClaim", "V1PersistentVolumeClaim",
            "v1/Service", "V1Service",
            "apps/v1/Deployment", "V1Deployment",
            "policy/v1/PodDisruptionBudget", "V1PodDisruptionBudget",
            "autoscaling/v2/HorizontalPodAutoscaler", "V2HorizontalPodAutoscaler");

    private static List<JsonObject> documents() throws IOException {
        List<JsonObject> documents = new ArrayList<>();
        for (Object document : new Yaml().loadAll(Files.readString(MANIFESTS))) {
            documents.add(new Gson().toJsonTree(document).getAsJsonObject());
        }
        return documents;
    }

    private static Check check(JsonObject document) throws ReflectiveOperationException {
        String kind = document.get("apiVersion").getAsString() + "/"
                + document.get("kind").getAsString();
        assertThat(CLASSES).containsKey(kind);
        // By name: the compiler would want annotations of libraries that are not needed otherwise.
        Method validate = Class.forName("io.kubernetes.client.openapi.models." + CLASSES.get(kind))
                .getMethod("validateJsonElement", JsonElement.class);
        return resource -> validate.invoke(null, resource);
    }

    private static JsonObject only(String kind) throws IOException {
        return documents().stream()
                .filter(document -> document.get("kind").getAsString().equals(kind))
                .findFirst()
                .orElseThrow();
    }

    private static JsonObject container(JsonObject deployment) {
        return deployment
                .getAsJsonObject("spec")
                .getAsJsonObject("template")
                .getAsJsonObject("spec")
                .getAsJsonArray("containers")
                .get(0)
                .getAsJsonObject();
    }

    @Test
    void everyDocumentIsWhatKubernetesAllows() throws IOException {
        assertThat(documents())
                .hasSize(6)
                .allSatisfy(document ->
                        assertThatCode(() -> check(document).validate(document)).doesNotThrowAnyException());
    }

    @Test
    void theCheckNoticesAFieldThatIsNotThere() throws Exception {
        JsonObject deployment = only("Deployment");
        container(deployment).getAsJsonObject("readinessProbe").addProperty("periodSecond", 5);

        assertThatThrownBy(() -> check(deployment).validate(deployment))
                .rootCause()
                .hasMessageContaining("periodSecond");
    }

    @Test
    void probesAskForTheGroupsOfSpringBoot() throws IOException {
        JsonObject container = container(only("Deployment"));

        assertThat(path(container, "livenessProbe")).isEqualTo("/actuator/health/liveness");
        assertThat(path(container, "readinessProbe")).isEqualTo("/actuator/health/readiness");
    }

    private static String path(JsonObject container, String probe) {
        return container
                .getAsJsonObject(probe)
                .getAsJsonObject("httpGet")
                .get("path")
                .getAsString();
    }

    /** From the meter to the adapter to the autoscaler, every name is the same. */
    @Test
    void theAutoscalerUsesAMeterThatIsThere() throws IOException {
        String metric = only("HorizontalPodAutoscaler")
                .getAsJsonObject("spec")
                .getAsJsonArray("metrics")
                .get(0)
                .getAsJsonObject()
                .getAsJsonObject("pods")
                .getAsJsonObject("metric")
                .get("name")
                .getAsString();
        String adapter =
                only("ConfigMap").getAsJsonObject("data").get("config.yaml").getAsString();
        Map<?, ?> rule = (Map<?, ?>) ((List<?>) ((Map<?, ?>) new Yaml().load(adapter)).get("rules")).getFirst();
        assertThat(((Map<?, ?>) rule.get("name")).get("as")).isEqualTo(metric);

        PrometheusMeterRegistry registry = new PrometheusMeterRegistry(PrometheusConfig.DEFAULT);
        try (FakeEngine engine = FakeEngine.manual()) {
            new PrefetchMetrics(PrefetchEngines.of(engine)).bindTo(registry);
            String series = String.valueOf(rule.get("seriesQuery"));
            String name = series.substring(0, series.indexOf('{'));
            String label = series.substring(series.indexOf('{') + 1, series.indexOf('}'));
            assertThat(registry.scrape().lines()).anyMatch(line -> line.startsWith(name + "{") && line.contains(label));
        }
    }
}
