package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.BackendProvider.Availability;
import dev.prefetch.backend.DeviceOptions;
import java.util.ServiceLoader;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What the backend says on a machine without a driver. */
class CudaBackendProviderTest {

    private final BackendProvider provider = ServiceLoader.load(BackendProvider.class).stream()
            .map(ServiceLoader.Provider::get)
            .filter(p -> p.id().equals("cuda"))
            .findFirst()
            .orElseThrow();

    @BeforeEach
    void thereIsNoDriver() {
        assumeTrue(
                provider.availability() instanceof Availability.Unavailable,
                "this machine has a CUDA driver and a card");
    }

    @Test
    void saysWhyItCannotBeUsedAndWhatToDo() {
        assertThat(provider.availability()).isInstanceOfSatisfying(Availability.Unavailable.class, unavailable -> {
            assertThat(unavailable.reason()).contains("no CUDA driver");
            assertThat(unavailable.remedy())
                    .contains("install the NVIDIA driver")
                    .contains("cpu");
        });
    }

    @Test
    void refusesToOpenWithTheSameReason() {
        assertThatIllegalStateException()
                .isThrownBy(() -> provider.open(new DeviceOptions(1)))
                .withMessageContaining("no CUDA driver")
                .withMessageContaining("install the NVIDIA driver");
    }

    @Test
    void isPreferredToTheCpuWhereItIsAvailable() {
        assertThat(provider.priority()).isPositive();
    }
}
