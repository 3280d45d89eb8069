package dev.prefetch.sample.cli;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.prefetch.Plan;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.ExitCode;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code plan}: what would stay in memory, without loading anything. */
@Command(
        name = "plan",
        description = "Shows which weights of a model would stay in memory and which would stream, and the speed to"
                + " expect, without loading them.")
final class PlanCommand implements Callable<Integer> {

    private final CliContext context;

    @Option(names = "--model", paramLabel = "MODEL", required = true, description = ModelLocation.DESCRIPTION + ".")
    private ModelLocation model = new ModelLocation("");

    @Option(names = "--json", paramLabel = "FILE", description = "Also write the plan as JSON.")
    private @Nullable Path json;

    @Mixin
    private final EngineMixin engineOptions = new EngineMixin();

    PlanCommand(CliContext context) {
        this.context = context;
    }

    @Override
    public Integer call() throws IOException {
        EngineOptions options = engineOptions.options(context.modelFile(model));
        Plan plan = PrefetchEngine.plan(options);
        context.out().print(plan.toTable());
        context.out().println("KV cache: " + options.kvCacheType().id());
        if (json != null) {
            Files.writeString(json, plan.toJson());
        }
        return ExitCode.OK;
    }
}
