package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.inference.DeadlineExceededException;
import dev.prefetch.inference.Pooling;
import io.micrometer.observation.tck.TestObservationRegistry;
import io.micrometer.observation.tck.TestObservationRegistryAssert;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.springframework.ai.document.Document;
import org.springframework.ai.document.MetadataMode;
import org.springframework.ai.embedding.EmbeddingOptions;
import org.springframework.ai.embedding.EmbeddingRequest;
import org.springframework.ai.embedding.EmbeddingResponse;
import org.springframework.ai.embedding.TokenCountBatchingStrategy;

class PrefetchEmbeddingModelTest {

    private final FakeEngine engine = FakeEngine.manual();
    private final PrefetchEmbeddingModel model =
            PrefetchEmbeddingModel.builder(engine).build();

    @Test
    void asksForAllTextsAtOnceAndKeepsTheirOrder() {
        EmbeddingResponse response = model.call(new EmbeddingRequest(List.of("one", "twenty two"), null));

        assertThat(response.getResults())
                .extracting(embedding -> embedding.getOutput()[0])
                .containsExactly(3f, 10f);
        assertThat(response.getResults())
                .extracting(embedding -> embedding.getIndex())
                .containsExactly(0, 1);
        assertThat(response.getMetadata().getModel()).isEqualTo("Demo 1M");
        assertThat(response.getMetadata().getUsage().getPromptTokens()).isEqualTo(3);
        assertThat(engine.embeddings()).containsExactly(new dev.prefetch.api.EmbeddingOptions(null, true));
    }

    @Test
    void documentsAreBatched() {
        List<Document> documents = List.of(new Document("a"), new Document("bb"), new Document("ccc"));

        List<float[]> vectors =
                model.embed(documents, PrefetchEmbeddingOptions.builder().build(), new TokenCountBatchingStrategy());

        assertThat(vectors).extracting(vector -> vector[0]).containsExactly(1f, 2f, 3f);
        assertThat(engine.embeddings()).hasSize(1);
    }

    @Test
    void knowsTheDimensionsWithoutComputing() {
        assertThat(model.dimensions()).isEqualTo(engine.info().embeddingDimensions());
        assertThat(engine.embeddings()).isEmpty();
    }

    @Test
    void aRequestsOptionsWinOverTheDefaults() {
        PrefetchEmbeddingModel last = PrefetchEmbeddingModel.builder(engine)
                .options(PrefetchEmbeddingOptions.builder()
                        .pooling(Pooling.LAST)
                        .normalize(false)
                        .build())
                .build();
        last.embed("a");
        last.call(new EmbeddingRequest(
                List.of("a"),
                PrefetchEmbeddingOptions.builder().pooling(Pooling.CLS).build()));
        last.call(new EmbeddingRequest(
                List.of("a"), EmbeddingOptions.builder().model("Demo 1M").build()));

        assertThat(engine.embeddings())
                .containsExactly(
                        new dev.prefetch.api.EmbeddingOptions(Pooling.LAST, false),
                        new dev.prefetch.api.EmbeddingOptions(Pooling.CLS, false),
                        new dev.prefetch.api.EmbeddingOptions(Pooling.LAST, false));
    }

    @Test
    void refusesWhatTheLoadedModelIsNot() {
        assertThatThrownBy(() -> model.call(new EmbeddingRequest(
                        List.of("a"), EmbeddingOptions.builder().model("other").build())))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("'other'")
                .hasMessageContaining("Demo 1M");
        assertThatThrownBy(() -> model.call(new EmbeddingRequest(
                        List.of("a"), EmbeddingOptions.builder().dimensions(3).build())))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("asks for 3");
        assertThat(engine.embeddings()).isEmpty();
    }

    @Test
    void theTighterOfTheTwoLimitsOfTimeHoldsAndItsErrorIsThrown() {
        List<GenerationTimeoutException> exceeded = new ArrayList<>();
        PrefetchEmbeddingModel limited = PrefetchEmbeddingModel.builder(engine)
                .limits(new GenerationLimits() {
                    @Override
                    public Duration deadline() {
                        return Duration.ofSeconds(30);
                    }

                    @Override
                    public String remedy() {
                        return "Set the key.";
                    }

                    @Override
                    public void exceeded(GenerationTimeoutException failure) {
                        exceeded.add(failure);
                    }
                })
                .build();
        PrefetchEmbeddingOptions patient = PrefetchEmbeddingOptions.builder()
                .timeout(Duration.ofMinutes(5))
                .build();
        PrefetchEmbeddingOptions hasty = PrefetchEmbeddingOptions.builder()
                .timeout(Duration.ofSeconds(1))
                .build();
        DeadlineExceededException late = new DeadlineExceededException("late");
        engine.failEmbeddings(late);

        assertThatThrownBy(() -> limited.embed("a"))
                .isInstanceOf(GenerationTimeoutException.class)
                .hasMessageContaining("within 30 s. Set the key.")
                .hasCause(late);
        assertThatThrownBy(() -> limited.call(new EmbeddingRequest(List.of("a"), patient)))
                .isInstanceOf(GenerationTimeoutException.class);
        assertThatThrownBy(() -> limited.call(new EmbeddingRequest(List.of("a"), hasty)))
                .isSameAs(late);

        assertThat(exceeded).hasSize(2);
        assertThat(engine.embeddings())
                .extracting(dev.prefetch.api.EmbeddingOptions::timeout)
                .containsExactly(Duration.ofSeconds(30), Duration.ofSeconds(30), Duration.ofSeconds(1));
    }

    @Test
    void metadataIsPartOfTheTextAsFarAsIsAskedFor() {
        Document document = new Document("text", Map.of("author", "Ann"));

        assertThat(model.getEmbeddingContent(document)).contains("author: Ann").contains("text");
        assertThat(PrefetchEmbeddingModel.builder(engine)
                        .metadataMode(MetadataMode.NONE)
                        .build()
                        .getEmbeddingContent(document))
                .isEqualTo("text");
    }

    @Test
    void isObserved() {
        TestObservationRegistry registry = TestObservationRegistry.create();

        PrefetchEmbeddingModel.builder(engine)
                .observationRegistry(registry)
                .build()
                .embed("one two");

        TestObservationRegistryAssert.assertThat(registry)
                .hasObservationWithNameEqualTo("gen_ai.client.operation")
                .that()
                .hasBeenStopped()
                .hasLowCardinalityKeyValue("gen_ai.operation.name", "embedding")
                .hasLowCardinalityKeyValue("gen_ai.system", "prefetch")
                .hasLowCardinalityKeyValue("gen_ai.request.model", "Demo 1M")
                .hasHighCardinalityKeyValue("gen_ai.usage.input_tokens", "2");
    }

    @Test
    void optionsAreEqualByTheirValues() {
        PrefetchEmbeddingOptions options = PrefetchEmbeddingOptions.builder()
                .model("m")
                .dimensions(3)
                .pooling(Pooling.MEAN)
                .normalize(true)
                .build();

        assertThat(options.mutate().build()).isEqualTo(options).hasSameHashCodeAs(options);
        assertThat(options.mutate().normalize(false).build()).isNotEqualTo(options);
    }
}
