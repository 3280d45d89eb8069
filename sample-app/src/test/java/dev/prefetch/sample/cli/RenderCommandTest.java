package dev.prefetch.sample.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RenderCommandTest {

    private @TempDir Path folder = Path.of("");

    @Test
    void writesExactlyTheTemplatesText() throws IOException {
        CliRun run = render(
                "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}>{% endif %}",
                """
                {"messages": [{"role": "user", "content": "Grüße & \\"you\\""}], "add_generation_prompt": true}
                """);

        assertThat(run.exitCode()).isZero();
        assertThat(run.out()).isEqualTo("<user>Grüße & \"you\"\n>");
    }

    @Test
    void keepsTheOrderOfKeys() throws IOException {
        CliRun run = render("{{ tools[0] | tojson }}", """
                {"tools": [{"zeta": 1, "alpha": 2.5, "mid": null}]}
                """);

        assertThat(run.out()).isEqualTo("{\"zeta\": 1, \"alpha\": 2.5, \"mid\": null}");
    }

    @Test
    void reportsWhatTheTemplateRefuses() throws IOException {
        CliRun run = render("{{ raise_exception('roles must alternate') }}", "{}");

        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.out()).isEmpty();
        assertThat(run.err()).startsWith("prefetch: ").contains("roles must alternate");
        assertThat(run.err().lines()).hasSize(1);
    }

    @Test
    void reportsABrokenTemplate() throws IOException {
        CliRun run = render("{% if %}", "{}");

        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).contains("1");
    }

    @Test
    void reportsAScenarioThatIsNoObject() throws IOException {
        CliRun run = render("x", "[1, 2]");

        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).contains("scenario.json is not a JSON object");
    }

    private CliRun render(String template, String scenario) throws IOException {
        Path templateFile = Files.writeString(folder.resolve("template.jinja"), template);
        Path scenarioFile = Files.writeString(folder.resolve("scenario.json"), scenario);
        return CliRun.of("render", "--template", templateFile.toString(), "--scenario", scenarioFile.toString());
    }
}
