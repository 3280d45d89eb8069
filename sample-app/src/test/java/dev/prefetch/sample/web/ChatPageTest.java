package dev.prefetch.sample.web;

import static com.microsoft.playwright.assertions.PlaywrightAssertions.assertThat;
import static org.assertj.core.api.Assertions.assertThat;

import com.microsoft.playwright.Browser.NewContextOptions;
import com.microsoft.playwright.Locator;
import com.microsoft.playwright.Page;
import com.microsoft.playwright.Page.GetByRoleOptions;
import com.microsoft.playwright.options.AriaRole;
import dev.prefetch.api.FinishReason;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.sample.GoldenCases;
import dev.prefetch.sample.GoldenCases.GoldenCase;
import dev.prefetch.sample.ObservedEngine;
import dev.prefetch.sample.SampleApplication;
import java.nio.file.Path;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.springframework.beans.factory.annotation.Autowired;
import org.springframework.boot.test.context.SpringBootTest;
import org.springframework.boot.test.context.SpringBootTest.WebEnvironment;
import org.springframework.boot.test.web.server.LocalServerPort;
import org.springframework.context.annotation.Import;

/** The page in a real browser, with the demo model behind it. */
@SpringBootTest(
        classes = SampleApplication.class,
        webEnvironment = WebEnvironment.RANDOM_PORT,
        properties = "sample.chat.heartbeat=20ms")
@Import(EngineObservation.class)
class ChatPageTest extends BrowserTest {

    private static final String STORY = "Could you write me a story about a parrot called Lucia.";

    private final int port;
    private final ObservedEngine engine;

    ChatPageTest(@LocalServerPort int port, @Autowired PrefetchEngine engine) {
        this.port = port;
        this.engine = (ObservedEngine) engine;
    }

    @BeforeEach
    void openPage() {
        engine.reset();
        open(port, "/", new NewContextOptions());
    }

    @Test
    void saysWhatRuns() {
        assertThat(page.getByRole(AriaRole.HEADING, new GetByRoleOptions().setLevel(1)))
                .hasText(engine.info().modelName());
        assertThat(page.locator("#model-facts")).containsText("Q8_0");
        assertThat(page.locator("#model-facts")).containsText("cpu");
    }

    @Test
    void showsTheAnswerAndItsFigures() {
        GoldenCase golden = GoldenCases.surestQuestion();

        type(golden.question());

        assertThat(page.locator(".user .text")).hasText(golden.question());
        assertThat(answer()).hasText(golden.answer());
        assertThat(page.locator(".facts")).containsText("tokens/s");
        assertThat(page.locator(".facts")).containsText("first token after");
        assertThat(page.locator(".facts"))
                .containsText(golden.promptIds().size() + " prompt + "
                        + golden.answerIds().size() + " answer tokens");
        assertThat(button("Send")).isVisible();
        assertThat(button("Stop")).isHidden();
    }

    @Test
    void showsTextWhileItIsWrittenAndStopsOnTheButton() throws InterruptedException {
        engine.holdNextAfter(8);
        type(STORY);
        assertThat(answer()).not().isEmpty();
        assertThat(page.locator("article.assistant")).hasAttribute("aria-busy", "true");
        assertThat(page.locator(".facts")).hasCount(0);

        button("Stop").click();

        assertStopped();
    }

    @Test
    void stopsOnEscape() throws InterruptedException {
        engine.holdNextAfter(8);
        type(STORY);
        assertThat(answer()).not().isEmpty();

        page.keyboard().press("Escape");

        assertStopped();
    }

    @Test
    void stopsTheModelWhenThePageIsLeft() throws InterruptedException {
        engine.holdNextAfter(8);
        type(STORY);
        assertThat(answer()).not().isEmpty();

        page.navigate("about:blank");

        assertThat(engine.nextResult().finishReason()).isEqualTo(FinishReason.CANCELLED);
    }

    @Test
    void startsANewConversation() throws InterruptedException {
        type("Good morning, my name is Mateo.");
        assertThat(page.locator(".facts")).hasCount(1);

        button("New conversation").click();

        assertThat(page.locator(".message")).hasCount(0);
        assertThat(page.locator("#welcome")).isVisible();
        engine.nextRequest();
        type("What is my name?");
        assertThat(page.locator(".facts")).hasCount(1);
        assertThat(engine.nextRequest().prompt().toString()).doesNotContain("Mateo");
    }

