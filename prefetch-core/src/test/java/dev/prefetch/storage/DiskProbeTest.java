package dev.prefetch.storage;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DiskProbeTest {

    @TempDir
    Path folder;

    @Test
    void measuresAndPassesFailuresOn() throws Exception {
        Path file = Files.write(folder.resolve("weights"), new byte[40 * 65536 + 5]);
        try (DirectReader reader = DirectReader.open(file)) {
            assertThat(DiskProbe.bytesPerSecond(reader, 3, 65536, 100_000, 1 << 30))
                    .isPositive();
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> DiskProbe.bytesPerSecond(reader, 1, 65536, 40 * 65536, 65536));
            Files.delete(file);
            assertThatExceptionOfType(StorageException.class)
                    .isThrownBy(() -> DiskProbe.bytesPerSecond(reader, 2, 65536, 0, 65536))
                    .withMessageContaining("vanished");
        }
    }
}
