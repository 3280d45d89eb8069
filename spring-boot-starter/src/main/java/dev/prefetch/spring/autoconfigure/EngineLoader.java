package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.BackendUnavailableException;
import dev.prefetch.api.EngineInfo;
import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.model.UnsupportedModelException;
import dev.prefetch.prefetch.LoadListener;
import dev.prefetch.prefetch.PlanException;
import dev.prefetch.tokenizer.UnsupportedTokenizerException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.Locale;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Opens the configured engine, says so in the log, and explains a failure. */
final class EngineLoader {

    private static final Logger LOG = LoggerFactory.getLogger(EngineLoader.class);

    private final EngineDefinition definition;
    private final EngineOpener opener;
    private final ModelLocator locator;
    private final String modelProperty;

    EngineLoader(EngineDefinition definition, EngineOpener opener, ModelLocator locator) {
        this.definition = definition;
        this.opener = opener;
        this.locator = locator;
        this.modelProperty = definition.property("model");
    }

    /**
     * A definition whose properties are right and whose file is there.
     *
     * @param options what the engine is to be opened with
     */
    record Prepared(EngineOptions options) {}

    /**
     * Checks what can be checked without loading, which can take minutes.
     *
     * @throws org.springframework.boot.diagnostics.FailureAnalyzedException when a property is wrong or there is no such
     *     file
     */
    Prepared prepare() {
        definition.properties().chat().toOptions(definition);
        Path model = locator.locate(modelProperty, definition.properties().model());
        return new Prepared(new EngineSettings(definition).toEngineOptions(model));
    }

    /**
     * @throws org.springframework.boot.diagnostics.FailureAnalyzedException when the model cannot be loaded
     */
    PrefetchEngine load(Prepared prepared, LoadListener listener) {
        LOG.info("Loading {}", prepared.options().model());
        PrefetchEngine engine = open(prepared.options(), listener);
        LOG.info("{}", summary(engine.info()));
        return engine;
    }

    private PrefetchEngine open(EngineOptions options, LoadListener listener) {
        try {
            return opener.open(options, listener);
        } catch (UnsupportedModelException | UnsupportedTokenizerException e) {
            throw StartupFailure.of(
                    "The model " + options.model() + " is not supported: " + e.getMessage(),
                    "Set " + modelProperty
                            + " to a model whose architecture, quantisation and tokenizer are supported; the"
                            + " documentation lists them.",
                    e);
        } catch (GgufFormatException e) {
            throw StartupFailure.of(
                    "The model file " + options.model() + " is not a valid GGUF file: " + e.getMessage(),
                    "Get the file again (an incomplete download is the usual cause) and compare its checksum with the"
                            + " published one, or set " + modelProperty + " to another file.",
                    e);
        } catch (PlanException e) {
            throw StartupFailure.of(
                    "The model " + options.model() + " does not fit the memory it is given: " + e.getMessage(),
                    "Raise " + definition.property("memory.ram") + " or the container's limit, lower "
                            + definition.property("context-length") + ", or set " + modelProperty
                            + " to a smaller or more strongly quantised model.",
                    e);
        } catch (BackendUnavailableException e) {
            throw StartupFailure.of(
                    "The backend '" + options.backend() + "' cannot be used: " + e.getMessage(),
                    "Set " + definition.property("backend") + " to 'auto' or 'cpu', or remove the reason given"
                            + " above.",
                    e);
        } catch (UncheckedIOException e) {
            throw StartupFailure.of(
                    "The model file " + options.model() + " could not be read: "
                            + e.getCause().getMessage(),
                    "Check the file, its permissions and the disk it is on, or set " + modelProperty
                            + " to another file.",
                    e);
        }
    }

    private static String summary(EngineInfo info) {
        return String.format(
                Locale.ROOT,
                "Loaded %s in %.1f s: %s, %s parameters, %s, %.1f MiB, context %d of %d tokens, backend %s"
                        + " (%s), %d threads",
                info.modelName(),
                info.loadNanos() / 1e9,
                info.architecture(),
                parameters(info.parameters()),
                info.quantization(),
                info.fileBytes() / (1024.0 * 1024.0),
                info.contextLength(),
                info.trainedContextLength(),
                info.backend(),
                info.device(),
                info.threads());
    }

    private static String parameters(long count) {
        return count >= 1_000_000_000
                ? String.format(Locale.ROOT, "%.2f billion", count / 1e9)
                : String.format(Locale.ROOT, "%.2f million", count / 1e6);
    }
}
