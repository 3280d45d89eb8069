package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.BackendProvider.Availability;
import dev.prefetch.backend.DeviceOptions;
import java.util.ServiceLoader;
import org.junit.jupiter.api.Test;

class CudaBackendProviderTest {

    private final BackendProvider provider = ServiceLoader.load(BackendProvider.class).stream()
            .map(ServiceLoader.Provider::get)
            .filter(p -> p.id().equals("cuda"))
            .findFirst()
            .orElseThrow();

    @Test
    void saysWhyItCannotBeUsedAndWhatToDo() {
        assertThat(provider.availability()).isInstanceOfSatisfying(Availability.Unavailable.class, unavailable -> {
            assertThat(unavailable.reason()).contains("no kernels");
            assertThat(unavailable.remedy()).contains("cpu");
        });
    }

    @Test
    void refusesToOpenWithTheSameReason() {
        assertThatIllegalStateException()
                .isThrownBy(() -> provider.open(new DeviceOptions(1)))
                .withMessageContaining("cuda")
                .withMessageContaining("no kernels");
    }

    @Test
    void isPreferredToTheCpuOnceAvailable() {
        assertThat(provider.priority()).isPositive();
    }
}
