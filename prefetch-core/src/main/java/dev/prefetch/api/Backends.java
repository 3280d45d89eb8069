package dev.prefetch.api;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.BackendProvider.Availability;
import java.util.Comparator;
import java.util.List;
import java.util.ServiceLoader;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Finds the backend that serves. */
final class Backends {

    private static final Logger LOG = LoggerFactory.getLogger(Backends.class);

    private Backends() {}

    /**
     * The provider asked for, or under {@code auto} the available one with the highest priority.
     *
     * @throws BackendUnavailableException when there is none
     */
    static BackendProvider choose(String wanted) {
        List<BackendProvider> providers =
                ServiceLoader.load(BackendProvider.class, Backends.class.getClassLoader()).stream()
                        .map(ServiceLoader.Provider::get)
                        .sorted(Comparator.comparingInt(BackendProvider::priority)
                                .reversed())
                        .toList();
        if (wanted.equals("auto")) {
            for (BackendProvider provider : providers) {
                switch (provider.availability()) {
                    case Availability.Available available -> {
                        return provider;
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
        return choose("cpu");
    }

    private static String ids(List<BackendProvider> providers) {
        return providers.stream().map(BackendProvider::id).collect(Collectors.joining(", ", "[", "]"));
    }
}
