package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.EmbeddingOptions;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.inference.Pooling;
import dev.prefetch.spring.FakeEngine;
import dev.prefetch.spring.PrefetchChatModel;
import dev.prefetch.spring.PrefetchEmbeddingModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.springframework.ai.document.Document;
import org.springframework.ai.embedding.EmbeddingModel;
import org.springframework.ai.embedding.EmbeddingRequest;
import org.springframework.ai.embedding.EmbeddingResponse;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.context.annotation.ImportCandidates;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;

/** When the engine is the application's embedding model, and when it is not. */
class PrefetchEmbeddingAutoConfigurationTest {

    private final FakeEngine engine = FakeEngine.answering("Hello");

    @TempDir
    private Path folder;

    private ApplicationContextRunner runner;

    @BeforeEach
    void prepare() throws IOException {
        Path model = Files.writeString(folder.resolve("demo.gguf"), "GGUF");
        runner = new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(
                        PrefetchEngineAutoConfiguration.class,
                        PrefetchChatAutoConfiguration.class,
                        PrefetchModelsAutoConfiguration.class,
                        PrefetchEmbeddingAutoConfiguration.class))
                .withBean(EngineOpener.class, () -> (options, listener) -> engine)
                .withPropertyValues(
                        "spring.ai.prefetch.model=" + model,
                        "spring.ai.prefetch.load-in-background=false",
                        "spring.ai.prefetch.warm-up=false");
    }

    /** Another provider's. */
    private static final class Other implements EmbeddingModel {

        @Override
        public EmbeddingResponse call(EmbeddingRequest request) {
            throw new UnsupportedOperationException("not asked here");
        }

        @Override
        public float[] embed(Document document) {
            throw new UnsupportedOperationException("not asked here");
        }
    }

    @Test
    void isRegistered() {
        assertThat(ImportCandidates.load(AutoConfiguration.class, getClass().getClassLoader()))
                .contains(PrefetchEmbeddingAutoConfiguration.class.getName());
    }

    @Test
    void theEngineThatAnswersChatsMakesVectors() {
        runner.run(context -> {
            assertThat(context).hasSingleBean(PrefetchEngine.class).hasSingleBean(PrefetchChatModel.class);
            assertThat(context.getBean(EmbeddingModel.class).embed("four")).containsExactly(4f);
        });
    }

    @ParameterizedTest
    @ValueSource(strings = {"none", "openai"})
    void thereIsNoneWhenAnotherOneIsSelected(String selected) {
        runner.withPropertyValues("spring.ai.model.embedding=" + selected)
                .run(context -> assertThat(context)
                        .hasNotFailed()
                        .hasSingleBean(PrefetchChatModel.class)
                        .doesNotHaveBean(EmbeddingModel.class));
    }

    @Test
    void vectorsAloneNeedNoChatModel() {
        runner.withPropertyValues("spring.ai.model.chat=none", "spring.ai.model.embedding=prefetch")
                .run(context -> assertThat(context)
                        .hasSingleBean(PrefetchEmbeddingModel.class)
                        .doesNotHaveBean(PrefetchChatModel.class));
    }

    @Test
    void nothingIsLoadedWithoutChatsAndVectors() {
        runner.withPropertyValues("spring.ai.model.chat=none")
                .run(context -> assertThat(context)
                        .hasNotFailed()
                        .doesNotHaveBean(PrefetchEngine.class)
                        .doesNotHaveBean(EmbeddingModel.class));
    }

    @Test
    void backsOffWhenTheApplicationHasItsOwn() {
        runner.withBean("other", EmbeddingModel.class, Other::new)
                .run(context ->
                        assertThat(context.getBean(EmbeddingModel.class)).isInstanceOf(Other.class));
    }

    @Test
    void bindsItsProperties() {
        runner.withPropertyValues(
                        "spring.ai.prefetch.embedding.pooling=last",
                        "spring.ai.prefetch.embedding.normalize=false",
                        "spring.ai.prefetch.embedding.metadata-mode=none",
                        "spring.ai.prefetch.embedding.timeout=10s")
                .run(context -> {
                    EmbeddingModel model = context.getBean(EmbeddingModel.class);
                    model.embed(Document.builder()
                            .text("text")
                            .metadata("author", "Ann")
                            .build());
                    assertThat(engine.embeddings())
                            .containsExactly(new EmbeddingOptions(Pooling.LAST, false, Duration.ofSeconds(10)));
                    assertThat(model.getEmbeddingContent(Document.builder()
                                    .text("text")
                                    .metadata("author", "Ann")
                                    .build()))
                            .isEqualTo("text");
                });
    }

    @Test
    void anImpossibleLimitOfTimeNamesItsProperty() {
        runner.withPropertyValues("spring.ai.prefetch.embedding.timeout=0s")
                .run(context -> assertThat(context)
                        .getFailure()
                        .rootCause()
                        .hasMessageContaining("spring.ai.prefetch.embedding.timeout"));
    }

    @Test
    void aModelByNameServesForVectorsWhenItIsToldTo() {
        runner.withPropertyValues(
                        "spring.ai.prefetch.models.embedder.model=" + folder.resolve("demo.gguf"),
                        "spring.ai.prefetch.models.embedder.serves=embedding")
                .run(context -> {
                    assertThat(context).hasBean("embedderEmbeddingModel").doesNotHaveBean("embedderChatModel");
                    // The model without a name stays the one that is meant without a name.
                    assertThat(context.getBean(EmbeddingModel.class))
                            .isSameAs(context.getBean("prefetchEmbeddingModel"));
                });
    }

    @Test
    void amongModelsByNameTheOnlyOneForVectorsIsMeant() {
        new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(
                        PrefetchEngineAutoConfiguration.class,
                        PrefetchChatAutoConfiguration.class,
                        PrefetchModelsAutoConfiguration.class,
                        PrefetchEmbeddingAutoConfiguration.class))
                .withBean(EngineOpener.class, () -> (options, listener) -> FakeEngine.answering("Hello"))
                .withPropertyValues(
                        "spring.ai.prefetch.models.assistant.model=" + folder.resolve("demo.gguf"),
                        "spring.ai.prefetch.models.embedder.model=" + folder.resolve("demo.gguf"),
                        "spring.ai.prefetch.models.embedder.serves=embedding")
                .run(context -> {
                    assertThat(context).hasNotFailed().hasSingleBean(PrefetchChatModel.class);
                    assertThat(context.getBean(EmbeddingModel.class))
                            .isSameAs(context.getBean("embedderEmbeddingModel"));
                });
    }
}
