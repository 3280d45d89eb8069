package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.grammar.Grammar;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.testing.DemoModel;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Real generation under a grammar. */
class GrammarGenerationTest {

    private static final String SCHEMA = """
            {"type": "object", "additionalProperties": false, "required": ["title", "year", "tags"],
             "properties": {"title": {"type": "string", "maxLength": 12},
                            "year": {"type": "integer", "minimum": 1900, "maximum": 2100},
                            "tags": {"type": "array", "items": {"enum": ["old", "new"]}, "maxItems": 2}}}""";

    private static PrefetchEngine engine;

    @BeforeAll
    static void open() {
        engine = PrefetchEngine.open(EngineOptions.of(DemoModel.file()));
    }

    @AfterAll
    static void close() {
        engine.close();
    }

    private static GenerationRequest request(String question, long seed, float temperature) {
        SamplingOptions sampling = new SamplingOptions(temperature, 0, 1, 0, 1.1f, 0.1f, 0.1f, 64, seed);
        return new GenerationRequest(new Prompt.Chat(List.of(ChatMessage.user(question))), sampling, 0, List.of());
    }

    /** At this temperature the model writes anything; the grammar alone gives it form. */
    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
    void whatTheModelWritesFollowsTheSchema(long seed) throws InterruptedException {
        GenerationResult result =
                engine.generate(request("Tell me a story", seed, 3).withGrammar(Grammar.jsonSchema(SCHEMA)));

        assertThat(result.finishReason()).isEqualTo(FinishReason.STOP);
        JsonNode json = JsonMapper.shared().readTree(result.text());
        assertThat(json.propertyNames()).containsExactly("title", "year", "tags");
        assertThat(json.get("title")
                        .asString()
                        .codePointCount(0, json.get("title").asString().length()))
                .isLessThanOrEqualTo(12);
        assertThat(json.get("year").asInt()).isBetween(1900, 2100);
        assertThat(json.get("tags").valueStream().map(JsonNode::asString))
                .isSubsetOf("old", "new")
                .hasSizeLessThan(3);
    }

    @Test
    void aGrammarThatTheModelFollowsAnywayChangesNothing() throws InterruptedException {
        GenerationRequest request =
                GenerationRequest.greedy(new Prompt.Chat(List.of(ChatMessage.user("Please count from 38 up to 42."))));
        GenerationResult free = engine.generate(request);
        GenerationResult bound = engine.generate(request.withGrammar(Grammar.gbnf("root ::= [ -~]*")));

        assertThat(bound.tokens()).isEqualTo(free.tokens());
    }

    /** Requests with and without grammars, and with the same one, share sweeps. */
    @Test
    void requestsSideBySideKeepTheirOwnGrammars() throws InterruptedException {
        Grammar json = Grammar.jsonSchema(SCHEMA);
        Grammar letters = Grammar.gbnf("root ::= [a-z]{5,9}");
        List<Generation> generations = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            GenerationRequest request = request("Tell me a story", i, 2);
            generations.add(engine.generate(
                    switch (i % 3) {
                        case 0 -> request.withGrammar(json);
                        case 1 -> request.withGrammar(letters);
                        default -> request;
                    },
                    GenerationListener.NONE));
        }
        for (int i = 0; i < 12; i++) {
            GenerationRequest alone = request("Tell me a story", i, 2)
                    .withGrammar(i % 3 == 0 ? Grammar.jsonSchema(SCHEMA) : i % 3 == 1 ? letters : null);
            String text = generations.get(i).await().text();
            assertThat(text).isEqualTo(engine.generate(alone).text());
            if (i % 3 == 1) {
                assertThat(text).matches("[a-z]{5,9}");
            }
        }
    }

    @Test
    void aGrammarSaysItselfWhereAnAnswerEnds() {
        Prompt prompt = new Prompt.Text("x");
        assertThatThrownBy(() ->
                        new GenerationRequest(prompt, SamplingOptions.GREEDY, 5, List.of(), Grammar.jsonObject(), true))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("end tokens");
    }
}
