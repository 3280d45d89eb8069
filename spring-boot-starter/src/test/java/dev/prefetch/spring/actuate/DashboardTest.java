package dev.prefetch.spring.actuate;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.FinishReason;
import dev.prefetch.api.GenerationResult;
import dev.prefetch.spring.ChatFallback;
import dev.prefetch.spring.FakeEngine;
import dev.prefetch.spring.PrefetchEngines;
import io.micrometer.prometheusmetrics.PrometheusConfig;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** The dashboard in the documentation asks for meters that are there, under the names Prometheus gives them. */
class DashboardTest {

    private static final Path DASHBOARD = Path.of("..", "docs", "grafana-dashboard.json");
    private static final Pattern METER = Pattern.compile("\\b(prefetch|gen_ai_client)_[a-z_]+(?=[{,)])");

    private static Set<String> scraped() {
        return registered(registry ->
                registry.scrape().lines().filter(line -> !line.startsWith("#")).map(line -> line.split("[{ ]")[0]));
    }

    /** What a registry shows after a generation of each kind. */
    private static Set<String> registered(Function<PrometheusMeterRegistry, Stream<String>> show) {
        PrometheusMeterRegistry registry = new PrometheusMeterRegistry(PrometheusConfig.DEFAULT);
        try (FakeEngine engine = FakeEngine.manual()) {
            PrefetchMetrics metrics = new PrefetchMetrics(PrefetchEngines.of(engine));
            metrics.bindTo(registry);
            metrics.completed(new GenerationResult("ab", List.of(1, 2), FinishReason.STOP, 3, FakeEngine.TIMINGS));
            metrics.failed(new IllegalStateException("disk on fire"));
            metrics.fellBack(ChatFallback.Reason.DOWN);
            return show.apply(registry).collect(Collectors.toCollection(TreeSet::new));
        }
    }

    private static Set<String> asked() throws IOException {
        return JsonMapper.shared()
                .readTree(Files.readString(DASHBOARD))
                .get("panels")
                .valueStream()
                .flatMap(panel -> panel.get("targets").valueStream())
                .map(target -> target.get("expr").asString())
                .flatMap(expression -> METER.matcher(expression).results().map(MatchResult::group))
                .collect(Collectors.toCollection(TreeSet::new));
    }

    @Test
    void everyMeterOfTheDashboardIsThere() throws IOException {
        assertThat(asked()).hasSizeGreaterThan(12);
        assertThat(scraped()).containsAll(asked());
    }

    @Test
    void everyMeterHasAPanelAndAPlaceInTheDocumentation() throws IOException {
        // A timer's mean comes from its sum and count; its maximum is shown nowhere.
        assertThat(asked())
                .containsAll(scraped().stream()
                        .filter(name -> !name.endsWith("_max"))
                        .toList());
        String documentation = Files.readString(Path.of("..", "docs", "operations.md"));
        assertThat(registered(registry -> registry.getMeters().stream()
                        .map(meter -> "`" + meter.getId().getName() + "`")))
                .hasSizeGreaterThan(20)
                .allSatisfy(name -> assertThat(documentation).contains(name));
    }

    @Test
    void everyPanelHasATitleAndAQuery() throws IOException {
        JsonNode dashboard = JsonMapper.shared().readTree(Files.readString(DASHBOARD));

        assertThat(dashboard.get("panels").valueStream().toList()).isNotEmpty().allSatisfy(panel -> {
            assertThat(panel.get("title").asString()).isNotBlank();
            assertThat(panel.get("targets").size()).isPositive();
        });
    }
}
