package dev.prefetch.sample.cli;

import picocli.CommandLine;
import picocli.CommandLine.ParseResult;

/** Entry point of the executable jar and of {@code ./prefetch}. */
public final class Main {

    private static final String LOGBACK_FILE = "logback.configurationFile";

    private Main() {}

    public static void main(String[] args) {
        CommandLine commandLine = PrefetchCommand.commandLine(CliContext.system());
        commandLine.setExecutionStrategy(Main::execute);
        System.exit(commandLine.execute(args));
    }

    private static int execute(ParseResult parsed) {
        // Before the first logger exists. Spring Boot configures the logging of `serve` itself.
        if (!isServe(parsed) && System.getProperty(LOGBACK_FILE) == null) {
            System.setProperty(LOGBACK_FILE, "logback-command.xml");
        }
        return new CommandLine.RunLast().execute(parsed);
    }

    private static boolean isServe(ParseResult parsed) {
        return parsed.hasSubcommand() && parsed.subcommand().commandSpec().userObject() instanceof ServeCommand;
    }
}
