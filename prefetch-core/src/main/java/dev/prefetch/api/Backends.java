package dev.prefetch.api;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.BackendProvider.Availability;
import dev.prefetch.model.UnsupportedModelException;
import java.util.Comparator;
import java.util.List;
import java.util.ServiceLoader;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Finds the backend that serves. */
final class Backends {

    private static final Logger LOG = LoggerFactory.getLogger(Backends.class);

    private Backends() {}

    /**
     * The provider asked for, or under {@code auto} the available one with the highest priority that computes the model.
     *
     * @throws BackendUnavailableException when there is none
     * @throws UnsupportedModelException when the one asked for does not compute the model
     */
    static BackendProvider choose(String wanted, Model model) {
        boolean encoder = model.config().encoder();
        BackendProvider provider = choose(found(), wanted, encoder ? BackendProvider::supportsEncoders : any -> true);
        if (encoder && !provider.supportsEncoders()) {
            throw new UnsupportedModelException(model.file().path() + ": encoders, as architecture '"
                    + model.config().architecture().id() + "' is one, are not supported by backend " + provider.id()
                    + "; use spring.ai.prefetch.backend=cpu, or auto");
        }
        return provider;
    }

    private static List<BackendProvider> found() {
        return ServiceLoader.load(BackendProvider.class, Backends.class.getClassLoader()).stream()
                .map(ServiceLoader.Provider::get)
                .sorted(Comparator.comparingInt(BackendProvider::priority).reversed())
                .toList();
    }

    /**
     * @param providers in the order of preference
     * @param computes which of them may serve under {@code auto}
     */
    static BackendProvider choose(List<BackendProvider> providers, String wanted, Predicate<BackendProvider> computes) {
        if (wanted.equals("auto")) {
            for (BackendProvider provider : providers) {
                switch (provider.availability()) {
                    case Availability.Available available -> {
                        if (computes.test(provider)) {
                            return provider;
                        }
                        LOG.info("Backend {} does not compute models of this kind: the next one serves", provider.id());
                    }
                    case Availability.Unavailable unavailable ->
                        LOG.info(
                                "Backend {} is not available: {} ({})",
                                provider.id(),
                                unavailable.reason(),
                                unavailable.remedy());
                }
            }
            throw new BackendUnavailableException("no backend is available; found " + ids(providers));
        }
        BackendProvider provider = providers.stream()
                .filter(p -> p.id().equals(wanted))
                .findFirst()
                .orElseThrow(() -> new BackendUnavailableException("backend '" + wanted
                        + "' is not on the class path; found " + ids(providers) + ". Use one of those, or 'auto'"));
        if (provider.availability() instanceof Availability.Unavailable unavailable) {
            throw new BackendUnavailableException(
                    "backend '" + wanted + "' cannot be used: " + unavailable.reason() + ". " + unavailable.remedy());
        }
        return provider;
    }

    /**
     * The provider of the host's own device, which serves beside an accelerator.
     *
     * @throws BackendUnavailableException when it is not on the class path
     */
    static BackendProvider host() {
        return choose(found(), "cpu", any -> true);
    }

    private static String ids(List<BackendProvider> providers) {
        return providers.stream().map(BackendProvider::id).collect(Collectors.joining(", ", "[", "]"));
    }
}
