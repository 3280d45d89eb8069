package dev.prefetch.sample.web;

import static com.microsoft.playwright.assertions.PlaywrightAssertions.assertThat;
import static org.assertj.core.api.Assertions.assertThat;

import com.microsoft.playwright.Browser.NewContextOptions;
import com.microsoft.playwright.Locator;
import com.microsoft.playwright.Page;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.sample.SampleApplication;
import java.nio.file.Path;
import java.util.regex.Pattern;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.springframework.beans.factory.annotation.Autowired;
import org.springframework.boot.test.context.SpringBootTest;
import org.springframework.boot.test.context.SpringBootTest.WebEnvironment;
import org.springframework.boot.test.web.server.LocalServerPort;

/** The view of the pipeline in a real browser, with weights that stream. */
@SpringBootTest(
        classes = SampleApplication.class,
        webEnvironment = WebEnvironment.RANDOM_PORT,
        properties = {
            "spring.ai.prefetch.memory.weights=70%",
            "spring.ai.prefetch.look-ahead=2",
            "spring.ai.prefetch.trace-sweeps=6"
        })
class PipelinePageTest extends BrowserTest {

    private final int port;
    private final PrefetchEngine engine;

    PipelinePageTest(@LocalServerPort int port, @Autowired PrefetchEngine engine) {
        this.port = port;
        this.engine = engine;
    }

    @BeforeEach
    void openPage() throws Exception {
        try (ChatHttpClient client = new ChatHttpClient(port)) {
            client.ask(client.startConversation(), "What is GGUF?");
        }
        open(port, "/pipeline.html", new NewContextOptions().setViewportSize(1180, 960));
    }

    @Test
    void showsThePlanTheFiguresAndTheTimeline() {
        assertThat(page.locator("#plan")).containsText("stream through");
        assertThat(page.locator("#figures dd")).hasCount(7);
        assertThat(page.locator("#memory .meter")).hasCount(3);
        assertThat(page.locator("#timeline rect.disk").first()).isVisible();
        assertThat(page.locator("#timeline rect.compute").first()).isVisible();
        // The page stands on its own: nothing comes from elsewhere.
        assertThat(page.content()).doesNotContain("https://");
        String screenshot = System.getProperty("prefetch.screenshot", "");
        if (!screenshot.isEmpty()) {
            page.screenshot(new Page.ScreenshotOptions().setFullPage(true).setPath(Path.of(screenshot)));
        }
    }

    @Test
    void theSliderChangesTheLookAhead() {
        Locator slider = page.locator("#look-ahead");
        assertThat(slider).isEnabled();
        assertThat(page.locator("#look-ahead-value")).hasText("2");

        slider.fill("0");

        assertThat(page.locator("#look-ahead-note")).hasText(Pattern.compile("Changed to 0\\."));
        Awaitility.await().until(() -> engine.status().lookAheadBlocks() == 0);

        page.locator("#look-ahead-auto").click();

        assertThat(page.locator("#look-ahead-auto")).hasAttribute("aria-pressed", "true");
        Awaitility.await().until(engine::choosesLookAhead);
        engine.setLookAheadBlocks(2);
    }
}
