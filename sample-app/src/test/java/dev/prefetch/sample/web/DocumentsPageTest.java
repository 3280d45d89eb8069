package dev.prefetch.sample.web;

import static com.microsoft.playwright.assertions.PlaywrightAssertions.assertThat;

import com.microsoft.playwright.Browser.NewContextOptions;
import com.microsoft.playwright.Page;
import dev.prefetch.sample.SampleApplication;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.springframework.boot.test.context.SpringBootTest;
import org.springframework.boot.test.context.SpringBootTest.WebEnvironment;
import org.springframework.boot.test.web.server.LocalServerPort;

/** Questions about a document and the form, in a real browser with the demo model behind them. */
@SpringBootTest(classes = SampleApplication.class, webEnvironment = WebEnvironment.RANDOM_PORT)
class DocumentsPageTest extends BrowserTest {

    private final int port;

    DocumentsPageTest(@LocalServerPort int port) {
        this.port = port;
    }

    @BeforeEach
    void openPage() {
        open(port, "/documents.html", new NewContextOptions().setViewportSize(1000, 860));
    }

    private void screenshot(String name) {
        String folder = System.getProperty("prefetch.screenshots", "");
        if (!folder.isEmpty()) {
            page.screenshot(new Page.ScreenshotOptions().setPath(Path.of(folder, name)));
        }
    }

    @Test
    void answersAQuestionFromTheDocumentAndShowsThePassages() {
        page.locator("#suggestions button").first().click();

        assertThat(page.locator("#answer")).containsText("63 days");
        assertThat(page.locator("#sources li")).hasCount(3);
        assertThat(page.locator("#sources li").first()).containsText("The returns period of the Krat shop is 63 days.");
        assertThat(page.locator("#document-note")).hasText("6 passages have their vectors.");
        assertThat(page.locator("#error")).isEmpty();
        screenshot("documents.png");
    }

    @Test
    void asksAboutADocumentOfOnesOwn() {
        page.locator("#document").fill("The museum is open from 10 to 17.\nThe fee is 9 days.");
        page.locator("#document-form button").click();
        assertThat(page.locator("#document-note")).hasText("2 passages have their vectors.");

        page.locator("#question").fill("When is the museum open?");
        page.locator("#ask").click();

        assertThat(page.locator("#sources li")).hasCount(2);
        assertThat(page.locator("#answer")).not().isEmpty();
    }

    @Test
    void saysWhyADocumentIsRefused() {
        page.locator("#document").fill("  ");
        page.locator("#document-form button").click();

        assertThat(page.locator("#error")).hasText("The document is empty.");
    }

    @Test
    void fillsAForm() {
        page.navigate("http://127.0.0.1:" + port + "/form.html");

        page.locator("#fill").click();

        assertThat(page.locator("#values dd").nth(0)).hasText("The Silent Canyon");
        assertThat(page.locator("#values dd").nth(1)).hasText("1975");
        assertThat(page.locator("#schema")).containsText("\"required\"");
        screenshot("form.png");
    }

    @Test
    void addsFieldsAndSaysWhichNameCannotBe() {
        page.navigate("http://127.0.0.1:" + port + "/form.html");
        page.locator("#add").click();
        assertThat(page.locator(".field")).hasCount(3);

        page.locator(".field input").nth(2).fill("not a name");
        page.locator("#fill").click();

        assertThat(page.locator("#error")).containsText("'not a name' cannot be the name of a field");
        page.locator(".field button").nth(2).click();
        assertThat(page.locator(".field")).hasCount(2);
    }

    @Test
    void everyPageLeadsToTheOthers() {
        for (String path : new String[] {"/", "/documents.html", "/form.html", "/pipeline.html"}) {
            page.navigate("http://127.0.0.1:" + port + path);
            assertThat(page.locator("nav a")).hasCount(4);
            assertThat(page.locator("nav a[aria-current]")).hasCount(1);
        }
    }
}
