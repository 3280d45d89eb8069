package dev.prefetch.sample.cli;

import dev.prefetch.template.ChatTemplate;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.ExitCode;
import picocli.CommandLine.Option;
import tools.jackson.core.JacksonException;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.json.JsonMapper;

/** {@code render}: a chat template's text. */
@Command(
        name = "render",
        description = "Renders a chat template (Jinja) and writes exactly its text, without a line break after it.")
final class RenderCommand implements Callable<Integer> {

    private static final TypeReference<LinkedHashMap<String, Object>> VARIABLES = new TypeReference<>() {};

    private final CliContext context;

    @Option(names = "--template", paramLabel = "FILE", required = true, description = "Template file.")
    private Path template = Path.of("");

    @Option(
            names = "--scenario",
            paramLabel = "FILE",
            required = true,
            description = "JSON object with the template's variables: messages, tools, add_generation_prompt, ...")
    private Path scenario = Path.of("");

    RenderCommand(CliContext context) {
        this.context = context;
    }

    @Override
    public Integer call() throws IOException {
        ChatTemplate parsed = ChatTemplate.parse(Files.readString(template));
        context.out().print(parsed.render(readScenario()).text());
        context.out().flush();
        return ExitCode.OK;
    }

    private LinkedHashMap<String, Object> readScenario() throws IOException {
        String json = Files.readString(scenario);
        try {
            return JsonMapper.shared().readValue(json, VARIABLES);
        } catch (JacksonException e) {
            throw new CommandFailedException(scenario + " is not a JSON object: " + e.getOriginalMessage(), e);
        }
    }
}