    @Test
    void abandonsAnAnswerForANewConversation() throws InterruptedException {
        engine.holdNextAfter(8);
        type(STORY);
        assertThat(answer()).not().isEmpty();

        button("New conversation").click();

        assertThat(engine.nextResult().finishReason()).isEqualTo(FinishReason.CANCELLED);
        assertThat(page.locator(".message")).hasCount(0);
        assertThat(button("Send")).isVisible();
    }

    @Test
    void asksASuggestedQuestionOnClick() {
        Locator suggestion = page.locator("#suggestions button").first();
        String question = suggestion.textContent();

        suggestion.click();

        assertThat(page.locator(".user .text")).hasText(question);
        assertThat(page.locator(".facts")).hasCount(1);
    }

    @Test
    void showsTheCallOfAToolAboveTheAnswer() {
        page.locator("#tools").check();

        type("How much is 31 multiplied by 7?");

        assertThat(page.locator(".tool")).hasCount(1);
        assertThat(page.locator(".tool")).containsText("Called product");
        assertThat(page.locator(".tool")).containsText("217");
        assertThat(answer()).containsText("217");
        assertThat(page.locator(".facts")).hasCount(1);
        String folder = System.getProperty("prefetch.screenshots", "");
        if (!folder.isEmpty()) {
            page.screenshot(new Page.ScreenshotOptions().setPath(Path.of(folder, "tools.png")));
        }
    }

    @Test
    void aSuggestionThatNeedsToolsSwitchesThemOn() {
        Locator suggestion =
                page.locator("#suggestions button").filter(new Locator.FilterOptions().setHasText("Madrid"));

        suggestion.click();

        assertThat(page.locator("#tools")).isChecked();
        assertThat(page.locator(".tool")).containsText("getTime");
    }

    @Test
    void restoresTheConversationWhenThePageIsLoadedAgain() {
        type("Good morning, my name is Mateo.");
        assertThat(page.locator(".facts")).hasCount(1);
        String answer = answer().textContent();

        page.reload();

        assertThat(page.locator(".user .text")).hasText("Good morning, my name is Mateo.");
        assertThat(answer()).hasText(answer);
    }

    @Test
    void showsTheServersWordsWhenAMessageDoesNotFit() {
        page.getByLabel("Your message").fill("word ".repeat(5000));
        page.keyboard().press("Enter");

        assertThat(page.getByRole(AriaRole.ALERT)).containsText("context length");
        assertThat(button("Send")).isVisible();
    }

    @Test
    void takesWhatIsTypedForText() {
        String markup = "<img src=x onerror=\"document.title='owned'\">";

        type(markup);

        assertThat(page.locator(".user .text")).hasText(markup);
        assertThat(page.locator(".facts")).hasCount(1);
        assertThat(page.locator("#messages img")).hasCount(0);
        assertThat(page).not().hasTitle("owned");
    }

    @Test
    void startsALineWithShiftEnter() {
        Locator input = page.getByLabel("Your message");
        input.fill("one");
        page.keyboard().press("Shift+Enter");
        page.keyboard().type("two");

        assertThat(input).hasValue("one\ntwo");
        assertThat(page.locator(".message")).hasCount(0);
    }

    private void type(String text) {
        page.getByLabel("Your message").fill(text);
        page.keyboard().press("Enter");
    }

    private Locator answer() {
        return page.locator(".assistant .text");
    }

    private Locator button(String name) {
        return page.getByRole(
                AriaRole.BUTTON, new GetByRoleOptions().setName(name).setExact(true));
    }

    private void assertStopped() throws InterruptedException {
        assertThat(engine.nextResult().finishReason()).isEqualTo(FinishReason.CANCELLED);
        assertThat(page.locator(".facts")).hasText(Pattern.compile("stopped after"));
        assertThat(page.locator("article.assistant")).not().hasAttribute("aria-busy", "true");
        assertThat(button("Send")).isVisible();
        assertThat(answer()).not().isEmpty();
    }
}
