package dev.prefetch.spring.autoconfigure;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.spring.PrefetchChatModel;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.model.chat.client.autoconfigure.ChatClientAutoConfiguration;
import org.springframework.ai.model.tool.autoconfigure.ToolCallingAutoConfiguration;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.diagnostics.FailureAnalyzedException;
import org.springframework.boot.test.context.FilteredClassLoader;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;
import org.springframework.util.ClassUtils;

/** An application without the CUDA backend: the starter does not bring it, nor does anything of it ask for it. */
@Timeout(60)
class WithoutCudaTest {

    private static final Path MODEL =
            Path.of("..", "sample-app", "src", "main", "resources", "demo-model", "tiny-demo-chat-Q8_0.gguf");

    private final ApplicationContextRunner runner = new ApplicationContextRunner()
            .withClassLoader(new FilteredClassLoader("dev.prefetch.cuda", "jcuda"))
            .withConfiguration(AutoConfigurations.of(
                    PrefetchEngineAutoConfiguration.class,
                    PrefetchChatAutoConfiguration.class,
                    PrefetchModelsAutoConfiguration.class,
                    PrefetchEnginesAutoConfiguration.class,
                    ToolCallingAutoConfiguration.class,
                    ChatClientAutoConfiguration.class))
            .withPropertyValues("spring.ai.prefetch.model=" + MODEL, "spring.ai.prefetch.chat.temperature=0");

    @Test
    void theStarterDoesNotBringIt() {
        // The backends are looked up with the engine's own class loader, which a filter does not reach.
        assertThat(ClassUtils.isPresent("dev.prefetch.cuda.CudaBackendProvider", PrefetchEngine.class.getClassLoader()))
                .isFalse();
        assertThat(ClassUtils.isPresent("jcuda.driver.JCudaDriver", PrefetchEngine.class.getClassLoader()))
                .isFalse();
    }

    @Test
    void theHostComputesAndWhatIsSetForADeviceDoesNotMatter() {
        runner.withPropertyValues("spring.ai.prefetch.cuda.vram=6GiB", "spring.ai.prefetch.cuda.retry-after=5s")
                .run(context -> {
                    assertThat(context).hasNotFailed();
                    assertThat(context.getBean(PrefetchEngine.class).info().backend())
                            .isEqualTo("cpu");
                    assertThat(context.getBean(PrefetchChatModel.class).call("What is GGUF?"))
                            .contains("GGUF");
                });
    }

    @Test
    void askingForItFailsWithWhatThereIsAndWhatToDo() {
        runner.withPropertyValues("spring.ai.prefetch.backend=cuda", "spring.ai.prefetch.load-in-background=false")
                .run(context -> {
                    assertThat(context).hasFailed();
                    Throwable failure = context.getStartupFailure();
                    while (failure != null && !(failure instanceof FailureAnalyzedException)) {
                        failure = failure.getCause();
                    }
                    assertThat(failure).isInstanceOf(FailureAnalyzedException.class);
                    FailureAnalyzedException analyzed = (FailureAnalyzedException) failure;
                    assertThat(analyzed.analysis().getDescription())
                            .contains("'cuda' is not on the class path")
                            .contains("found [cpu");
                    assertThat(analyzed.analysis().getAction()).contains("spring.ai.prefetch.backend");
                });
    }
}
