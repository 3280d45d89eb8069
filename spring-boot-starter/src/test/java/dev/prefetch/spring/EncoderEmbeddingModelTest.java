package dev.prefetch.spring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.api.ContextLengthExceededException;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.inference.Pooling;
import dev.prefetch.spring.autoconfigure.PrefetchChatAutoConfiguration;
import dev.prefetch.spring.autoconfigure.PrefetchEmbeddingAutoConfiguration;
import dev.prefetch.spring.autoconfigure.PrefetchEngineAutoConfiguration;
import dev.prefetch.spring.autoconfigure.PrefetchModelsAutoConfiguration;
import dev.prefetch.testing.ExactVectors;
import dev.prefetch.testing.RandomEncoder;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.springframework.ai.chat.model.ChatModel;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.document.Document;
import org.springframework.ai.embedding.EmbeddingModel;
import org.springframework.ai.embedding.EmbeddingResponse;
import org.springframework.ai.vectorstore.SearchRequest;
import org.springframework.ai.vectorstore.SimpleVectorStore;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;

/** An application whose model is an encoder: a real one of the engine's, if a small one. */
class EncoderEmbeddingModelTest {

    private static ApplicationContextRunner runner(String model) {
        return new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(
                        PrefetchEngineAutoConfiguration.class,
                        PrefetchChatAutoConfiguration.class,
                        PrefetchModelsAutoConfiguration.class,
                        PrefetchEmbeddingAutoConfiguration.class))
                .withPropertyValues(
                        "spring.ai.prefetch.model=" + RandomEncoder.file(model).toAbsolutePath(),
                        "spring.ai.prefetch.threads=1",
                        "spring.ai.prefetch.load-in-background=false",
                        "spring.ai.prefetch.warm-up=false",
                        "spring.ai.prefetch.embedding.normalize=false");
    }

    @ParameterizedTest
    @ValueSource(strings = {"bert-Q8_0", "bert-fused-F32", "nomic-bert-BF16"})
    void makesTheModelsVectors(String model) {
        runner(model)
                .withPropertyValues("spring.ai.model.chat=none", "spring.ai.model.embedding=prefetch")
                .run(context -> {
                    EmbeddingModel embeddings = context.getBean(EmbeddingModel.class);
                    PrefetchEngine engine = context.getBean(PrefetchEngine.class);
                    float[] exact =
                            ExactVectors.of(model).vector(model.startsWith("bert-fused") ? Pooling.CLS : Pooling.MEAN);
                    assertThat(embeddings.dimensions()).isEqualTo(exact.length);
                    assertThat(engine.statistics().sweeps())
                            .as("nothing is computed for that")
                            .isZero();

                    EmbeddingResponse response =
                            embeddings.embedForResponse(List.of("w5 w6", RandomEncoder.text(ExactVectors.tokens())));
                    assertThat(response.getMetadata().getUsage().getPromptTokens())
                            .isEqualTo(4 + 100);
                    float[] vector = response.getResults().get(1).getOutput();
                    assertThat(vector).hasSameSizeAs(exact);
                    for (int i = 0; i < exact.length; i++) {
                        assertThat(vector[i]).isCloseTo(exact[i], within(1e-4f));
                    }
                });
    }

    @Test
    void servesAVectorStore() {
        runner("nomic-bert-Q8_0")
                .withPropertyValues("spring.ai.model.chat=none", "spring.ai.model.embedding=prefetch")
                .run(context -> {
                    SimpleVectorStore store = SimpleVectorStore.builder(context.getBean(EmbeddingModel.class))
                            .build();
                    store.add(List.of(new Document("w5 w6 w7 w8"), new Document("w100 w101 w102"), new Document("w9")));
                    assertThat(store.similaritySearch(SearchRequest.builder()
                                    .query("w100 w101 w102")
                                    .topK(1)
                                    .build()))
                            .singleElement()
                            .satisfies(found -> assertThat(found.getText()).isEqualTo("w100 w101 w102"));
                });
    }

    @Test
    void chatsAreRefusedWithTheRemedy() {
        runner("bert-Q8_0").run(context -> {
            ChatModel chat = context.getBean(ChatModel.class);
            assertThatExceptionOfType(UnsupportedOperationException.class)
                    .isThrownBy(() -> chat.call(new Prompt("Hello")))
                    .withMessageContaining("bert-Q8_0.gguf: architecture 'bert' is an encoder")
                    .withMessageContaining("spring.ai.prefetch.model")
                    .withMessageContaining("spring.ai.model.chat=none");
            assertThatExceptionOfType(UnsupportedOperationException.class)
                    .isThrownBy(() -> chat.stream(new Prompt("Hello")).blockLast())
                    .withMessageContaining("is an encoder");
            assertThat(context.getBean(EmbeddingModel.class).embed("w5")).hasSize(256);
        });
    }

    @Test
    void aTextThatIsTooLongIsRefusedWithTheLimit() {
        runner("bert-Q8_0")
                .run(context -> assertThatExceptionOfType(ContextLengthExceededException.class)
                        .isThrownBy(() -> context.getBean(EmbeddingModel.class)
                                .embed(RandomEncoder.text(RandomEncoder.tokens(127))))
                        .withMessageContaining("129 tokens but the context length is 128"));
    }

    @Test
    void isWarmedUpWithVectors() {
        runner("nomic-bert-Q8_0")
                .withPropertyValues("spring.ai.prefetch.warm-up=true")
                .run(context -> assertThat(context.getBean(PrefetchEngine.class)
                                .statistics()
                                .sweeps())
                        .isPositive());
    }
}
