package dev.prefetch.sample.web;

import com.microsoft.playwright.BrowserType;
import com.microsoft.playwright.Playwright;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;

/**
 * The Chromium of this machine, headless. Where there is none the tests that need it are skipped, unless
 * PREFETCH_REQUIRE_BROWSER=1 says that there should be one.
 */
final class Browser implements AutoCloseable {

    private final Playwright playwright;
    private final com.microsoft.playwright.Browser browser;

    private Browser(Path executable) {
        // The driver would download its own browsers otherwise.
        playwright = Playwright.create(
                new Playwright.CreateOptions().setEnv(Map.of("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")));
        browser = playwright
                .chromium()
                .launch(new BrowserType.LaunchOptions()
                        .setExecutablePath(executable)
                        .setHeadless(true)
                        // Root and containers have no sandbox; nothing but the page under test is loaded.
                        .setArgs(List.of("--no-sandbox", "--disable-dev-shm-usage")));
    }

    static Browser launchOrSkip() {
        Optional<Path> executable = executable();
        if (executable.isEmpty()) {
            String reason = "no Chromium found: install it, or name it with PREFETCH_BROWSER";
            if ("1".equals(System.getenv("PREFETCH_REQUIRE_BROWSER"))) {
                throw new AssertionError(reason);
            }
            Assumptions.abort(reason);
        }
        return new Browser(executable.orElseThrow());
    }

    com.microsoft.playwright.Browser get() {
        return browser;
    }

    private static Optional<Path> executable() {
        return Stream.of(
                        Optional.ofNullable(System.getenv("PREFETCH_BROWSER")).orElse(""),
                        "/usr/bin/chromium",
                        "/usr/bin/chromium-browser",
                        "/usr/bin/google-chrome",
                        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
                .filter(path -> !path.isEmpty())
                .map(Path::of)
                .filter(Files::isExecutable)
                .findFirst();
    }

    @Override
    public void close() {
        playwright.close();
    }
}
