package dev.prefetch.sample.web;

import static org.assertj.core.api.Assertions.assertThat;

import com.microsoft.playwright.Browser.NewContextOptions;
import com.microsoft.playwright.BrowserContext;
import com.microsoft.playwright.Page;
import com.microsoft.playwright.assertions.PlaywrightAssertions;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;

/** What tests of pages share: one browser, a page of its own for each test, and no error in any script. */
abstract class BrowserTest {

    private static Browser browser;

    private final List<String> scriptErrors = new ArrayList<>();
    private BrowserContext context;
    Page page;

    @BeforeAll
    static void launchBrowser() {
        browser = Browser.launchOrSkip();
        // A limit for failures, not a measure: the first answers of a JVM on a busy machine take their time.
        PlaywrightAssertions.setDefaultAssertionTimeout(60_000);
    }

    @AfterAll
    static void closeBrowser() {
        if (browser != null) {
            browser.close();
        }
    }

    /** Opens {@link #page} at a path of this machine's server. */
    void open(int port, String path, NewContextOptions options) {
        context = browser.get().newContext(options);
        page = context.newPage();
        page.onPageError(scriptErrors::add);
        page.navigate("http://127.0.0.1:" + port + path);
    }

    @AfterEach
    void closePage() {
        context.close();
        assertThat(scriptErrors).isEmpty();
    }
}
