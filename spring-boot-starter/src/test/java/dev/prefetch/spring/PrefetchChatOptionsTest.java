package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.springframework.ai.chat.prompt.ChatOptions;
import org.springframework.ai.model.tool.StructuredOutputChatOptions;
import org.springframework.ai.model.tool.ToolCallingChatOptions;
import org.springframework.ai.test.options.AbstractChatOptionsTests;
import org.springframework.ai.tool.ToolCallback;
import org.springframework.ai.tool.function.FunctionToolCallback;

/** Runs Spring AI's own checks of options classes too. */
class PrefetchChatOptionsTest extends AbstractChatOptionsTests<PrefetchChatOptions, PrefetchChatOptions.Builder> {

    private static final ToolCallback TOOL = FunctionToolCallback.builder("clock", () -> "noon")
            .description("tells the time")
            .inputType(Void.class)
            .build();

    @Override
    protected Class<PrefetchChatOptions> getConcreteOptionsClass() {
        return PrefetchChatOptions.class;
    }

    @Override
    protected PrefetchChatOptions.Builder readyToBuildBuilder() {
        return full();
    }

    private static PrefetchChatOptions.Builder full() {
        return PrefetchChatOptions.builder()
                .model("m")
                .frequencyPenalty(0.1)
                .maxTokens(10)
                .presencePenalty(0.2)
                .stopSequences(List.of("END"))
                .temperature(0.3)
                .topK(4)
                .topP(0.5)
                .minP(0.06)
                .repetitionPenalty(1.1)
                .seed(42L)
                .outputSchema("{}")
                .grammar("root ::= [a-z]")
                .templateVariables(Map.of("enable_thinking", false))
                .enableThinking(false)
                .thinkingInContent(false)
                .timeout(Duration.ofSeconds(3))
                .toolCallbacks(List.of(TOOL))
                .toolContext(Map.of("user", "ann"));
    }

    private static Stream<Consumer<PrefetchChatOptions.Builder>> oneChange() {
        return Stream.of(
                b -> b.model("other"),
                b -> b.frequencyPenalty(0.9),
                b -> b.maxTokens(99),
                b -> b.presencePenalty(0.9),
                b -> b.stopSequences(List.of("STOP")),
                b -> b.temperature(0.9),
                b -> b.topK(9),
                b -> b.topP(0.9),
                b -> b.minP(0.9),
                b -> b.repetitionPenalty(1.9),
                b -> b.seed(9L),
                b -> b.outputSchema("{\"type\":\"object\"}"),
                b -> b.grammar("root ::= [0-9]"),
                b -> b.templateVariables(Map.of("enable_thinking", true)),
                b -> b.enableThinking(true),
                b -> b.thinkingInContent(true),
                b -> b.timeout(Duration.ofSeconds(4)),
                b -> b.toolCallbacks((List<ToolCallback>) null),
                b -> b.toolContext((Map<String, Object>) null));
    }

    @ParameterizedTest
    @MethodSource("oneChange")
    void isEqualOnlyWhenEveryOptionIs(Consumer<PrefetchChatOptions.Builder> change) {
        PrefetchChatOptions.Builder changed = full();
        change.accept(changed);

        assertThat(changed.build()).isNotEqualTo(full().build());
        assertThat(full().build()).isEqualTo(full().build()).hasSameHashCodeAs(full().build());
    }

    @ParameterizedTest
    @MethodSource("oneChange")
    void aCloneOfABuilderIsIndependent(Consumer<PrefetchChatOptions.Builder> change) {
        PrefetchChatOptions.Builder original = full();
        PrefetchChatOptions.Builder copy = original.clone();
        change.accept(copy);

        assertThat(original.build()).isEqualTo(full().build());
    }

    @Test
    void everythingIsUnsetAtFirst() {
        PrefetchChatOptions options = PrefetchChatOptions.builder().build();

        assertThat(options).hasAllNullFieldsOrProperties();
    }

    @Test
    void doesNotChangeWithTheCollectionsItWasBuiltFrom() {
        List<String> stops = new ArrayList<>(List.of("a"));
        Map<String, Object> variables = new HashMap<>(Map.of("x", 1));
        PrefetchChatOptions options = PrefetchChatOptions.builder()
                .stopSequences(stops)
                .templateVariables(variables)
                .build();
        stops.add("b");
        variables.put("y", 2);

        assertThat(options.getStopSequences()).containsExactly("a");
        assertThat(options.getTemplateVariables()).isEqualTo(Map.of("x", 1));
    }

    @Test
    void combiningTakesWhatTheOtherSets() {
        PrefetchChatOptions combined = full().combineWith(PrefetchChatOptions.builder()
                        .temperature(0.9)
                        .minP(0.5)
                        .seed(1L)
                        .templateVariables(Map.of("language", "en")))
                .build();

        assertThat(combined)
                .isEqualTo(full().temperature(0.9)
                        .minP(0.5)
                        .seed(1L)
                        .templateVariables(Map.of("enable_thinking", false, "language", "en"))
                        .build());
    }

    @Test
    void combiningTakesTheSchemaOfAPortableBuilder() {
        PrefetchChatOptions combined = PrefetchChatOptions.builder()
                .combineWith(StructuredOutputChatOptions.builder().outputSchema("{}"))
                .build();

        assertThat(combined.getOutputSchema()).isEqualTo("{}");
    }

    @Test
    void convertsPortableOptions() {
        ChatOptions portable = ToolCallingChatOptions.builder()
                .model("m")
                .frequencyPenalty(0.1)
                .maxTokens(10)
                .presencePenalty(0.2)
                .stopSequences(List.of("END"))
                .temperature(0.3)
                .topK(4)
                .topP(0.5)
                .toolCallbacks(TOOL)
                .toolContext("user", "ann")
                .build();

        assertThat(PrefetchChatOptions.from(portable))
                .isEqualTo(full().minP(null)
                        .repetitionPenalty(null)
                        .seed(null)
                        .outputSchema(null)
                        .grammar(null)
                        .templateVariables(null)
                        .enableThinking(null)
                        .thinkingInContent(null)
                        .timeout(null)
                        .build());
    }

    @Test
    void takesEveryUnsetOptionFromTheDefaults() {
        PrefetchChatOptions defaults = full().build();

        assertThat(PrefetchChatOptions.builder().build().withDefaults(defaults)).isEqualTo(defaults);
        assertThat(defaults.withDefaults(PrefetchChatOptions.builder().build())).isEqualTo(defaults);
    }

    @ParameterizedTest
    @MethodSource("oneChange")
    void anOptionThatIsSetWinsOverTheDefault(Consumer<PrefetchChatOptions.Builder> change) {
        PrefetchChatOptions.Builder builder = full();
        change.accept(builder);
        PrefetchChatOptions own = builder.build();

        assertThat(own.withDefaults(own)).isEqualTo(own);
        if (own.getToolCallbacks() != null && own.getToolContext() != null) {
            assertThat(own.withDefaults(full().build())).isEqualTo(own);
        }
    }
}
