package dev.prefetch.sample.cli;

import dev.prefetch.sample.SampleApplication;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;
import org.springframework.boot.SpringApplication;
import org.springframework.context.ApplicationListener;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.event.ContextClosedEvent;
import picocli.CommandLine.Command;
import picocli.CommandLine.ExitCode;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code serve}: the web chat. */
@Command(
        name = "serve",
        description = "Starts the sample application: a chat page and its HTTP interface.",
        footer = {
            "",
            "Every Spring property can be set as well, for example with the environment variable",
            "SPRING_AI_PREFETCH_CHAT_TEMPERATURE=0.7."
        })
final class ServeCommand implements Callable<Integer> {

    @Option(names = "--port", paramLabel = "PORT", description = "HTTP port; 0 for any free one (default: 8080).")
    private @Nullable Integer port;

    @Option(
            names = "--host",
            paramLabel = "ADDRESS",
            description = "Address to listen on (default: 127.0.0.1, this machine only; 0.0.0.0 for all).")
    private @Nullable String host;

    @Option(
            names = "--model",
            paramLabel = "MODEL",
            description = ModelLocation.DESCRIPTION + " (default: the demo model).")
    private @Nullable ModelLocation model;

    @Option(
            names = "--answer-once",
            hidden = true,
            description = "Answer one message over HTTP, then end: a run that shows a JVM what to prepare for.")
    private boolean answerOnce;

    @Mixin
    private final EngineMixin engine = new EngineMixin();

    @Override
    public Integer call() throws IOException, InterruptedException {
        String[] arguments = springArguments().toArray(String[]::new);
        CountDownLatch closed = new CountDownLatch(1);
        SpringApplication application = new SpringApplication(SampleApplication.class);
        application.setMainApplicationClass(SampleApplication.class);
        application.addListeners((ApplicationListener<ContextClosedEvent>) event -> closed.countDown());
        ConfigurableApplicationContext running;
        try {
            running = application.run(arguments);
        } catch (RuntimeException e) {
            // Spring Boot has reported it already, with what to do where it knows.
            return ExitCode.SOFTWARE;
        }
        if (answerOnce) {
            try (running) {
                OneAnswer.of(running.getEnvironment().getRequiredProperty("local.server.port", Integer.class));
            }
        }
        closed.await();
        return ExitCode.OK;
    }

    /** The options as Spring properties; what was not given is left to application.yml. */
    List<String> springArguments() throws NoSuchFileException {
        List<String> arguments = new ArrayList<>();
        if (port != null) {
            arguments.add("--server.port=" + port);
        }
        if (host != null) {
            arguments.add("--server.address=" + host);
        }
        if (model != null) {
            arguments.add("--spring.ai.prefetch.model=" + property(model));
        }
        if (engine.contextLength() > 0) {
            arguments.add("--spring.ai.prefetch.context-length=" + engine.contextLength());
        }
        if (engine.threads() > 0) {
            arguments.add("--spring.ai.prefetch.threads=" + engine.threads());
        }
        if (!engine.backend().equals("auto")) {
            arguments.add("--spring.ai.prefetch.backend=" + engine.backend());
        }
        arguments.addAll(engine.memoryArguments());
        return arguments;
    }

    /** A reference is left to the starter, which knows them too. */
    private static String property(ModelLocation model) throws NoSuchFileException {
        if (model.reference().isPresent()) {
            return model.text().strip();
        }
        Path file = model.path();
        if (!Files.exists(file)) {
            throw new NoSuchFileException(file.toString());
        }
        return file.toAbsolutePath().toUri().toString();
    }
}
