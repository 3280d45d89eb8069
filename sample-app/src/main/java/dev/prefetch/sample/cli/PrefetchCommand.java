package dev.prefetch.sample.cli;

import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.ScopeType;
import picocli.CommandLine.Spec;

/** The command that holds the others. */
@Command(
        name = "prefetch",
        scope = ScopeType.INHERIT,
        mixinStandardHelpOptions = true,
        versionProvider = VersionProvider.class,
        usageHelpAutoWidth = true,
        synopsisSubcommandLabel = "COMMAND",
        description = "Runs GGUF language models.")
final class PrefetchCommand implements Runnable {

    @Spec
    private CommandSpec spec;

    @Option(names = "--debug", scope = ScopeType.INHERIT, description = "Show the stack trace of an error.")
    private boolean debug;

    private PrefetchCommand() {
        this.spec = CommandSpec.create();
    }

    /** The whole command line, ready to execute. */
    static CommandLine commandLine(CliContext context) {
        return new CommandLine(new PrefetchCommand())
                .addSubcommand(new ServeCommand())
                .addSubcommand(new ChatCommand(context))
                .addSubcommand(new LogitsCommand(context))
                .addSubcommand(new PlanCommand(context))
                .addSubcommand(new BenchCommand(context))
                .addSubcommand(new TokenizeCommand(context))
                .addSubcommand(new RenderCommand(context))
                .setOut(new PrintWriter(context.out(), true, StandardCharsets.UTF_8))
                .setErr(new PrintWriter(context.err(), true, StandardCharsets.UTF_8))
                .registerConverter(ModelLocation.class, ModelLocation::new)
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setParameterExceptionHandler(PrefetchCommand::reportUsage)
                .setExecutionExceptionHandler(PrefetchCommand::reportFailure);
    }

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "a command is missing");
    }

    private static int reportUsage(ParameterException failure, String[] args) {
        CommandLine commandLine = failure.getCommandLine();
        PrintWriter err = commandLine.getErr();
        err.println("prefetch: " + Errors.oneLine(failure.getMessage()));
        err.println("Try: " + commandLine.getCommandSpec().qualifiedName() + " --help");
        return CommandLine.ExitCode.USAGE;
    }

    private static int reportFailure(Exception failure, CommandLine commandLine, ParseResult parsed) {
        PrintWriter err = commandLine.getErr();
        err.println("prefetch: " + Errors.describe(failure));
        if (commandLine.getCommandSpec().root().userObject() instanceof PrefetchCommand root && root.debug) {
            failure.printStackTrace(err);
        }
        return CommandLine.ExitCode.SOFTWARE;
    }
}
